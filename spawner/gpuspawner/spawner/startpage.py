"""The start page: from what there is to what is shown, and from what was filled in to options. All pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from gpuspawner.allocator import OwnPlace, Stock
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import Allowance
from gpuspawner.core.quota import find_most_gpus, why_no_gpus
from gpuspawner.passport.model import Passport
from gpuspawner.policy.units import read_duration

from .coursechoices import CourseChoice, list_courses, preselect_course
from .imagechoices import ANY_MODEL, ImageChoice, list_images

NO_GPU = "none"
SESSION_HOURS = (1, 2, 4, 8, 24)
"""Lengths that are offered, where they are shorter than the longest session."""
STEP = timedelta(minutes=5)
"""An estimate is told to this, so that it does not change at every look."""


class Kind(StrEnum):
    """What a card of the page is for."""

    CPU = "cpu"
    ANY = "any"
    CARD = "card"
    SLICE = "slice"


class State(StrEnum):
    """What holds of a card of the page now."""

    FREE = "free"
    BUSY = "busy"
    """None is free."""
    OUT = "out"
    """All are out of service."""
    KEPT = "kept"
    """Free, and kept for others."""
    RESERVED = "reserved"
    """Free, and kept for a reservation."""
    BARRED = "barred"
    """Not for this person."""
    REFUSED = "refused"
    """Not for this person now, whatever the model."""
    UNKNOWN = "unknown"
    """Nothing can be given out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One card of the page: a kind of server that can be asked for."""

    value: str
    kind: Kind
    state: State
    enabled: bool
    """Whether it can be chosen; a choice that cannot is still shown, with its reason."""
    memory_bytes: int | None = None
    """Of one GPU; of any GPU that of the smallest. None without a GPU."""
    total: int = 0
    free: int = 0
    most: int = 1
    """The most GPUs of that kind that can be asked for."""
    at_once: int = 1
    """How many GPUs of that kind a start gets without waiting; 0 when all would wait."""
    until: datetime | None = None
    """When a session that is started now must end, if early; of a reservation its end."""
    because: str = ""
    """Why it ends then; for whom it is reserved; why the person may not have it."""
    waits: bool = False
    """Whether a place in line can be had for it."""
    ahead: int = 0
    """How many would come before."""
    soonest: timedelta | None = None
    """In how long the turn may come at the earliest; None when nothing can be said."""
    latest: timedelta | None = None
    """In how long at the latest; None when that cannot be bounded."""


@dataclass(frozen=True, slots=True)
class Length:
    """One length that a session can be asked for."""

    hours: int
    selected: bool

    @property
    def value(self) -> str:
        """As the option ``session`` takes it."""
        return f"{self.hours} h"


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices of one sort that the person may use."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Budget:
    """GPU-hours of the last seven days."""

    used: float
    limit: float


class Advice(StrEnum):
    """What to do while no GPU can be had."""

    NONE = "none"
    NOT_ALLOWED = "not allowed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    QUEUE = "queue"
    COME_BACK = "come back"


@dataclass(frozen=True, slots=True)
class StartPage:
    """Everything that the template shows."""

    gpus: Tally
    slices: Tally
    waiting: int | None
    """Places in line; None where there is no line, or where that is not known."""
    budget: Budget | None
    advice: Advice
    reason: str
    """Why no GPU can be had at all: known to the ledger's side, and in its words."""
    problem: str | None
    """What is wrong with the policy, for whoever can mend it."""
    ended: LastEnd | None
    """How the last server ended, if there is something to tell."""
    places: tuple[OwnPlace, ...]
    """The person's places in line."""
    queue_url: str
    """Where they see them; empty where there is no line."""
    choices: tuple[Choice, ...]
    selected: str
    longest: timedelta | None
    """The longest session; None for no limit."""
    lengths: tuple[Length, ...]
    images: tuple[ImageChoice, ...]
    most_gpus: int
    count: int
    """How many GPUs are offered first."""
    server_memory: int | None = None
    """Main memory of a server, in bytes; None where it is not limited."""
    server_cpus: float | None = None
    courses: tuple[CourseChoice, ...] = ()
    """Those with notebooks."""
    purposes: tuple[CourseChoice, ...] = ()
    """Those that the server can be for."""
    undecided: bool = False
    """Whether it is for its person to say which of several it is for."""


def build_page(
    stock: Stock,
    allowance: Allowance,
    *,
    now: datetime,
    images: Sequence[str],
    last: Mapping[str, object],
    passports: Mapping[str, Passport] | None = None,
    fleet: Collection[str] = (),
    candidates: Collection[str] = (),
    last_days: Mapping[str, date] | None = None,
    queue_url: str = "",
    problem: str | None = None,
    ended: LastEnd | None = None,
    refused: bool = False,
    notebooks: Mapping[str, str] | None = None,
    courses: Mapping[str, str] | None = None,
) -> StartPage:
    """Build the page.

    Args:
        stock: What there is, and how the person stands.
        allowance: What they may use.
        now: The present.
        images: Names in the catalogue; the first is the default.
        last: The options of the last start, to be offered again.
        passports: Those of the images, by name, as far as they are known.
        fleet: The architectures of all that is here.
        candidates: Names of images on trial.
        last_days: Until when images can be chosen, by name, where that is limited.
        queue_url: Where places in line are seen; empty where none can be taken.
        problem: What is wrong with the policy, for whoever can mend it.
        ended: How the last server ended, if there is something to tell.
        refused: Whether a start was refused just now; the same is not offered again then.
        notebooks: By course that has notebooks, the image that they are opened in.
        courses: The images of the person's courses.
    """
    barred = why_no_gpus(allowance)
    offers = [replace(offer, barred=barred or offer.barred) for offer in stock.offers]
    usable = [offer for offer in offers if offer.barred is None]
    most = max(find_most_gpus(allowance, max((o.total for o in usable), default=0), stock.holding), 1)
    choices = _list_choices(offers, _Judge(stock, now, bool(queue_url), most))
    courses = courses or {}
    image = last.get("image") or courses.get(str(last.get("course")))
    found = list_images(images, allowance, image, passports or {}, usable, fleet=fleet)
    advice = _advise(stock, offers, usable, bool(queue_url))
    balance = stock.balance
    limit = balance.limit.value if balance else None
    course = preselect_course(courses, [one.name for one in found if one.selected], last.get("course"))
    # Where nobody keeps a line, nobody ends sessions either.
    longest = allowance.longest_session.value if queue_url else None
    return StartPage(
        gpus=_tally(offer for offer in usable if not offer.sliced),
        slices=_tally(offer for offer in usable if offer.sliced),
        waiting=stock.waiting if queue_url else None,
        budget=Budget(balance.used_hours, limit) if balance and limit is not None else None,
        advice=advice,
        reason=stock.problem or (stock.refused if advice is Advice.REFUSED else "") or "",
        problem=problem,
        ended=ended,
        places=stock.places if queue_url else (),
        queue_url=queue_url,
        choices=choices,
        selected=NO_GPU if refused else _preselect(choices, last),
        longest=longest,
        lengths=_list_lengths(longest, last.get("session")) if queue_url else (),
        images=tuple(
            replace(choice, candidate=choice.name in candidates, until=(last_days or {}).get(choice.name))
            for choice in found
        ),
        most_gpus=most,
        count=_offer_count(last.get("gpus"), most),
        server_memory=allowance.memory.value,
        server_cpus=allowance.cpus.value,
        courses=list_courses(notebooks or {}, last.get("notebooks")),
        purposes=list_courses(courses, course),
        undecided=course is None,
    )


def read_form(form: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Turn form or query fields into options; what is not understood is passed on, to be refused by name.

    The form's own fields are ``device`` (a choice's value), ``count``, ``session``, ``image``, ``notebooks``
    and ``for`` (``none``, or ``course:`` and its name). A link may also give the options by their API names,
    such as ``/hub/spawn?opt-gpus=1``; of these an empty ``course`` says something: for none.
    """
    options: dict[str, object] = {
        name: values[0] if len(values) == 1 else list(values)
        for name, values in form.items()
        if name != "_xsrf" and (list(values) != [""] or name == "course")
    }
    if "gpus" in options:
        options["gpus"] = _whole_number(options["gpus"])
    purpose = options.get("for")
    if isinstance(purpose, str) and (purpose == "none" or purpose.startswith("course:")):
        options["course"] = purpose.partition(":")[2]
        del options["for"]
    if "device" in options:
        device, count = options.pop("device"), options.pop("count", "1")
        options["gpus"] = 0 if device == NO_GPU else _whole_number(count)
        if device != NO_GPU:
            # The page says when a session that is started now must end.
            options["shorten"] = True
        if device not in (NO_GPU, ANY_MODEL):
            options["model"] = device
    return options


@dataclass(frozen=True, slots=True)
class _Judge:
    """What makes a choice of an offer."""

    stock: Stock
    now: datetime
    queue: bool
    most: int

    def judge(self, value: str, kind: Kind, offer: Offer, of_one_model: Offer) -> Choice:
        """The choice.

        Args:
            value: Its name in the form.
            kind: What it is for.
            offer: What there is.
            of_one_model: The model of which there is most, since several GPUs are always of one model.
        """
        state = self._find_state(offer)
        waits = self.queue and state in (State.BUSY, State.OUT, State.KEPT, State.RESERVED)
        at_once = of_one_model.free if state is State.FREE else 0
        known = waits and offer.soonest is not None
        return Choice(
            value,
            kind,
            state,
            enabled=waits or state is State.FREE,
            memory_bytes=offer.memory_bytes,
            total=offer.total,
            free=offer.free,
            most=max(min(self.most, of_one_model.total if self.queue else at_once), 1),
            at_once=at_once,
            until=offer.until if state in (State.FREE, State.RESERVED) else None,
            because=offer.barred or offer.reserved or offer.because,
            waits=waits,
            ahead=offer.ahead,
            soonest=_left(offer.soonest, self.now, up=False) if known else None,
            latest=_left(offer.latest, self.now, up=True) if known else None,
        )

    def _find_state(self, offer: Offer) -> State:
        if offer.barred is not None:
            return State.BARRED
        if self.stock.problem is not None:
            return State.UNKNOWN
        if self.stock.refused is not None:
            return State.REFUSED
        if offer.reserved is not None:
            return State.RESERVED
        if not offer.free:
            return State.OUT if offer.out_of_service else State.BUSY
        return State.FREE if offer.waits is None else State.KEPT


_NO_GPU_CHOICE = Choice(NO_GPU, Kind.CPU, State.FREE, True)


def _list_choices(offers: Sequence[Offer], judge: _Judge) -> tuple[Choice, ...]:
    stopped = judge.stock.stopped
    found = [Choice(NO_GPU, Kind.CPU, State.BARRED, False, because=stopped)] if stopped else [_NO_GPU_CHOICE]
    whole = [offer for offer in offers if not offer.sliced]
    usable = [offer for offer in whole if offer.barred is None]
    any_gpu = judge.stock.any_gpu
    if len(usable) > 1 and any_gpu is not None:
        most = max(usable, key=lambda offer: offer.total)
        of_one = replace(most, free=max(offer.free for offer in usable))
        found.append(judge.judge(ANY_MODEL, Kind.ANY, any_gpu, of_one))
    found += [judge.judge(offer.model, Kind.CARD, offer, offer) for offer in whole]
    found += [judge.judge(offer.model, Kind.SLICE, offer, offer) for offer in offers if offer.sliced]
    return tuple(found)


def _tally(offers: Iterable[Offer]) -> Tally:
    known = list(offers)
    return Tally(sum(offer.free for offer in known), sum(offer.total for offer in known))


def _advise(stock: Stock, offers: Collection[Offer], usable: Collection[Offer], queue: bool) -> Advice:
    if stock.problem is not None:
        return Advice.UNKNOWN
    if offers and not usable:
        return Advice.NOT_ALLOWED
    if stock.refused is not None:
        return Advice.REFUSED
    if any(offer.free for offer in usable):
        return Advice.NONE
    return Advice.QUEUE if queue and usable else Advice.COME_BACK


def _left(moment: datetime | None, now: datetime, *, up: bool) -> timedelta | None:
    """How long until then, in whole steps."""
    if moment is None:
        return None
    left = max(moment - now, timedelta(0))
    return -(-left // STEP) * STEP if up else left // STEP * STEP


def _list_lengths(longest: timedelta | None, last: object) -> tuple[Length, ...]:
    try:
        wanted = read_duration(last)
    except ValueError:
        wanted = None
    hours = [n for n in SESSION_HOURS if longest is None or timedelta(hours=n) < longest]
    return tuple(Length(n, timedelta(hours=n) == wanted) for n in hours)


def _whole_number(text: object) -> object:
    return (
        int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else text
    )


def _offer_count(last: object, most: int) -> int:
    return last if type(last) is int and 1 <= last <= most else 1


def _preselect(choices: Sequence[Choice], last: Mapping[str, object]) -> str:
    if not last.get("gpus"):
        return NO_GPU
    wanted = last.get("model")
    fitting = [c.value for c in choices if c.enabled and c.value != NO_GPU and wanted in (None, c.value)]
    return fitting[0] if fitting else NO_GPU
