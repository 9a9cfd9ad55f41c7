"""Reservations as people write them, in JSON or on the command line, and their translation into core values.

What people send is hostile. Each error is one sentence that names the field and says what is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gpuspawner.core.claims import EVERYBODY, Actor, Holder, Reservation
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import MOST_DEVICES, check_reservation, find_zone, to_local
from gpuspawner.core.policy import Policy
from gpuspawner.core.recurrence import MOST_OCCURRENCES, to_utc

from .options import shorten
from .policy import load_policy
from .units import describe_time, read_duration
from .yamlfile import suggest

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_HOLDERS = ("person", "group", "course")


def _read_text(value: str) -> str:
    text = value.strip()
    if text and text.isprintable():
        return text
    raise ValueError("write a text on one line")


def _read_length(value: object) -> timedelta:
    return timedelta(0) if value in ("0", 0, "0 min") else read_duration(value)


def _read_time(value: object) -> datetime:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("write a time such as 2030-03-05T14:00, or with its offset 2030-03-05T14:00+01:00")


def _read_left_out(value: object) -> datetime | date:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
        return _read_time(value)
    except ValueError:
        raise ValueError("write a day such as 2030-03-12, or the time of a start") from None


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_read_text)]
Texts = Annotated[list[Text], Field(max_length=MOST_OCCURRENCES)]
Time = Annotated[datetime, BeforeValidator(_read_time, json_schema_input_type=str)]
Length = Annotated[timedelta, BeforeValidator(_read_length, json_schema_input_type=str)]


class ReservationBody(BaseModel):
    """A reservation as it is sent. ``except`` is called ``left_out`` here."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=False)

    title: Annotated[
        str,
        Field(min_length=1, max_length=100, description="What it is for; everybody can read it."),
        AfterValidator(_read_text),
    ]
    person: Annotated[Text | None, Field(description="Who it is for: a user name; or group, or course.")] = (
        None
    )
    group: Annotated[Text | None, Field(description="Who it is for: a group of the policy.")] = None
    course: Annotated[Text | None, Field(description="Who it is for: a course of the policy.")] = None
    users: Annotated[Texts, Field(description="Those of them who may use it; none named is all.")] = []
    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES, description="How many GPUs or slices.")]
    models: Annotated[Texts, Field(description="Full names of GPU models or slices to choose from.")] = []
    pool: Annotated[Text | None, Field(description="A pool of the policy to choose from.")] = None
    cards: Annotated[Texts, Field(description="UUIDs to choose from.")] = []
    start: Annotated[Time, Field(description="First start: ISO 8601, in the time zone or with an offset.")]
    end: Annotated[Time | None, Field(description="Its end; or give the length.")] = None
    length: Annotated[Length | None, Field(description="Such as 2 h; or give the end.")] = None
    zone: Annotated[Text | None, Field(description="IANA time zone in which it recurs.")] = None
    rule: Annotated[
        str, Field(max_length=500, description="RFC 5545 rule, such as FREQ=WEEKLY;COUNT=10.")
    ] = ""
    left_out: Annotated[
        list[Annotated[datetime | date, BeforeValidator(_read_left_out, json_schema_input_type=str)]],
        Field(
            alias="except", max_length=MOST_OCCURRENCES, description="Days on which it does not take place."
        ),
    ] = []
    lead: Annotated[
        Length,
        Field(
            description="So long before each start the devices are kept free, such as 10 min.",
            json_schema_extra={"default": "0"},
        ),
    ] = timedelta(0)


@dataclass(frozen=True, slots=True)
class PolicyNames:
    """What the policy has names for; None is not known, and then it is not checked."""

    pools: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Models and UUIDs by the name of the pool; None for all."""
    groups: Collection[str] | None = None
    courses: Collection[str] | None = None


def find_names(policy: Policy) -> PolicyNames:
    """What a policy has names for; the group of everybody is always there."""
    return PolicyNames(
        policy.pools,
        frozenset(policy.groups) | {EVERYBODY},
        frozenset(course.name for course in policy.courses),
    )


def load_names(path: Path) -> PolicyNames:
    """Read the names from a policy file.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    return find_names(load_policy(path, images=None))


def parse_body(raw: object) -> ReservationBody:
    """Read what was sent.

    Raises:
        InvalidRequest: With one sentence that names the field and says what is right.
    """
    try:
        return ReservationBody.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequest(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    known = [one.alias or name for name, one in ReservationBody.model_fields.items()]
    found = error.errors(include_url=False)
    # A field that is misspelt is missing under its right name as well.
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    if not first["loc"]:
        return 'A reservation is a JSON object such as {"title": "Lab", "course": "cs231", "devices": 2, …}.'
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name[:40], known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"There is no field {shorten(name)}.{hint} The fields are: {', '.join(known)}."
    if first["type"] == "missing":
        return f"{name} is missing; add it."
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}; you sent {shorten(first['input'])}."


def make_reservation(
    body: ReservationBody,
    *,
    reservation_id: str,
    host: str,
    actor: Actor,
    now: datetime,
    names: PolicyNames | None = None,
    zone: str = "UTC",
) -> Reservation:
    """Translate and check what was sent.

    Args:
        body: What was sent.
        reservation_id: The id that it gets, or has.
        host: The host whose devices are reserved.
        actor: Who reserves.
        now: The present.
        names: What the policy has names for.
        zone: The time zone where none was sent.

    Raises:
        InvalidRequest: With one sentence that names the field and says what is right.
    """
    where = find_zone(body.zone or zone)
    start = _read_moment("start", body.start, where)
    names = names or PolicyNames()
    return check_reservation(
        Reservation(
            id=reservation_id,
            host=host,
            title=body.title,
            holder=_find_holder(body, names),
            devices=body.devices,
            start=start,
            length=_find_length(body, start, where),
            zone=where.key,
            actor=actor,
            made_at=now,
            users=tuple(dict.fromkeys(body.users)),
            cards=_find_cards(body, names),
            pool=body.pool or "",
            rule=body.rule.strip(),
            left_out=tuple(_find_left_out(one, start, where) for one in body.left_out),
            lead=body.lead,
        ),
        now,
    )


def _read_moment(name: str, moment: datetime, zone: ZoneInfo) -> datetime:
    if moment.tzinfo is not None:
        return _plain(name, lambda: to_utc(moment, zone))
    return _plain(name, lambda: to_local(moment, zone))


def _plain(name: str, read: Any) -> datetime:
    try:
        found: datetime = read()
    except (OverflowError, ValueError):
        raise InvalidRequest(f"{name}: it must be within two years of now.") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from None
    return found


def _find_holder(body: ReservationBody, names: PolicyNames) -> Holder:
    given = [(kind, getattr(body, kind)) for kind in _HOLDERS if getattr(body, kind) is not None]
    if len(given) != 1:
        raise InvalidRequest("Give exactly one of person, group and course: who the reservation is for.")
    kind, name = given[0]
    known = {"group": names.groups, "course": names.courses}.get(kind)
    if known is not None and name not in known:
        raise InvalidRequest(
            f"{kind}: the policy has no {kind} {shorten(name)}; "
            f"{suggest(name, sorted(known), f'its {kind}s are')}"
        )
    return Holder(kind, name)


def _find_length(body: ReservationBody, start: datetime, zone: ZoneInfo) -> timedelta:
    if (body.end is None) == (body.length is None):
        raise InvalidRequest("length: give either the length or the end.")
    if body.end is None:
        return body.length or timedelta(0)
    end = _read_moment("end", body.end, zone)
    if end <= start:
        raise InvalidRequest("end: it must be after the start.")
    return end - start


def _find_cards(body: ReservationBody, names: PolicyNames) -> frozenset[str]:
    cards = frozenset(body.models) | frozenset(body.cards)
    if body.pool is None:
        return cards
    if body.pool not in names.pools:
        raise InvalidRequest(
            f"pool: the policy has no pool {shorten(body.pool)}; "
            f"{suggest(body.pool, sorted(names.pools), 'its pools are')}"
        )
    pool = names.pools[body.pool]
    # A pool of everything leaves no card out, whatever else was named.
    return frozenset() if pool is None else cards | pool


def _find_left_out(given: datetime | date, start: datetime, zone: ZoneInfo) -> datetime:
    if isinstance(given, datetime):
        return _read_moment("except", given, zone)
    local = start.astimezone(zone).replace(tzinfo=None)
    if given == local.date():
        return start
    return _plain("except", lambda: to_utc(datetime.combine(given, local.time()), zone))


def to_body(reservation: Reservation) -> dict[str, object]:
    """A reservation as it could be sent; what is not said is left out."""
    zone = ZoneInfo(reservation.zone)
    uuids = sorted(card for card in reservation.cards if card.startswith(("GPU-", "MIG-")))
    body: dict[str, object] = {
        "title": reservation.title,
        reservation.holder.kind: reservation.holder.name,
        "users": list(reservation.users),
        "devices": reservation.devices,
        "models": sorted(reservation.cards - set(uuids)),
        "pool": reservation.pool,
        "cards": uuids,
        "start": reservation.start.astimezone(zone).isoformat(),
        "length": describe_time(reservation.length),
        "zone": reservation.zone,
        "rule": reservation.rule,
        "except": [one.astimezone(zone).isoformat() for one in reservation.left_out],
        "lead": describe_time(reservation.lead),
    }
    return {name: value for name, value in body.items() if value not in ("", [])}


def to_json(reservation: Reservation) -> dict[str, object]:
    """A reservation for programs: what was sent, and what is known of it beside."""
    return {
        "id": reservation.id,
        "host": reservation.host,
        **to_body(reservation),
        "actor": reservation.actor.name,
        "actor_kind": reservation.actor.kind.value,
        "made_at": reservation.made_at.isoformat(),
        "ended_at": reservation.ended_at.isoformat() if reservation.ended_at else None,
    }


def find_version(reservation: Reservation) -> str:
    """A short name of a reservation as it is: every change of it makes another one."""
    return sha256(json.dumps(to_json(reservation), sort_keys=True).encode()).hexdigest()[:16]
