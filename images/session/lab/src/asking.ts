/** Asking Jupyter's server, which asks the controller. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { readView, type View } from './view.ts';

const PATH = 'gpuspawner/session';

/** The controller said no, or nothing. */
export class Refusal extends Error {
  /** A fixed word; `away`: the controller does not answer; `lost`: this server does not either. */
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(message);
    this.kind = kind;
  }
}

export class Asking {
  private readonly settings: ServerConnection.ISettings;

  constructor(settings: ServerConnection.ISettings) {
    this.settings = settings;
  }

  /** What the session does. Throws a Refusal. */
  async look(): Promise<View> {
    return this.read(await this.ask('', { method: 'GET' }));
  }

  /** Keep the session for an hour. Throws a Refusal. */
  async keep(): Promise<View> {
    return this.read(await this.ask('keep', { method: 'POST' }));
  }

  /** Let the session end as soon as nothing runs in it, or not. Throws a Refusal. */
  async finish(finish: boolean): Promise<View> {
    return this.read(await this.ask('finish', { method: 'POST', body: JSON.stringify({ finish }) }));
  }

  /** End the session. Throws a Refusal; `lost` may mean that the server has ended already. */
  async stop(): Promise<void> {
    await this.ask('stop', { method: 'POST' });
  }

  private read(data: unknown): View {
    try {
      return readView(data);
    } catch (error) {
      throw new Refusal('away', `The controller's answer cannot be read: ${String(error)}`);
    }
  }

  private async ask(action: string, init: RequestInit): Promise<unknown> {
    const url = URLExt.join(this.settings.baseUrl, PATH, action);
    let response: Response;
    let data: unknown;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
      data = await response.json();
    } catch (error) {
      throw new Refusal('lost', String(error));
    }
    if (response.ok) {
      return data;
    }
    const error = (data as { error?: { kind?: unknown; message?: unknown } } | null)?.error;
    if (typeof error?.kind === 'string' && typeof error.message === 'string') {
      throw new Refusal(error.kind, error.message);
    }
    throw new Refusal('lost', `${response.status} ${response.statusText}`);
  }
}
