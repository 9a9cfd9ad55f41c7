/** Saving what is open. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { DocumentRegistry } from '@jupyterlab/docregistry';

const AREAS = ['main', 'left', 'right', 'down'];
/** A document that takes longer counts as not saved: a question may stand open about it. */
const PATIENCE = 20_000;

export interface Unsaved {
  readonly path: string;
  readonly why: string;
}

export class Saving {
  private readonly shell: JupyterFrontEnd.IShell;
  private readonly documents: IDocumentManager;

  constructor(shell: JupyterFrontEnd.IShell, documents: IDocumentManager) {
    this.shell = shell;
    this.documents = documents;
  }

  /**
   * Save every open document that has changes.
   *
   * @param except - Paths that are left alone, such as those that could not be saved before.
   * @returns What could not be saved, and why.
   */
  async saveAll(except: ReadonlySet<string> = new Set()): Promise<Unsaved[]> {
    const changed = this.open().filter(one => one.model.dirty && !except.has(one.path));
    const found = await Promise.all(changed.map(one => save(one)));
    return found.filter(one => one !== null);
  }

  /** Paths of the open documents that have changes. */
  changed(): Set<string> {
    return new Set(this.open().flatMap(one => (one.model.dirty ? [one.path] : [])));
  }

  private open(): DocumentRegistry.Context[] {
    const found = new Set<DocumentRegistry.Context>();
    for (const area of AREAS) {
      for (const widget of this.shell.widgets(area)) {
        const context = this.documents.contextForWidget(widget);
        if (context !== undefined) {
          found.add(context);
        }
      }
    }
    return [...found];
  }
}

async function save(context: DocumentRegistry.Context): Promise<Unsaved | null> {
  const late = new Promise<string>(resolve => setTimeout(resolve, PATIENCE, 'it took too long'));
  const done = context.save().then(
    () => (context.model.dirty ? 'it was changed meanwhile' : null),
    (error: unknown) => (error instanceof Error ? error.message : String(error))
  );
  const why = await Promise.race([done, late]);
  return why === null ? null : { path: context.path, why };
}
