/** What JupyterLab's extension says and plans, without JupyterLab. Run by test_lab.py. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  chooseExcept,
  chooseInterval,
  findDueSave,
  planNotice,
  planSave,
  SAVE_BEFORE
} from '../../../../images/session/lab/src/plan.ts';
import { type Gpu, readView, type Stop, type View } from '../../../../images/session/lab/src/view.ts';
import {
  localise,
  tellChip,
  tellGpus,
  tellLabel,
  tellNotice,
  tellTime,
  type Words
} from '../../../../images/session/lab/src/words.ts';

const GIB = 1024 ** 3;
const MINUTE = 60_000;
const NOW = Date.parse('2030-05-17T12:00:00Z');
const tell = (text: string, ...values: string[]): string =>
  text.replace(/%(\d)/g, (_, n: string) => values[Number(n) - 1] ?? '');
const words: Words = { tell, zone: 'Europe/Zurich', locale: 'en-GB' };

const gpu = (changes: Partial<Gpu> = {}): Gpu => ({
  uuid: 'GPU-0',
  model: 'A100',
  memoryBytes: 40 * GIB,
  percent: 87,
  usedBytes: 11.2 * GIB,
  ...changes
});
const view = (changes: Partial<View> = {}): View => ({
  at: NOW,
  gpus: [gpu()],
  stop: null,
  ending: false,
  reason: '',
  signals: [],
  actedOn: true,
  keptUntil: null,
  finish: false,
  ...changes
});
const stop = (minutes: number, changes: Partial<Stop> = {}): Stop => ({
  at: NOW + minutes * MINUTE,
  cause: 'idle',
  reason: 'It is idle.',
  warned: 15,
  ...changes
});

test('times are in the zone of who reads, with the day where it is not today', () => {
  assert.equal(tellTime(NOW + 100 * MINUTE, NOW, words), '15:40');
  assert.equal(tellTime(NOW + 11 * 60 * MINUTE, NOW, words), 'Sat 01:00');
  assert.equal(tellTime(NOW - 13 * 60 * MINUTE, NOW, words), 'Fri 01:00'.replace('Fri ', ''));
  assert.equal(tellTime(NOW + 20 * 24 * 60 * MINUTE, NOW, words), '6 Jun, 14:00');
});

test('figures have units, and what is not known is never 0', () => {
  assert.equal(tellGpus([gpu()], words), 'GPU 87 % · 11.2 of 40 GiB');
  assert.equal(tellGpus([gpu({ percent: 0, usedBytes: 0 })], words), 'GPU 0 % · 0 of 40 GiB');
  assert.equal(tellGpus([gpu({ percent: null })], words), 'GPU use not known · 11.2 of 40 GiB');
  assert.equal(tellGpus([gpu({ usedBytes: null })], words), 'GPU 87 % · memory not known');
  assert.equal(tellGpus([gpu({ memoryBytes: null })], words), 'GPU 87 % · 11.2 GiB');
  assert.equal(tellGpus([gpu({ percent: null, usedBytes: null })], words), 'GPU not known');
  assert.equal(tellGpus([gpu(), gpu({ percent: 20 })], words), '2 GPUs 54 % · 22.4 of 80 GiB');
  assert.equal(tellGpus([gpu(), gpu({ percent: null, usedBytes: null })], words), '2 GPUs not known');
});

test('the chip says when it stops, until when it lasts, or nothing', () => {
  const figures = 'GPU 87 % · 11.2 of 40 GiB';
  const chip = (changes: Partial<View>): string => tellChip(view(changes), NOW, words).join(' · ');
  assert.equal(chip({}), figures);
  assert.equal(chip({ stop: stop(100) }), `${figures} · stops 15:40 · extend`);
  assert.equal(chip({ stop: stop(100, { cause: 'end', warned: null }) }), `${figures} · until 15:40`);
  assert.equal(chip({ stop: stop(5, { cause: 'end' }) }), `${figures} · stops 14:05 · extend`);
  assert.equal(chip({ ending: true, stop: stop(0) }), `${figures} · stops now`);
  assert.equal(chip({ keptUntil: NOW + 60 * MINUTE }), `${figures} · kept until 15:00`);
  assert.equal(chip({ finish: true }), `${figures} · stops when nothing runs`);
  assert.equal(chip({ gpus: [], stop: stop(100) }), 'No GPU · stops 15:40 · extend');
});

test('old figures are forgotten, the stop is not', () => {
  const old = view({ stop: stop(100) });
  assert.deepEqual(tellChip(old, NOW + 61_000, words), ['GPU not known', 'stops 15:40 · extend']);
  assert.match(tellLabel(old, NOW + 61_000, true, words), /does not answer; last news from 14:00\. Show what/);
});

test('a notice says when, and in how many minutes', () => {
  assert.equal(tellNotice(view({ stop: stop(14.6) }), NOW, words), 'This server stops at 14:14, in 15 min.');
  assert.equal(tellNotice(view({ stop: stop(0.2) }), NOW, words), 'This server stops at 14:00, in 1 min.');
  assert.ok(tellNotice(view({ stop: stop(15) }), NOW, words).length < 140);
});

test('times in sentences of the controller are in the zone of who reads', () => {
  assert.equal(localise('last worked at 11:55 UTC', NOW, words), 'last worked at 13:55');
  assert.equal(localise('at 2030-05-18 09:30 UTC, and', NOW, words), 'at Sat 11:30, and');
  const late = Date.parse('2030-05-17T23:58:00Z');
  assert.equal(localise('at 00:10 UTC', late, words), 'at 02:10');
  assert.equal(localise('25:10 UTC, 2030-99-99 10:00 UTC', NOW, words), '25:10 UTC, 2030-99-99 10:00 UTC');
});

test('each warning is shown once, and goes when it is withdrawn', () => {
  const [first, shown] = planNotice(null, view({ stop: stop(15) }));
  assert.equal(first, 'show');
  assert.deepEqual(planNotice(shown, view({ stop: stop(15.2) })), ['nothing', shown]);
  const [second, later] = planNotice(shown, view({ stop: stop(15, { warned: 5 }) }));
  assert.equal(second, 'show');
  assert.deepEqual(planNotice(later, view()), ['withdraw', null]);
  assert.deepEqual(planNotice(null, view()), ['nothing', null]);
  assert.deepEqual(planNotice(later, view({ stop: stop(300, { cause: 'end', warned: null }) })), [
    'withdraw',
    null
  ]);
  assert.equal(planNotice(later, view({ stop: stop(15, { cause: 'end' }) }))[0], 'show');
  assert.equal(planNotice(later, view({ stop: stop(75) }))[0], 'show', 'the same warning of another stop');
});

test('it is asked more often as the stop comes near, and never in a storm', () => {
  assert.equal(chooseInterval(null, NOW, 0.5), 20_000);
  assert.equal(chooseInterval(view(), NOW, 0.5), 20_000);
  assert.equal(chooseInterval(view({ stop: stop(15) }), NOW, 0.5), 15_000);
  assert.equal(chooseInterval(view({ stop: stop(1) }), NOW, 0.5), 5_000);
  assert.ok(chooseInterval(view({ stop: stop(-60) }), NOW, 0) >= 4_500);
});

test('what could not be saved is left alone until it was saved, and never before a stop', () => {
  const failed = ['a.ipynb', 'b.py'];
  assert.deepEqual([...chooseExcept(failed, new Set(['a.ipynb', 'c.py']), null)], ['a.ipynb']);
  assert.deepEqual([...chooseExcept(failed, new Set(), null)], []);
  for (const before of SAVE_BEFORE) {
    assert.equal(chooseExcept(failed, new Set(failed), { stop: NOW, before }).size, 0);
  }
});

test('open documents are saved twice before a stop, whatever it is for', () => {
  for (const cause of ['idle', 'end']) {
    const seen = view({ stop: stop(15, { cause }) });
    assert.deepEqual(planSave(seen, null), { at: NOW + 15 * MINUTE - 90_000, before: 90_000 });
    assert.equal(findDueSave(seen, NOW, null), null);
    const at = NOW + 15 * MINUTE;
    const saved = findDueSave(seen, at - 80_000, null);
    assert.deepEqual(saved, { stop: at, before: 90_000 });
    assert.equal(findDueSave(seen, at - 70_000, saved), null, 'once');
    const again = findDueSave(seen, at - 19_000, saved);
    assert.deepEqual(again, { stop: at, before: 20_000 });
    assert.equal(planSave(seen, again), null);
    const later = view({ stop: stop(75, { cause }) });
    assert.equal(planSave(later, again)?.before, SAVE_BEFORE[0], 'another stop is saved for anew');
  }
  assert.deepEqual(findDueSave(view({ stop: stop(0) }), NOW, null), { stop: NOW, before: 20_000 });
  assert.equal(planSave(view(), null), null);
});

test('an answer is checked before anything is made of it', () => {
  const answer = {
    at: '2030-05-17T12:00:00Z',
    server: '',
    gpus: [
      {
        uuid: 'GPU-0', model: 'A100', memory_bytes: 40 * GIB, at: '2030-05-17T12:00:00Z',
        utilization_percent: 87, memory_used_bytes: 11.2 * GIB
      }
    ],
    stop: { at: '2030-05-17T12:15:00Z', cause: 'idle', reason: 'It is idle.', warned: 15 },
    ending: false,
    reason: '',
    signals: [],
    acted_on: true,
    kept_until: null,
    finish: false,
    something_new: 1
  };
  assert.deepEqual(readView(answer), view({ stop: stop(15) }));
  for (const wrong of [null, [], 'x', {}, { ...answer, gpus: 3 }, { ...answer, at: 'soon' }]) {
    assert.throws(() => readView(wrong), TypeError);
  }
  for (const value of ['87', Number.NaN, {}]) {
    assert.throws(() => readView({ ...answer, gpus: [{ ...answer.gpus[0], utilization_percent: value }] }));
  }
});
