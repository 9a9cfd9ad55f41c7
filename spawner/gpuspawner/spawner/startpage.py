"""The start page: from what there is to what is shown, and from what was filled in to options. All pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gpuspawner.core.placement import Offer

GIBIBYTE = 1024**3
TEMPLATES = Path(__file__).parent / "templates"
ANY_MODEL = "any"
NO_GPU = "none"


@dataclass(frozen=True, slots=True)
class Choice:
    """One card of the page: a kind of server that can be asked for."""

    value: str
    title: str
    detail: str
    state: str
    """What holds of it now, in words."""
    free: bool
    """Whether that is good news."""
    enabled: bool
    """Whether it can be chosen; a choice that cannot is still shown, with its reason."""
    until: datetime | None = None
    """When a session that is started now must end; None when it need not."""


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One image of the catalogue."""

    name: str
    selected: bool
    barred: str | None = None
    """Why the person may not use it; it is shown, with this."""


@dataclass(frozen=True, slots=True)
class StartPage:
    """Everything that the template shows."""

    summary: str
    advice: str | None
    """What to do while no GPU can be had."""
    notice: str | None
    """How the last server ended, if there is something to tell."""
    problem: str | None
    """Why GPUs cannot be given out at all."""
    choices: tuple[Choice, ...]
    selected: str
    images: tuple[ImageChoice, ...]
    most_gpus: int
    count: int
    """How many GPUs are offered first."""


def build_page(
    offers: Sequence[Offer],
    any_gpu: Offer | None = None,
    *,
    queue: bool = False,
    problem: str | None,
    notice: str | None,
    images: Sequence[str],
    last: Mapping[str, object],
    most_gpus: int,
    refused: bool = False,
    barred_images: Mapping[str, str] | None = None,
    barred_gpus: str | None = None,
) -> StartPage:
    """Build the page.

    Args:
        offers: What there is, by model.
        any_gpu: What there is for whoever takes any whole GPU.
        queue: Whether a place in line can be taken.
        problem: Why GPUs cannot be given out, or None.
        notice: What to tell of the last server, or None.
        images: Names in the catalogue; the first is the default.
        last: The options of the last start, to be offered again.
        most_gpus: The most GPUs that a server may have.
        refused: Whether a start was refused just now; the same is not offered again then.
        barred_images: Images that the person may not use, with the reason.
        barred_gpus: Why the person may use no GPU at all, or None.
    """
    offers = [replace(offer, barred=barred_gpus or offer.barred) for offer in offers]
    usable = [offer for offer in offers if offer.barred is None]
    total, free = sum(o.total for o in usable), sum(o.free for o in usable)
    choices = [Choice(NO_GPU, "No GPU", "Processor and memory only", "Always available", True, True)]
    if len(usable) > 1 and any_gpu is not None:
        choices.append(
            _gpu_choice(
                ANY_MODEL, "Any GPU", "Whichever model is free", any_gpu, problem=problem, queue=queue
            )
        )
    for o in offers:
        detail = f"{o.memory_bytes / GIBIBYTE:.0f} GiB of GPU memory"
        choices.append(
            Choice(o.model, o.model, detail, _begin_sentence(o.barred), False, False)
            if o.barred
            else _gpu_choice(o.model, o.model, detail, o, problem=problem, queue=queue)
        )
    nothing_allowed = bool(offers) and not usable
    return StartPage(
        summary="No GPU is allowed to you" if nothing_allowed else _summarise(free, total, problem),
        advice="You can start a server without a GPU." if nothing_allowed else _advise(free, problem, queue),
        notice=notice,
        problem=problem,
        choices=tuple(choices),
        selected=NO_GPU if refused else _preselect(choices, last),
        images=_list_images(images, barred_images or {}, last.get("image")),
        most_gpus=most_gpus,
        count=_offer_count(last.get("gpus"), most_gpus),
    )


def render_page(page: StartPage) -> str:
    """The HTML that goes into the Hub's spawn form."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["utc"] = lambda moment: f"{moment.astimezone(UTC):%a %H:%M} UTC"
    return environment.get_template("start.html").render(page=page)


def read_form(form: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Turn form or query fields into options; what is not understood is passed on, to be refused by name.

    The form's own fields are ``device`` (a choice's value), ``count`` and ``image``. A link may also give the
    options by their API names, such as ``/hub/spawn?opt-gpus=1``.
    """
    options: dict[str, object] = {
        name: values[0] if len(values) == 1 else list(values)
        for name, values in form.items()
        if name != "_xsrf" and list(values) != [""]
    }
    if "gpus" in options:
        options["gpus"] = _whole_number(options["gpus"])
    if "device" in options:
        device, count = options.pop("device"), options.pop("count", "1")
        options["gpus"] = 0 if device == NO_GPU else _whole_number(count)
        if device != NO_GPU:
            # The page says when a session that is started now must end.
            options["shorten"] = True
        if device not in (NO_GPU, ANY_MODEL):
            options["model"] = device
    return options


def _list_images(images: Sequence[str], barred: Mapping[str, str], last: object) -> tuple[ImageChoice, ...]:
    # What was asked for last may be anything, also what cannot be looked up in a mapping.
    wanted = last
    if last is None or last in list(barred):
        wanted = next((name for name in images if name not in barred), None)
    return tuple(ImageChoice(name, name == wanted, barred.get(name)) for name in images)


def _begin_sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _whole_number(text: object) -> object:
    return (
        int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else text
    )


def _gpu_choice(
    value: str, title: str, detail: str, offer: Offer, *, problem: str | None, queue: bool
) -> Choice:
    if problem is not None:
        return Choice(value, title, detail, "Not available now", False, False)
    if offer.free and offer.waits is None:
        state = f"{offer.free} of {offer.total} free now"
        return Choice(value, title, detail, state, True, True, offer.until)
    state = f"None of {offer.total} free now" if offer.total > 1 else "Not free now"
    if offer.free:
        state = "Free, but kept for others"
    if queue:
        state += f"; {_ahead(offer.ahead)}"
    return Choice(value, title, detail, state, False, queue)


def _ahead(count: int) -> str:
    if count == 0:
        return "you would be the first in line"
    return f"{count} {'request' if count == 1 else 'requests'} ahead of you in line"


def _summarise(free: int, total: int, problem: str | None) -> str:
    if problem is not None:
        return "No GPU now"
    if total == 0:
        return "No GPU is known here"
    if free == 0:
        return f"None of the {total} GPUs is free now" if total != 1 else "The GPU is not free now"
    return f"{free} of {total} {'GPU' if total == 1 else 'GPUs'} free"


def _advise(free: int, problem: str | None, queue: bool) -> str | None:
    if problem is not None:
        return "You can start a server without a GPU now."
    if free == 0 and queue:
        return (
            "Choose a GPU all the same to get a place in line: your server starts when your turn comes. "
            "Meanwhile you can work in a server without a GPU, and your files are the same in every server."
        )
    if free == 0:
        return (
            "You can start a server without a GPU now. To get a GPU later, look at this page again; stop "
            "your server first if it runs. Your files are the same in every server."
        )
    return None


def _offer_count(last: object, most: int) -> int:
    return last if type(last) is int and 1 <= last <= most else 1


def _preselect(choices: Sequence[Choice], last: Mapping[str, object]) -> str:
    if not last.get("gpus"):
        return NO_GPU
    wanted = last.get("model")
    fitting = [c.value for c in choices if c.enabled and c.value != NO_GPU and wanted in (None, c.value)]
    return fitting[0] if fitting else NO_GPU
