/** *Why?*: what was seen, by whom and when, and what follows. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { View } from './view.ts';
import { forget, localise, tellGpus, tellTime, type Words } from './words.ts';

export async function showWhy(view: View, now: number, away: boolean, words: Words): Promise<void> {
  const { tell } = words;
  await showDialog({
    title: tell('When this server stops, and why'),
    body: new Widget({ node: describe(view, now, away, words) }),
    buttons: [Dialog.okButton({ label: tell('Close') })]
  });
}

function describe(view: View, now: number, away: boolean, words: Words): HTMLElement {
  const { tell } = words;
  const time = (at: number): string => tellTime(at, now, words);
  const body = document.createElement('div');
  body.className = 'gpuspawner-Why';
  const say = (text: string): void => {
    const line = document.createElement('p');
    line.textContent = localise(text, now, words);
    body.append(line);
  };
  if (away) {
    say(tell('The controller does not answer; this is from %1.', time(view.at)));
  }
  if (view.stop !== null) {
    say(tell('It stops at %1.', time(view.stop.at)));
    say(view.stop.reason);
  } else {
    say(tell('As things are, nothing stops it.'));
  }
  if (view.reason !== '' && view.reason !== view.stop?.reason) {
    say(view.reason);
  }
  if (!view.actedOn) {
    say(tell('Here, servers in which nothing is done are not stopped; it is only written down.'));
  }
  if (view.keptUntil !== null) {
    say(tell('It is kept until %1, whatever is done in it.', time(view.keptUntil)));
  }
  if (view.finish) {
    say(tell('It stops as soon as nothing runs in it any more, as was asked.'));
  }
  for (const gpu of forget(view, now).gpus) {
    const name = gpu.model === null ? gpu.uuid : `${gpu.model} (${gpu.uuid.slice(0, 12)})`;
    say(`${name}: ${tellGpus([gpu], words)}`);
  }
  if (view.signals.length > 0) {
    body.append(table(view, now, words));
  }
  return body;
}

function table(view: View, now: number, words: Words): HTMLTableElement {
  const { tell } = words;
  const found = document.createElement('table');
  found.createCaption().textContent = tell('What was seen');
  const head = found.createTHead().insertRow();
  for (const title of [tell('What'), tell('Who says so'), tell('When'), tell('What it says')]) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.textContent = title;
    head.append(cell);
  }
  const rows = found.createTBody();
  for (const signal of view.signals) {
    const row = rows.insertRow();
    const at = signal.at === null ? tell('never') : tellTime(signal.at, now, words);
    for (const text of [signal.what, signal.source, at, localise(signal.says, now, words)]) {
      row.insertCell().textContent = text;
    }
  }
  return found;
}
