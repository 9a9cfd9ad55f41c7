/** What a person can do about their session, and what is done by itself before it ends. */

import { Notification } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';

import { type Asking, Refusal } from './asking.ts';
import { chooseExcept, findDueSave, type Notice, planNotice, planSave, type Saved } from './plan.ts';
import type { Saving, Unsaved } from './saving.ts';
import type { Watching } from './watching.ts';
import { showWhy } from './why.ts';
import { localise, tellNotice, tellTime, type Words } from './words.ts';

const SERVERS = 'services/gpu/servers';

export class Acting {
  private readonly asking: Asking;
  private readonly watching: Watching;
  private readonly saving: Saving;
  private readonly words: Words;
  private notice: Notice | null = null;
  private noticeId: string | null = null;
  private saved: Saved | null = null;
  private timer = 0;
  private stopping = false;
  /** Paths that could not be saved, and were not since; people were told of them. */
  private unsaved = new Set<string>();

  constructor(asking: Asking, watching: Watching, saving: Saving, words: Words) {
    this.asking = asking;
    this.watching = watching;
    this.saving = saving;
    this.words = words;
    watching.changed.connect(() => this.follow());
  }

  /** *Keep for 1 h*. */
  async keep(): Promise<void> {
    const { tell } = this.words;
    await this.attempt(async () => {
      const before = this.watching.view?.keptUntil ?? null;
      const view = await this.asking.keep();
      this.watching.take(view);
      const { now } = this.watching;
      // Either it was kept from idleness, or its end was moved.
      const until = view.keptUntil === before ? (view.stop?.at ?? null) : view.keptUntil;
      const text = until === null ? tell('Kept.') : tell('Kept until %1.', tellTime(until, now, this.words));
      Notification.success(text, { autoClose: 5000 });
    });
  }

  /** *Finish and release*, or its withdrawal. */
  async toggleFinish(): Promise<void> {
    const { tell } = this.words;
    const finish = this.watching.view?.finish !== true;
    if (finish && !(await this.saveOrTell())) {
      return;
    }
    await this.attempt(async () => {
      this.watching.take(await this.asking.finish(finish));
      Notification.info(
        finish
          ? tell('This server stops when nothing has run in it for a minute. What is open is saved before.')
          : tell('This server does not stop by itself when what runs has ended.'),
        { autoClose: 8000 }
      );
    });
  }

  /** *Save all and stop*: stops only if everything was saved. */
  async saveAllAndStop(): Promise<void> {
    if (this.stopping) {
      return;
    }
    this.stopping = true;
    try {
      if (!(await this.saveOrTell())) {
        return;
      }
      await this.attempt(async () => {
        try {
          await this.asking.stop();
        } catch (error) {
          // A server that has ended cannot say so any more.
          if (!(error instanceof Refusal && error.kind === 'lost')) {
            throw error;
          }
        }
        leave();
      });
    } finally {
      this.stopping = false;
    }
  }

  /** *Why?* */
  async why(): Promise<void> {
    const { view, now, away } = this.watching;
    if (view !== null) {
      await showWhy(view, now, away, this.words);
    }
  }

  private async attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const { tell } = this.words;
      const text = error instanceof Refusal && error.kind !== 'lost' ? error.message : null;
      const why = text ?? tell('This server does not answer. Try again in a moment.');
      Notification.error(localise(why, this.watching.now, this.words), { autoClose: false });
    }
  }

  private follow(): void {
    const { view, away } = this.watching;
    if (view === null) {
      this.withdraw();
      window.clearTimeout(this.timer);
      return;
    }
    if (!away) {
      this.notify();
      if (view.finish) {
        void this.saveByItself(null);
      }
    }
    this.saveInTime();
  }

  private notify(): void {
    const { view, now } = this.watching;
    if (view === null) {
      return;
    }
    const [plan, notice] = planNotice(this.notice, view);
    this.notice = notice;
    if (plan === 'nothing') {
      return;
    }
    this.withdraw();
    if (plan === 'show') {
      const text = tellNotice(view, now, this.words);
      this.noticeId = Notification.warning(text, { autoClose: false, actions: view.ending ? [] : this.actions() });
    }
  }

  private actions(): Notification.IAction[] {
    const { tell } = this.words;
    const stay = (act: () => Promise<void>) => (event: MouseEvent): void => {
      // The notice goes when its warning is withdrawn, and not before.
      event.preventDefault();
      void act();
    };
    return [
      { label: tell('Keep for 1 h'), callback: stay(() => this.keep()), displayType: 'accent' },
      { label: tell('Save all and stop'), callback: stay(() => this.saveAllAndStop()) },
      { label: tell('Why?'), callback: stay(() => this.why()), displayType: 'link' }
    ];
  }

  private withdraw(): void {
    if (this.noticeId !== null) {
      Notification.dismiss(this.noticeId);
      this.noticeId = null;
    }
  }

  /** Save what is due before a stop, and wake up for what is due next. */
  private saveInTime(): void {
    const { view, now } = this.watching;
    window.clearTimeout(this.timer);
    if (view === null) {
      return;
    }
    const due = findDueSave(view, now, this.saved);
    if (due !== null) {
      this.saved = due;
      void this.saveByItself(due);
    }
    const next = planSave(view, this.saved);
    if (next !== null) {
      // Longer than this no timer can be set.
      this.timer = window.setTimeout(() => this.saveInTime(), Math.min(next.at - now, 2 ** 31 - 1));
    }
  }

  /** Save everything before a stop that the person asks for; whether all of it was saved. */
  private async saveOrTell(): Promise<boolean> {
    const failed = await this.saving.saveAll();
    this.unsaved = new Set(failed.map(one => one.path));
    if (failed.length > 0) {
      this.tellUnsaved(failed);
      const text = this.words.tell('This server was not stopped, since not everything could be saved.');
      Notification.error(text, { autoClose: false });
    }
    return failed.length === 0;
  }

  private async saveByItself(due: Saved | null): Promise<void> {
    this.unsaved = chooseExcept(this.unsaved, this.saving.changed(), due);
    const failed = await this.saving.saveAll(this.unsaved);
    for (const one of failed) {
      this.unsaved.add(one.path);
    }
    this.tellUnsaved(failed);
  }

  private tellUnsaved(failed: readonly Unsaved[]): void {
    for (const one of failed) {
      const text = this.words.tell('%1 could not be saved: %2', one.path, one.why);
      Notification.error(text, { autoClose: false });
    }
  }
}

/** Go where it is said what became of the server. */
function leave(): void {
  const hub = PageConfig.getOption('hubPrefix');
  if (hub !== '') {
    // Where servers have names of their own, the hub is at another one.
    window.location.assign(PageConfig.getOption('hubHost') + hub.replace(/hub\/?$/, SERVERS));
  }
}
