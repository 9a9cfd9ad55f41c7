/** The status bar's chip: one button with the figures, which opens the menu of what can be done. */

import type { CommandRegistry } from '@lumino/commands';
import { Menu, Widget } from '@lumino/widgets';

import type { Watching } from './watching.ts';
import { tellChip, tellLabel, type Words } from './words.ts';

export class Chip extends Widget {
  private readonly button: HTMLButtonElement;
  private readonly menu: Menu;
  private readonly watching: Watching;
  private readonly words: Words;

  constructor(watching: Watching, words: Words, commands: CommandRegistry, ids: readonly string[]) {
    super();
    this.addClass('gpuspawner-Chip');
    this.watching = watching;
    this.words = words;
    this.menu = new Menu({ commands });
    for (const command of ids) {
      this.menu.addItem({ command });
    }
    this.button = document.createElement('button');
    this.button.type = 'button';
    this.button.setAttribute('aria-haspopup', 'menu');
    this.button.setAttribute('aria-expanded', 'false');
    this.button.addEventListener('click', () => this.open());
    this.menu.aboutToClose.connect(() => {
      this.button.setAttribute('aria-expanded', 'false');
      this.button.focus({ preventScroll: true });
    });
    this.node.append(this.button);
    watching.changed.connect(() => this.show_());
  }

  override dispose(): void {
    this.menu.dispose();
    super.dispose();
  }

  private open(): void {
    this.watching.refresh();
    const where = this.button.getBoundingClientRect();
    this.menu.open(where.left, where.top);
    this.menu.activeIndex = 0;
    this.button.setAttribute('aria-expanded', 'true');
  }

  private show_(): void {
    const { view, now, away } = this.watching;
    if (view === null) {
      return;
    }
    const label = tellLabel(view, now, away, this.words);
    this.button.replaceChildren(
      ...tellChip(view, now, this.words).map((text, n, all) => {
        const part = document.createElement('span');
        part.textContent = n < all.length - 1 ? `${text} · ` : text;
        return part;
      })
    );
    this.button.title = label;
    this.button.setAttribute('aria-label', label);
  }
}
