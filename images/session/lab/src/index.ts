/** What becomes of this session, in JupyterLab: its GPU, when it stops and why, keeping and saving it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'gpuspawner-session:session',
  description: 'Shows when and why this session stops, and lets its person keep, save or end it.',
  autoStart: true,
  activate: (_app: JupyterFrontEnd): void => undefined,
};

export default plugin;
