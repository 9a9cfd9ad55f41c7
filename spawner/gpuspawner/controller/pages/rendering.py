"""From page models to HTML: Jinja2's environment, and how amounts and times are written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from babel.dates import format_skeleton
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpuspawner.core.words import begin_sentence, describe_bytes, describe_duration
from gpuspawner.language import load
from gpuspawner.language.retell import retell

TEMPLATES = Path(__file__).parent.parent / "templates"


def render(template: str, language: str, values: Mapping[str, Any]) -> str:
    """The text of a template.

    Args:
        template: Its name below ``templates/``.
        language: A key of :data:`gpuspawner.language.LANGUAGES`.
        values: What it shows.
    """
    return _environment(language).get_template(template).render(values)


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    texts = load(language)
    environment.install_gettext_callables(texts.gettext, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals["language"] = language
    environment.filters |= {
        "time": show_time,
        "countdown": partial(show_time, countdown=True),
        "day": partial(show_time, kind="day"),
        "date": partial(show_date, language=language),
        "clock": show_clock,
        "bytes": describe_bytes,
        "duration": describe_duration,
        "hours": show_hours,
        "percent": show_percent,
        "sentence": begin_sentence,
        "short": shorten_uuid,
        "retold": partial(retell, language=language),
    }
    return environment


def show_time(moment: datetime, *, kind: str = "time", countdown: bool = False) -> Markup:
    """A time as HTML: in UTC, and by the script in the viewer's own zone.

    Args:
        moment: The time.
        kind: ``time`` (the date too where it is not today's) or ``day``.
        countdown: Whether the script counts down to it instead.
    """
    utc = moment.astimezone(UTC)
    text = f"{utc:%Y-%m-%d}" if kind == "day" else f"{utc:%Y-%m-%d %H:%M} UTC"
    mode = "countdown" if countdown else kind
    return Markup('<time datetime="{:%Y-%m-%dT%H:%M:%SZ}" data-show="{}">{}</time>').format(utc, mode, text)


def show_date(day: date, parts: str = "MMMEd", *, language: str) -> str:
    """A day of a calendar, in the time zone of the calendar, in the reader's language: ``Fri, 17 May``.

    Args:
        day: The day, or a time on it in that time zone.
        parts: What of it, as a skeleton of CLDR.
        language: The reader's.
    """
    # English is that of the rest of the world: the day stands before the month.
    return format_skeleton(parts, day, locale={"en": "en_GB"}.get(language, language))


def show_clock(moment: datetime) -> Markup:
    """A time of the day in the time zone that it has, which the page names; the script leaves it alone."""
    utc = moment.astimezone(UTC)
    # Digits alone, of which a page has thousands: nothing has to be escaped.
    return Markup(f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{moment:%H:%M}</time>')  # noqa: S704


def show_hours(hours: float) -> str:
    """Hours for people: ``11 h 20 min``, ``45 min``."""
    minutes = round(hours * 60)
    if minutes < 60:
        return f"{minutes} min"
    whole, rest = divmod(minutes, 60)
    return f"{whole} h {rest} min" if rest and whole < 100 else f"{whole} h"


def show_percent(part: float | None) -> str:
    """A share from 0 to 1: ``62 %``; a dash where it is not known."""
    return "-" if part is None else f"{round(100 * part)} %"


def shorten_uuid(uuid: str) -> str:
    """Enough of a UUID to tell cards apart: ``GPU-68441fdb``."""
    return uuid[:12]
