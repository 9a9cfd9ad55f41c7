/** The newest that is known of the session, asked for again and again. */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { type Asking, Refusal } from './asking.ts';
import { chooseInterval } from './plan.ts';
import type { View } from './view.ts';
import { STALE } from './words.ts';

/** Where nobody answers it is asked less and less often, but so often at least. */
const LONGEST = 5 * 60_000;

export class Watching {
  private readonly asking: Asking;
  private readonly poll: Poll;
  private readonly spread = Math.random();
  private readonly news = new Signal<this, void>(this);
  private ahead = 0;
  /** Tells that what was heard last is too old to be believed. */
  private stale = 0;

  /** What was heard last; null: nothing yet. */
  view: View | null = null;
  /** Whether the last question was not answered. */
  away = false;

  constructor(asking: Asking) {
    this.asking = asking;
    this.poll = new Poll({
      auto: false,
      name: 'gpuspawner-session',
      // A page in the background goes on: it must save what is open before a stop.
      standby: 'never',
      frequency: { interval: chooseInterval(null, 0, this.spread), backoff: true, max: LONGEST },
      factory: () => this.look()
    });
  }

  /** There is something new, or nothing was heard. */
  get changed(): ISignal<this, void> {
    return this.news;
  }

  /** The present by the controller's clock. */
  get now(): number {
    return Date.now() + this.ahead;
  }

  start(): void {
    void this.poll.start();
  }

  /** Ask now, rather than when it is time to: somebody looks. */
  refresh(): void {
    if (this.view !== null) {
      void this.poll.refresh();
    }
  }

  /** Take what an action was answered with. */
  take(view: View): void {
    this.ahead = view.at - Date.now();
    this.view = view;
    this.away = false;
    window.clearTimeout(this.stale);
    this.stale = window.setTimeout(() => this.news.emit(), STALE + 1000);
    this.poll.frequency = { ...this.poll.frequency, interval: chooseInterval(view, view.at, this.spread) };
    this.news.emit();
  }

  private async look(): Promise<void> {
    try {
      this.take(await this.asking.look());
    } catch (error) {
      const kind = error instanceof Refusal ? error.kind : 'away';
      if (kind === 'no_controller') {
        void this.poll.stop();
      }
      if (kind === 'no_controller' || kind === 'not_found' || kind === 'forbidden') {
        this.view = null;
      }
      this.away = true;
      this.news.emit();
      throw error;
    }
  }
}
