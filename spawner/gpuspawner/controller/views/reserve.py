"""The form that makes or changes a reservation: what is typed in, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gpuspawner.controller.api.linemodels import ReservationInfo
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.recurrence import read_rule, to_utc
from gpuspawner.policy.options import shorten

from .changes import LABELS, Difference

ONCE, DAILY, WEEKLY, RULE = "", "daily", "weekly", "rule"
_FIELDS = (
    "title", "whom", "kind", "name", "users", "devices", "pool", "date", "time", "length", "zone", "repeat",
    "times", "until", "rule", "except", "lead",
)  # fmt: skip
_CHOSEN = re.compile(r"(model|card)-\d{1,4}", re.ASCII)
_FIELD = re.compile(r"(\w+)(?:: | (?=is missing))")


def keep_fields(form: Mapping[str, str]) -> dict[str, str]:
    """What of a form's values the form can be filled with again."""
    return {name: value for name, value in form.items() if name in _FIELDS or _CHOSEN.fullmatch(name)}


def read_form(form: Mapping[str, str]) -> dict[str, object]:
    """What was typed in, as the API takes it.

    Raises:
        InvalidRequest: With the field that is wrong, and what is right.
    """
    said = {name: form.get(name, "").strip() for name in _FIELDS}
    day, clock = said["date"], said["time"]
    if not day or not clock:
        raise InvalidRequest("start: choose a day and a time.")
    kind, name = _read_whom(said)
    body: dict[str, object] = {
        "title": said["title"],
        kind: name,
        "users": _split(said["users"], r"[\n,;]+"),
        "devices": int(said["devices"]) if re.fullmatch("[0-9]{1,6}", said["devices"]) else said["devices"],
        "pool": said["pool"],
        "models": _chosen(form, "model"),
        "cards": _chosen(form, "card"),
        "start": f"{day}T{clock}",
        "length": said["length"],
        "zone": said["zone"],
        "rule": _read_repeat(said),
        "except": _split(said["except"], r"[\s,;]+"),
        "lead": said["lead"],
    }
    return {field: value for field, value in body.items() if value not in ("", [])}


def _read_whom(said: Mapping[str, str]) -> tuple[str, str]:
    kind, _, name = said["whom"].partition(":") if said["whom"] else (said["kind"], "", said["name"])
    if kind not in ("person", "group", "course") or not name:
        raise InvalidRequest("person: say for whom it is.")
    return kind, name


def _read_repeat(said: Mapping[str, str]) -> str:
    repeat = said["repeat"]
    if repeat == ONCE:
        return ""
    if repeat == RULE:
        if not said["rule"]:
            raise InvalidRequest("rule: write a rule such as FREQ=MONTHLY;BYDAY=1MO;COUNT=6.")
        return said["rule"]
    if repeat not in (DAILY, WEEKLY):
        raise InvalidRequest("rule: choose one of those that are offered.")
    if bool(said["times"]) == bool(said["until"]):
        raise InvalidRequest("rule: say how many times, or until which day: one of them.")
    rule = f"FREQ={repeat.upper()}"
    if said["times"]:
        if not re.fullmatch("[0-9]{1,5}", said["times"]):
            raise InvalidRequest(f"rule: write a whole number of times; you sent {shorten(said['times'])}.")
        return f"{rule};COUNT={int(said['times'])}"
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", said["until"], re.ASCII):
        raise InvalidRequest(f"rule: write a day such as 2030-06-30; you sent {shorten(said['until'])}.")
    return f"{rule};UNTIL={said['until'].replace('-', '')}"


def _split(text: str, at: str) -> list[str]:
    return [one for part in re.split(at, text) if (one := part.strip())]


def _chosen(form: Mapping[str, str], what: str) -> list[str]:
    return [value for name, value in form.items() if name.startswith(f"{what}-") and _CHOSEN.fullmatch(name)]


def fill_form(info: ReservationInfo) -> dict[str, str]:
    """The form of a reservation that stands."""
    kind = "person" if info.person is not None else "group" if info.group is not None else "course"
    name = info.person or info.group or info.course or ""
    zone = ZoneInfo(info.zone)
    start = info.start.astimezone(zone)
    left_out = (one.astimezone(zone) for one in info.left_out)
    return {
        "title": info.title,
        "whom": f"{kind}:{name}",
        "kind": kind,
        "name": name,
        "users": "\n".join(info.users),
        "devices": str(info.devices),
        "pool": info.pool or "",
        "date": f"{start:%Y-%m-%d}",
        "time": f"{start:%H:%M}",
        "length": info.length,
        "zone": info.zone,
        **_fill_repeat(info.rule, zone),
        "except": " ".join(
            f"{one:%Y-%m-%d}" if one.time() == start.time() else one.isoformat() for one in left_out
        ),
        "lead": "" if info.lead in ("0", "") else info.lead,
        **({} if info.pool else {f"model-{n}": one for n, one in enumerate(info.models)}),
        **({} if info.pool else {f"card-{n}": one for n, one in enumerate(info.cards)}),
    }


def _fill_repeat(text: str, zone: ZoneInfo) -> dict[str, str]:
    if not text:
        return {"repeat": ONCE}
    rule = read_rule(text)
    plain = {"DAILY": DAILY, "WEEKLY": WEEKLY}.get(rule.parts["FREQ"])
    if plain is None or set(rule.parts) - {"FREQ", "COUNT", "UNTIL"}:
        return {"repeat": RULE, "rule": text}
    if rule.count is not None:
        return {"repeat": plain, "times": str(rule.count)}
    until = rule.until
    return {"repeat": plain, "until": f"{to_utc(until, zone).astimezone(zone):%Y-%m-%d}" if until else ""}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the form offers to its reader."""

    whom: tuple[tuple[str, str], ...]
    """(kind, name) of those for whom they may reserve, where these are few."""
    anybody: bool
    """Whether they may reserve for anybody: then kind and name are typed in."""
    names: tuple[str, ...]
    """Of groups and courses, to choose from when typing."""
    pools: tuple[str, ...]
    models: tuple[tuple[str, int], ...]
    """Models that are here, with how many there are of each."""
    cards: tuple[tuple[str, str], ...]
    """UUIDs, each with its model."""

    @property
    def none(self) -> bool:
        """Whether they may reserve for nobody."""
        return not self.whom and not self.anybody


@dataclass(frozen=True, slots=True)
class When:
    """A time at which a reservation takes place, in the reservation's time zone."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Other:
    """What takes GPUs that a new reservation would need."""

    title: str
    kind: str
    whose: str
    """Empty for a person who is not named to the reader."""
    gpus: int
    when: When


@dataclass(frozen=True, slots=True)
class Clash:
    """A time at which a new reservation cannot have its GPUs."""

    when: When
    missing: int
    left: int
    others: tuple[Other, ...]
    """None: there are not so many here at all."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What would come of the form as it is."""

    fits: bool
    gpus: int = 0
    zone: str = ""
    """Of the times below."""
    times: int = 0
    """How often it would take place."""
    ahead: tuple[When, ...] = ()
    """The next times."""
    warnings: tuple[str, ...] = ()
    clashes: tuple[Clash, ...] = ()
    problem: str = ""
    """What is wrong with the form, in words."""
    field: str = ""
    """Id of the field that is wrong; empty where it is no single one."""
    label: str = ""
    """Of that field, to be translated."""
    difference: Difference | None = None
    """What it comes to where it takes the place of one that stands."""
    note: str = ""
    """What the reader must know first."""


def tell_problem(message: str) -> Checked:
    """What an error says, with the field that it is about, if it begins with one."""
    found = _FIELD.match(message)
    if found is None or found[1] not in LABELS:
        return Checked(False, problem=message)
    field, label = LABELS[found[1]]
    return Checked(False, problem=message[found.end() :], field=field, label=label)


@dataclass(frozen=True, slots=True)
class ReservePage:
    """The page."""

    values: Mapping[str, str]
    """What is typed in."""
    choices: Choices
    replaces: str
    """Id of the reservation that is changed; empty for a new one."""
    seen: str
    """Version of it that its reader was shown: the press changes no other."""
    title: str
    """Of the reservation that is changed."""
    checked: Checked | None
    """None before anything was checked."""
    action: str
    check: str
    """Where the script asks."""
    calendar: str
    zone: str
    """The reader's time zone."""
    chosen_models: tuple[str, ...]
    chosen_cards: tuple[str, ...]


def view_reserve(
    values: Mapping[str, str],
    choices: Choices,
    checked: Checked | None,
    *,
    action: str,
    check: str,
    calendar: str,
    zone: str,
    replaces: str = "",
    seen: str = "",
    title: str = "",
) -> ReservePage:
    """Make the page; what was chosen and is not offered any more is offered for this once.

    Args:
        values: What is typed in.
        choices: What is offered.
        checked: What would come of it, if that is to be shown.
        action: Where *Reserve* leads.
        check: Where the script asks.
        calendar: Where the calendar is.
        zone: The reader's time zone.
        replaces: Id of the reservation that is changed.
        seen: Version of it that its reader was shown.
        title: Its title.
    """
    models, cards = _chosen(values, "model"), _chosen(values, "card")
    more_models = tuple((one, 0) for one in models if one not in dict(choices.models))
    more_cards = tuple((one, "") for one in cards if one not in dict(choices.cards))
    filled = {name: values.get(name, "") for name in _FIELDS}
    pools = choices.pools
    if filled["pool"] and filled["pool"] not in pools:
        pools = (*pools, filled["pool"])
    whom, wanted = choices.whom, filled["whom"].partition(":")
    if whom and wanted[2] and (wanted[0], wanted[2]) not in whom:
        whom = (*whom, (wanted[0], wanted[2]))
    offered = Choices(
        whom,
        choices.anybody,
        choices.names,
        pools,
        (*choices.models, *more_models),
        (*choices.cards, *more_cards),
    )
    return ReservePage(
        values=filled,
        choices=offered,
        replaces=replaces,
        seen=seen,
        title=title,
        checked=checked,
        action=action,
        check=check,
        calendar=calendar,
        zone=zone,
        chosen_models=tuple(models),
        chosen_cards=tuple(cards),
    )


def begin_form(zone: ZoneInfo, now: datetime, day: str, whom: Sequence[tuple[str, str]]) -> dict[str, str]:
    """An empty form: the next full hour, for two hours.

    Args:
        zone: The reader's time zone.
        now: The present.
        day: The day that they looked at, if it is one; hostile.
        whom: Those for whom they may reserve.
    """
    hour = (now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)).timestamp() + 3600
    start = datetime.fromtimestamp(hour, zone)
    date = day if re.fullmatch(r"\d{4}-\d\d-\d\d", day, re.ASCII) else f"{start:%Y-%m-%d}"
    return {
        "whom": ":".join(whom[0]) if whom else "",
        "kind": "course",
        "devices": "1",
        "date": date,
        "time": f"{start:%H:%M}",
        "length": "2 h",
        "zone": zone.key,
    }
