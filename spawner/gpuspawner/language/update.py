"""``make words``: bring the catalogues up to date with what templates and code say."""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from . import ENGLISH, FOLDER, LANGUAGES
from .foreign import FOREIGN, JOINTS

PACKAGE = FOLDER.parent
SPEAKING = ("core", "allocator", "policy", "passport", "adapters", "agent", "controller", "spawner")
"""Packages whose sentences come onto pages; what the others say is for whoever sits at a shell."""
METHODS = [
    *((f"{name}/**.py", "gpuspawner.language.sentences:extract_sentences") for name in SPEAKING),
    ("**/templates/**.html", "jinja2"),
]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}
OPTIONS = {"**/templates/**.html": {"trimmed": "true", "silent": "false"}}

_OF_NO_USE = tuple(
    f'"{name}' for name in ("POT-", "PO-", "Project-", "Report-", "Last-", "Language-Team", "Generated-")
)
"""Lines of a catalogue's head that change with every run, or tell of nobody."""


def collect() -> Catalog:
    """Everything that is said in English, without translations."""
    catalogue = Catalog(project="gpuspawner", version="1", charset="utf-8")
    for path, _, message, comments, context in extract_from_dir(PACKAGE, METHODS, OPTIONS, KEYWORDS):
        catalogue.add(message, None, [(path, 0)], auto_comments=comments, context=context)
    for message in (*FOREIGN, *JOINTS):
        catalogue.add(message, None, [("language/foreign.py", 0)])
    return catalogue


def refresh(language: str) -> str:
    """The text of a language's catalogue: what is new has no translation, what is gone is left out."""
    path = FOLDER / f"{language}.po"
    known = read_po(path.open("rb"), locale=language) if path.exists() else Catalog(locale=language)
    known.update(collect(), no_fuzzy_matching=True)
    known.obsolete.clear()
    known.fuzzy = False
    text = io.BytesIO()
    write_po(text, known, width=100, omit_header=False, sort_output=True, include_lineno=False)
    lines = text.getvalue().decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_OF_NO_USE))


def list_missing(language: str) -> list[str]:
    """Texts that a language's catalogue does not say."""
    known = read_po((FOLDER / f"{language}.po").open("rb"), locale=language)
    missing = []
    for message in collect():
        found = known.get(message.id, message.context) if message.id else None
        if message.id and (found is None or found.fuzzy or not all(_strings(found.string))):
            missing.append(str(message.id))
    return missing


def _strings(string: object) -> tuple[str, ...]:
    return tuple(string) if isinstance(string, tuple | list) else (str(string),)


def main() -> None:
    """Write every catalogue anew, and say how much of it is still to be translated."""
    for language in LANGUAGES:
        if language != ENGLISH:
            Path(FOLDER / f"{language}.po").write_text(refresh(language))
            print(f"{language}.po: {len(list_missing(language))} texts to translate")


if __name__ == "__main__":
    main()
