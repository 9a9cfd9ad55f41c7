/** Sentences and figures, each with its unit. What is not known says so, and is never 0. */

import type { Gpu, View } from './view.ts';

const GIB = 1024 ** 3;
const DAY = 86_400_000;
/** A view that is older tells nothing of what the GPUs do now. */
export const STALE = 60_000;

export interface Words {
  /** A sentence in the reader's language, with %1, %2 … filled in. */
  readonly tell: (text: string, ...values: string[]) => string;
  /** IANA name of the reader's zone; the browser's own unless given. */
  readonly zone?: string;
  /** BCP 47 name of the reader's language; the browser's own unless given. */
  readonly locale?: string;
}

/** A time of day in the reader's zone; with its day where that is not today. */
export function tellTime(at: number, now: number, words: Words): string {
  const zone = words.zone === undefined ? {} : { timeZone: words.zone };
  const day = new Intl.DateTimeFormat('en-CA', { ...zone, dateStyle: 'short' });
  const today = day.format(at) === day.format(now);
  const near = Math.abs(at - now) < 6 * DAY;
  const date = today
    ? {}
    : near
      ? ({ weekday: 'short' } as const)
      : ({ day: 'numeric', month: 'short' } as const);
  const shape = { ...zone, ...date, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const;
  return new Intl.DateTimeFormat(words.locale, shape).format(at);
}

/** An amount of memory in GiB: three digits at most, and no more than are known. */
function tellGib(bytes: number): string {
  const value = bytes / GIB;
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

/** What some GPUs do, all together: their mean utilisation and their memory. */
export function tellGpus(gpus: readonly Gpu[], words: Words): string {
  const { tell } = words;
  const percents = gpus.map(gpu => gpu.percent).filter(value => value !== null);
  const used = gpus.map(gpu => gpu.usedBytes).filter(value => value !== null);
  const installed = gpus.map(gpu => gpu.memoryBytes).filter(value => value !== null);
  const know = (values: readonly number[]): boolean => values.length === gpus.length;
  const percent = know(percents)
    ? tell('%1 %', String(Math.round(sum(percents) / gpus.length)))
    : tell('use not known');
  const total = know(installed) ? tellGib(sum(installed)) : null;
  const memory = !know(used)
    ? tell('memory not known')
    : total === null
      ? tell('%1 GiB', tellGib(sum(used)))
      : tell('%1 of %2 GiB', tellGib(sum(used)), total);
  const what = gpus.length === 1 ? tell('GPU') : tell('%1 GPUs', String(gpus.length));
  if (!know(percents) && !know(used)) {
    return tell('%1 not known', what);
  }
  return `${what} ${percent} · ${memory}`;
}

/** A view whose figures are too old to be believed, without them. */
export function forget(view: View, now: number): View {
  if (now - view.at <= STALE) {
    return view;
  }
  return { ...view, gpus: view.gpus.map(gpu => ({ ...gpu, percent: null, usedBytes: null })) };
}

/** When it stops, or until when it lasts; empty where nothing stops it. */
export function tellStop(view: View, now: number, words: Words): string {
  const { tell } = words;
  if (view.ending) {
    return tell('stops now');
  }
  if (view.stop !== null) {
    const at = tellTime(view.stop.at, now, words);
    return view.stop.warned === null && view.stop.cause === 'end'
      ? tell('until %1', at)
      : tell('stops %1 · extend', at);
  }
  if (view.finish) {
    return tell('stops when nothing runs');
  }
  return view.keptUntil === null ? '' : tell('kept until %1', tellTime(view.keptUntil, now, words));
}

/** What the status bar shows: the figures; and when it stops, where something stops it. */
export function tellChip(view: View, now: number, words: Words): string[] {
  const { gpus } = forget(view, now);
  const figures = gpus.length === 0 ? words.tell('No GPU') : tellGpus(gpus, words);
  return [figures, tellStop(view, now, words)].filter(part => part !== '');
}

/** The same for who listens. */
export function tellLabel(view: View, now: number, away: boolean, words: Words): string {
  const parts = [tellChip(view, now, words).join(' · ')];
  if (away) {
    parts.push(words.tell('The controller does not answer; last news from %1', tellTime(view.at, now, words)));
  }
  parts.push(words.tell('Show what can be done'));
  return parts.join('. ');
}

/** What a notice says; JupyterLab cuts it after 140 characters, so the reason is shown on request. */
export function tellNotice(view: View, now: number, words: Words): string {
  if (view.stop === null) {
    return '';
  }
  const minutes = Math.max(1, Math.round((view.stop.at - now) / 60_000));
  const at = tellTime(view.stop.at, now, words);
  return view.ending
    ? words.tell('This server is being stopped now.')
    : words.tell('This server stops at %1, in %2 min.', at, String(minutes));
}

/** A sentence of the controller's with its times of day in the reader's zone. */
export function localise(text: string, now: number, words: Words): string {
  const pattern = /\b(?:(\d{4}-\d\d-\d\d) )?([01]\d|2[0-3]):([0-5]\d) UTC\b/g;
  return text.replace(pattern, (whole, date: string | undefined, hour: string, minute: string) => {
    const day = date ?? new Date(now).toISOString().slice(0, 10);
    const at = Date.parse(`${day}T${hour}:${minute}:00Z`);
    if (Number.isNaN(at)) {
      return whole;
    }
    // Without a date it is the one that is nearest to now.
    const days = date === undefined ? Math.round((now - at) / DAY) : 0;
    return tellTime(at + days * DAY, now, words);
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
