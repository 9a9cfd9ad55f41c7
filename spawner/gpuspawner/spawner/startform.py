"""From the start page's model to HTML, in the reader's language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gpuspawner.core.images import name_for_people
from gpuspawner.core.words import begin_sentence, describe_bytes
from gpuspawner.language import ENGLISH, load
from gpuspawner.language.retell import retell

from .startpage import StartPage

TEMPLATES = Path(__file__).parent / "templates"


def render_page(page: StartPage, language: str = ENGLISH) -> str:
    """The HTML that goes into the Hub's spawn form.

    Args:
        page: What it shows.
        language: A key of :data:`gpuspawner.language.LANGUAGES`.
    """
    return _environment(language).get_template("start.html").render(page=page).lstrip()


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    texts = load(language)
    environment.install_gettext_callables(texts.gettext, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals["language"] = language
    environment.filters |= {
        "utc": _show_utc,
        "bytes": lambda amount: _keep_together(describe_bytes(amount)),
        "length": lambda length: _keep_together(_show_length(length)),
        "hours": lambda hours: _keep_together(_show_hours(hours)),
        "sentence": begin_sentence,
        "architectures": lambda names: ", ".join(name_for_people(name) for name in names),
        "retold": partial(retell, language=language),
    }
    return environment


def _show_utc(moment: datetime) -> str:
    """Without scripts; with them it is shown in the reader's own zone."""
    return f"{moment.astimezone(UTC):%a %H:%M} UTC"


def _show_length(length: timedelta) -> str:
    """A length of time as people say it: ``25 min``, ``1 h 30 min``, ``8 h``, ``2 d``."""
    hours, minutes = divmod(round(length.total_seconds() / 60), 60)
    if not hours:
        return f"{minutes} min"
    if hours >= 48 and hours % 24 == 0:
        return f"{hours // 24} d"
    return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"


def _show_hours(hours: float) -> str:
    """Hours, rounded down: ``11 h 20 min``."""
    whole, minutes = divmod(int(hours * 60 + 1e-6), 60)
    if not whole:
        return f"{minutes} min"
    return f"{whole} h {minutes} min" if minutes else f"{whole} h"


def _keep_together(text: str) -> str:
    """An amount whose unit never stands alone on the next line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")
