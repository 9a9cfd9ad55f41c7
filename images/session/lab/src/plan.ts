/** What follows from what the controller says: when to ask again, whom to tell what, when to save. */

import type { View } from './view.ts';

const MINUTE = 60_000;
/** So long before a stop open documents are saved. A page that nobody sees is woken once a minute only. */
export const SAVE_BEFORE: readonly number[] = [90_000, 20_000];
/** A stop that moves by less is the same one. */
const SAME = MINUTE;

/** Milliseconds until the controller is asked again; spread, so that many do not ask at once. */
export function chooseInterval(view: View | null, now: number, spread: number): number {
  const left = view?.stop ? view.stop.at - now : Infinity;
  const seconds = left < 2 * MINUTE ? 5 : left < 16 * MINUTE ? 15 : 20;
  return seconds * 1000 * (0.9 + 0.2 * spread);
}

/** A notice that is shown. */
export interface Notice {
  readonly cause: string;
  readonly at: number;
  readonly warned: number;
}

export type NoticePlan = 'nothing' | 'show' | 'withdraw';

/** What is to be done about notices: each warning is shown once, and taken away when it is withdrawn. */
export function planNotice(shown: Notice | null, view: View): [NoticePlan, Notice | null] {
  const stop = view.stop;
  if (stop === null || stop.warned === null) {
    return [shown === null ? 'nothing' : 'withdraw', null];
  }
  const same = shown !== null && shown.cause === stop.cause && Math.abs(shown.at - stop.at) < SAME;
  if (same && stop.warned >= shown.warned) {
    return ['nothing', shown];
  }
  return ['show', { cause: stop.cause, at: stop.at, warned: stop.warned }];
}

/**
 * When open documents are to be saved next, by themselves.
 *
 * @param savedFor - Of this stop they were saved so many milliseconds before it; null: not yet.
 */
export function planSave(view: View, savedFor: Saved | null): { at: number; before: number } | null {
  if (view.stop === null) {
    return null;
  }
  const stop = view.stop.at;
  const done = savedFor !== null && Math.abs(savedFor.stop - stop) < SAME ? savedFor.before : Infinity;
  const before = SAVE_BEFORE.find(one => one < done);
  return before === undefined ? null : { at: stop - before, before };
}

/** Open documents were saved, so long before that stop. */
export interface Saved {
  readonly stop: number;
  readonly before: number;
}

/** The step of the saving that is due now; null where none is. Of several that are due it is the last. */
export function findDueSave(view: View, now: number, saved: Saved | null): Saved | null {
  let found: Saved | null = null;
  for (let next = planSave(view, saved); next !== null && next.at <= now; next = planSave(view, found)) {
    found = { stop: next.at + next.before, before: next.before };
  }
  return found;
}

/**
 * What a saving that comes by itself leaves alone, so that nobody is asked and told the same again and again.
 *
 * @param failed - Paths that could not be saved before.
 * @param changed - Paths that have changes now: one that has none was saved meanwhile.
 * @param due - The stop that is near, for which everything is tried; null for what is done at every look.
 */
export function chooseExcept(
  failed: Iterable<string>,
  changed: ReadonlySet<string>,
  due: Saved | null
): Set<string> {
  return new Set(due === null ? [...failed].filter(path => changed.has(path)) : []);
}
