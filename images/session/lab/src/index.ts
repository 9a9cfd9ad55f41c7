/** What becomes of this session, in JupyterLab: its GPU, when it stops and why, keeping and saving it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';

import { Acting } from './acting.ts';
import { Asking } from './asking.ts';
import { Chip } from './chip.ts';
import { Saving } from './saving.ts';
import { Watching } from './watching.ts';
import type { Words } from './words.ts';

const KEEP = 'gpuspawner-session:keep';
const STOP = 'gpuspawner-session:save-all-and-stop';
const FINISH = 'gpuspawner-session:finish';
const WHY = 'gpuspawner-session:why';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'gpuspawner-session:plugin',
  description: 'Shows when and why this session stops, and lets its person keep, save or end it.',
  autoStart: true,
  requires: [IDocumentManager, ITranslator],
  optional: [IStatusBar, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    translator: ITranslator,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null
  ): void => {
    const bundle = translator.load('gpuspawner_session');
    const words: Words = { tell: (text, ...values) => bundle.__(text, ...values) };
    const asking = new Asking(app.serviceManager.serverSettings);
    const watching = new Watching(asking);
    const acting = new Acting(asking, watching, new Saving(app.shell, documents), words);
    addCommands(app, acting, watching, words);
    for (const command of [KEEP, STOP, FINISH, WHY]) {
      palette?.addItem({ command, category: words.tell('This server') });
    }
    const chip = new Chip(watching, words, app.commands, [KEEP, STOP, FINISH, WHY]);
    statusBar?.registerStatusItem(plugin.id, {
      item: chip,
      align: 'right',
      rank: -10,
      priority: 1,
      isActive: () => watching.view !== null,
      activeStateChanged: watching.changed
    });
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) {
        watching.refresh();
      }
    });
    void app.restored.then(() => watching.start());
  }
};

function addCommands(app: JupyterFrontEnd, acting: Acting, watching: Watching, words: Words): void {
  const { tell } = words;
  const isEnabled = (): boolean => watching.view !== null;
  app.commands.addCommand(KEEP, {
    label: tell('Keep for 1 h'),
    isEnabled: () => isEnabled() && watching.view?.ending !== true,
    execute: () => acting.keep()
  });
  app.commands.addCommand(STOP, {
    label: tell('Save all and stop'),
    isEnabled,
    execute: () => acting.saveAllAndStop()
  });
  app.commands.addCommand(FINISH, {
    label: tell('Finish and release when what runs has ended'),
    isEnabled,
    isToggleable: true,
    isToggled: () => watching.view?.finish === true,
    execute: () => acting.toggleFinish()
  });
  app.commands.addCommand(WHY, { label: tell('Why?'), isEnabled, execute: () => acting.why() });
}

export default plugin;
