"""``gpuspawner drain``, ``undrain``, ``assign`` and ``clear``: an administrator's word on cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from gpuspawner.allocator import Cards, Drained, Pinned
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.drains import WITHOUT_CARD, describe_time, why_drained
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import DeviceRecord, Lease
from gpuspawner.policy.units import read_duration

from .common import (
    actor,
    clean,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    print_json,
    reason_option,
    require_reason,
)


@contextmanager
def _open_cards(ledger: Path | None, host: str, card: str) -> Iterator[tuple[Cards, str]]:
    """The use cases, and the UUID of the card that is meant."""
    with open_ledger(ledger, host, change=True) as book:
        with book.read() as unit:
            present, absent = unit.inventory(host), unit.absent_devices(host)
        yield Cards(book, host), card if card == WITHOUT_CARD else find_device(card, present, absent)


def find_device(card: str, present: Sequence[DeviceRecord], absent: Sequence[DeviceRecord] = ()) -> str:
    """The UUID of the one device that is meant; for a card that is divided, an index means the whole card.

    Args:
        card: An index, a UUID, or the beginning of one.
        present: The devices that are listed now.
        absent: Those that were there once; they are meant only where none of the others is.

    Raises:
        InvalidRequest: There is none, or there are several.
    """
    listed = {r.device.uuid for r in present} | {r.device.parent for r in present if r.device.parent}
    once = {r.device.uuid for r in absent}
    readings = (
        {card} & listed,
        {r.device.parent or r.device.uuid for r in present if card == str(r.device.index)},
        {uuid for uuid in listed if card and uuid.startswith(card)},
        {card} & once,
        {uuid for uuid in once if card and uuid.startswith(card)},
    )
    found = next(filter(None, readings), set())
    if len(found) == 1:
        return found.pop()
    there = ", ".join(f"{r.device.index}: {r.device.uuid}" for r in present) or "none"
    raise InvalidRequest(f"{card!r} means {'several cards' if found else 'no card'}; there are {there}.")


# -- drain --------------------------------------------------------------------------------------------------


@click.command(short_help="Take a card out of use.")
@click.argument("card")
@reason_option
@click.option("--now", is_flag=True, help="End the sessions on it, after a minute; otherwise they go on.")
@click.option("--until", metavar="TIME", help="It comes back by itself then: 18:00, or 2030-05-17T18:00.")
@click.option("--for", "length", metavar="LENGTH", help="It comes back by itself after this: 2h, or 3 d.")
@json_option
@ledger_option
@host_option
def drain(
    *,
    card: str,
    reason: str,
    now: bool,
    until: str | None,
    length: str | None,
    as_json: bool,
    ledger: Path | None,
    host: str,
) -> None:
    """Take a card out of use: no session begins on it.

    CARD is an index, a UUID, or the beginning of one; a card's slices are drained with it. `cpu-only` instead
    of a card means servers without one: none of them begins. Without --until or
    --for it stays so until `gpuspawner undrain`. A card that is drained already is drained as it is said now.
    TIME is of this machine's time zone, unless it names one.
    """
    present = datetime.now(UTC)
    end = read_end(until, length, present)
    with _open_cards(ledger, host, card) as (cards, uuid):
        done = cards.drain(uuid, reason=require_reason(reason), actor=actor(), until=end, now=now)
    if as_json:
        print_json(drained_to_json(done))
        return
    click.echo(clean(_tell_drained(done, present)))
    for line in _tell_sessions(done.leases, present):
        click.echo(clean(line))


def read_end(until: str | None, length: str | None, now: datetime) -> datetime | None:
    """When a drain ends.

    Args:
        until: A time of day, or a date and time in ISO 8601; of this machine's time zone unless it names one.
        length: A length of time.
        now: The present.

    Raises:
        InvalidRequest: Both are given, or what is given is no time.
    """
    if until is not None and length is not None:
        raise InvalidRequest("Give --until or --for, and not both.")
    if length is not None:
        try:
            return now + read_duration(length)
        except ValueError as error:
            raise InvalidRequest(f"--for {length!r}: {error}.") from None
    return None if until is None else _read_time(until.strip(), now)


def _read_time(text: str, now: datetime) -> datetime:
    local = now.astimezone()
    try:
        if "-" not in text:
            time = datetime.strptime(text, "%H:%M").time()
            today = datetime.combine(local.date(), time).astimezone()
            tomorrow = datetime.combine(local.date() + timedelta(days=1), time).astimezone()
            return (today if today > now else tomorrow).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"--until {text!r}: write a time such as 18:00 or 2030-05-17T18:00.") from None


def _tell_drained(done: Drained, now: datetime) -> str:
    state = "Changed: it was drained already. " if done.before else ""
    return f"{state}{done.record.device} is {why_drained(done.record, now)}"


def _tell_sessions(leases: Sequence[Lease], now: datetime) -> Iterator[str]:
    for lease in leases:
        if lease.state.ending:
            state = lease.state.value
            yield f"  The session of {_name(lease)} has ended, and its release is under way ({state})."
        elif lease.ends_at is not None:
            yield f"  The session of {_name(lease)} ends at {describe_time(lease.ends_at, now)}."
        else:
            yield f"  The session of {_name(lease)} goes on."


@click.command(short_help="Give a drained card back into use.")
@click.argument("card")
@reason_option
@json_option
@ledger_option
@host_option
def undrain(card: str, reason: str, as_json: bool, ledger: Path | None, host: str) -> None:
    """Give a drained card back into use.

    CARD is an index, a UUID, or the beginning of one, or `cpu-only`. Sessions that were told to end still
    end.
    """
    with _open_cards(ledger, host, card) as (cards, uuid):
        was = cards.undrain(uuid, reason=require_reason(reason), actor=actor())
    if as_json:
        print_json({"schema": 1, "device": uuid, "was": drain_to_json(was)})
        return
    click.echo(clean(f"{uuid} is in use again; it was {why_drained(was, datetime.now(UTC))}"))


# -- assign -------------------------------------------------------------------------------------------------


@click.command(short_help="Keep a card for somebody.")
@click.argument("card")
@click.option("--to", "holder", metavar="WHO", help="USER, group:NAME or course:NAME.")
@click.option("--nobody", is_flag=True, help="Keep it for nobody any more.")
@reason_option
@json_option
@ledger_option
@host_option
def assign(
    *, card: str, holder: str | None, nobody: bool, reason: str, as_json: bool, ledger: Path | None, host: str
) -> None:
    """Keep a card for a person, a group or a course: nobody else gets it.

    CARD is an index, a UUID, or the beginning of one; a card's slices are kept with it. Sessions on it go on.
    Those for whom it is kept may use other cards too.
    """
    if (holder is None) is not nobody:
        raise click.UsageError("Give --to WHO, or --nobody.")
    reason = require_reason(reason)
    with _open_cards(ledger, host, card) as (cards, uuid):
        if holder is None:
            was = cards.unpin(uuid, reason=reason, actor=actor())
            _show_unpinned(was, as_json)
            return
        done = cards.pin(uuid, read_holder(holder), reason=reason, actor=actor())
    _show_pinned(done, as_json)


def read_holder(text: str) -> Holder:
    """Whom something is for: ``ada``, ``group:vision`` or ``course:ml``."""
    kind, colon, name = text.partition(":")
    return Holder(kind, name) if colon and kind in ("group", "course") else Holder("person", text)


def _show_unpinned(was: Pin, as_json: bool) -> None:
    if as_json:
        print_json({"schema": 1, "device": was.device, "was": pin_to_json(was)})
    else:
        click.echo(clean(f"{was.device} is for everybody again; it was kept for {was.holder}."))


def _show_pinned(done: Pinned, as_json: bool) -> None:
    pin, before = done.record, done.before
    if as_json:
        data = {"schema": 1, "device": pin.device, "pin": pin_to_json(pin)}
        others = [_lease_to_json(lease) for lease in done.leases]
        print_json(data | {"before": pin_to_json(before) if before else None, "leases": others})
        return
    instead = f", and no more for {before.holder}" if before and before.holder != pin.holder else ""
    click.echo(clean(f"{pin.device} is kept for {pin.holder}{instead}."))
    for line in _tell_sessions(done.leases, datetime.now(UTC)):
        click.echo(clean(line))


# -- clear --------------------------------------------------------------------------------------------------


@click.command(short_help="Clear a card's standing fault.")
@click.argument("card")
@reason_option
@json_option
@ledger_option
@host_option
def clear(card: str, reason: str, as_json: bool, ledger: Path | None, host: str) -> None:
    """Clear a card's standing fault, so that it can be given out again.

    CARD is an index, a UUID, or the beginning of one; all slices of the card are cleared with it. A fault
    that the driver still reports comes back at the agent's next look.
    """
    with _open_cards(ledger, host, card) as (cards, uuid):
        cleared = cards.clear_fault(uuid, reason=require_reason(reason), actor=actor())
    if as_json:
        print_json({"schema": 1, "cleared": [{"device": one.device, "fault": one.fault} for one in cleared]})
        return
    for one in cleared:
        click.echo(f"Cleared {one.device}: {clean(one.fault)}")


# -- for programs -------------------------------------------------------------------------------------------


def drained_to_json(done: Drained) -> dict[str, Any]:
    """The outcome of a drain."""
    return {
        "schema": 1,
        "device": done.record.device,
        "drain": drain_to_json(done.record),
        "before": drain_to_json(done.before) if done.before else None,
        "leases": [_lease_to_json(lease) for lease in done.leases],
    }


def drain_to_json(drain: Drain) -> dict[str, Any]:
    """A drain; null is no end."""
    return {
        "reason": drain.reason,
        "actor": drain.actor,
        "since": drain.since.isoformat(),
        "until": drain.until.isoformat() if drain.until else None,
        "now": drain.now,
    }


def pin_to_json(pin: Pin) -> dict[str, Any]:
    """For whom a card is kept."""
    return {
        "kind": pin.holder.kind,
        "name": pin.holder.name,
        "reason": pin.reason,
        "actor": pin.actor,
        "since": pin.since.isoformat(),
    }


def _lease_to_json(lease: Lease) -> dict[str, Any]:
    return {
        "id": lease.id,
        "owner": lease.owner,
        "server": lease.server,
        "state": lease.state.value,
        "ends_at": lease.ends_at.isoformat() if lease.ends_at else None,
        "end_reason": lease.end_reason,
    }


def _name(lease: Lease) -> str:
    return f"{lease.owner}/{lease.server}" if lease.server else lease.owner
