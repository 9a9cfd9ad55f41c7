"""``gpuspawner reserve``: reservations from the administrator's shell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.made import Made
from gpuspawner.allocator.reservations import Reservations
from gpuspawner.core.claims import Reservation
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.reservations import Occurrence, describe_when, expand, find_zone
from gpuspawner.policy.ical import MOST_BYTES, to_ical
from gpuspawner.policy.reservations import parse_body, to_json

from .cards import find_device
from .common import (
    clean,
    find_local_zone,
    find_names,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    policy_options,
    print_json,
    reason_option,
    render_table,
    require_reason,
    shell_actor,
)

_HEADINGS = ("RESERVATION", "TITLE", "FOR", "GPUS", "FROM", "WHEN")
_SHORT_UUID = 12


@click.group(short_help="Reserve GPUs for a person, a group or a course.")
def reserve() -> None:
    """Reserve GPUs for a person, a group or a course: once, or again and again.

    A reservation of which nothing can be had is refused, with what it collides with. Sessions under way are
    never cut for it; those that begin later end in time. What is not used 15 minutes after the start is
    given back.
    """


def _zone_option(command: Any) -> Any:
    return click.option(
        "--zone", default=find_local_zone, show_default="this host's", help="IANA time zone."
    )(command)


def _holder_options(command: Any) -> Any:
    for name, text in (
        ("--lead", "So long before each start the GPUs are kept free, such as 10min."),
        ("--pool", "A pool of the policy to choose from."),
        ("--course", "Who it is for: a course of the policy."),
        ("--group", "Who it is for: a group of the policy."),
        ("--person", "Who it is for: a user name."),
    ):
        command = click.option(name, help=text)(command)
    return click.option("--devices", type=int, default=1, show_default=True, help="How many GPUs or slices.")(
        command
    )


@reserve.command("list", short_help="Show what is reserved.")
@click.option("--days", type=click.IntRange(1, 731), default=14, show_default=True, help="So far ahead.")
@ledger_option
@host_option
@_zone_option
@json_option
def list_(days: int, ledger: Path | None, host: str, zone: str, as_json: bool) -> None:
    """Show what is reserved in the next days, and how many GPUs of it are left to its people."""
    where, now = find_zone(zone), datetime.now(UTC)
    with open_ledger(ledger, host) as opened:
        book = Reservations(opened, host)
        coming, standing = book.list(now, now + timedelta(days=days)), book.standing()
    if as_json:
        print_json(
            {
                "schema": 1,
                "host": host,
                "at": now.isoformat(),
                "occurrences": [occurrence_to_json(one) for one in coming],
                "reservations": [to_json(one) for one in standing],
            }
        )
        return
    shown = {one.reservation_id for one in coming}
    later = sum(1 for one in standing if one.id not in shown)
    if coming:
        click.echo("\n".join(render_table(_HEADINGS, [_cells(one, where) for one in coming])))
    else:
        click.echo(f"Nothing is reserved in the next {days} days.")
    if later:
        click.echo(f"{later} more later; see --days.")


def occurrence_to_json(one: Occurrence) -> dict[str, object]:
    """One time at which a reservation takes place, for programs."""
    return {
        "reservation": one.reservation_id,
        "title": one.title,
        one.reservation.holder.kind: one.reservation.holder.name,
        "start": one.start.isoformat(),
        "end": one.end.isoformat(),
        "held_from": one.held_from.isoformat(),
        "devices": one.reservation.devices,
        "seats": one.seats,
    }


def _cells(one: Occurrence, zone: ZoneInfo) -> tuple[str, ...]:
    made = one.reservation
    gpus = str(one.seats) if one.seats == made.devices else f"{one.seats} of {made.devices}"
    cards = made.pool or ", ".join(sorted(_shorten(card) for card in made.cards)) or "any"
    return made.id, made.title, str(made.holder), gpus, cards, describe_when(one, zone)


def _shorten(card: str) -> str:
    return card[:_SHORT_UUID] if card.startswith(("GPU-", "MIG-")) else card


@reserve.command(short_help="Reserve GPUs.")
@click.argument("title")
@click.option("--start", required=True, help="First start, such as 2030-03-05T14:00.")
@click.option("--end", help="Its end; or give --length.")
@click.option("--length", help="Such as 2h; or give --end.")
@click.option("--rule", default="", help="RFC 5545 rule, such as 'FREQ=WEEKLY;COUNT=10'.")
@click.option("--except", "left_out", multiple=True, metavar="DAY", help="Not on this day; repeatable.")
@click.option(
    "--user", "users", multiple=True, help="One of them who may use it; without it, all; repeatable."
)
@click.option("--model", "models", multiple=True, help="A model to choose from; repeatable.")
@click.option("--card", "cards", multiple=True, help="A card: index, UUID or its beginning; repeatable.")
@_holder_options
@_zone_option
@policy_options
@ledger_option
@host_option
@json_option
def add(
    *,
    title: str,
    policy: Path | None,
    settings: Path | None,
    ledger: Path | None,
    host: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Reserve GPUs, and call it TITLE.

    Without a pool, models or cards, any whole GPUs are reserved.
    """
    names = find_names(policy, settings, given["pool"])
    with open_ledger(ledger, host, change=True) as opened:
        body = {"title": title, **_said(given)}
        if given["cards"]:
            body["cards"] = _find_uuids(opened, host, given["cards"])
        made = Reservations(opened, host).make(parse_body(body), actor=shell_actor(), names=names)
    _tell([made], as_json)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, as it is sent."""
    said = {("except" if name == "left_out" else name): value for name, value in given.items() if value}
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    return {**said, "devices": given["devices"]}


def _find_uuids(opened: Ledger, host: str, cards: Iterable[str]) -> list[str]:
    with opened.read() as unit:
        inventory = unit.inventory(host)
    return [find_device(card, inventory) for card in cards]


def _tell(made: Sequence[Made], as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "schema": 1,
                "made": [
                    {
                        "reservation": to_json(one.reservation),
                        "replaced": one.replaced,
                        "warnings": list(one.warnings),
                    }
                    for one in made
                ],
            }
        )
        return
    for one in made:
        did = "Changed" if one.replaced else "Made"
        click.echo(f"{did} reservation {one.reservation.id}: {clean(_describe(one.reservation))}")
        for warning in one.warnings:
            click.echo(f"warning: {clean(warning)}")


def _describe(made: Reservation) -> str:
    coming = expand(made, made.start, made.start + timedelta(days=800))
    when = describe_when(coming[0], ZoneInfo(made.zone)) if coming else "never"
    times = f"; {len(coming)} times in all" if len(coming) > 1 else ""
    gpus = f"{made.devices} GPU{'' if made.devices == 1 else 's'}"
    return f"{made.title}, {gpus} for {made.holder}, {when}{times}"


@reserve.command(short_help="Cancel a reservation.")
@click.argument("reservation")
@reason_option
@ledger_option
@host_option
@json_option
def cancel(reservation: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Cancel RESERVATION: an id, or the beginning of one. What is on ends; sessions go on as they are."""
    reason = require_reason(reason)
    with open_ledger(ledger, host, change=True) as opened:
        book = Reservations(opened, host)
        ended = book.cancel(_find(book, reservation).id, actor=shell_actor(), reason=reason)
    _say(f"Cancelled reservation {ended.id}: {ended.title}", ended, as_json)


@reserve.command(short_help="Let a reservation not take place once.")
@click.argument("reservation")
@click.argument("start")
@reason_option
@ledger_option
@host_option
@json_option
def skip(*, reservation: str, start: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Let RESERVATION not take place at START: a day, or a time such as 2030-03-12T14:00 in its time zone."""
    reason = require_reason(reason)
    with open_ledger(ledger, host, change=True) as opened:
        book = Reservations(opened, host)
        found = _find(book, reservation)
        changed = book.leave_out(found.id, find_start(found, start), actor=shell_actor(), reason=reason)
    _say(f"Reservation {changed.id} does not take place on {start}: {changed.title}", changed, as_json)


def find_start(reservation: Reservation, given: str) -> datetime:
    """The start that a day, or a time in the reservation's time zone, means.

    Raises:
        InvalidRequest: Nothing starts then.
    """
    zone = ZoneInfo(reservation.zone)
    whole = expand(reservation, reservation.start, reservation.start + timedelta(days=800))
    for one in whole:
        local = one.start.astimezone(zone)
        names = (f"{local:%Y-%m-%d}", f"{local:%Y-%m-%dT%H:%M}", local.isoformat(), one.start.isoformat())
        if given.strip() in names:
            return one.start
    first = f"; it first starts on {whole[0].start.astimezone(zone):%Y-%m-%dT%H:%M}" if whole else ""
    raise InvalidRequest(f"Nothing of reservation {reservation.id} starts on {given[:40]!r}{first}.")


@reserve.command(short_help="Write the reservations as a calendar.")
@click.argument("file", type=click.File("wb"), default="-")
@click.option("--people", is_flag=True, help="With the names of people; needed to import it again whole.")
@ledger_option
@host_option
@json_option
def export(file: Any, people: bool, ledger: Path | None, host: str, as_json: bool) -> None:
    """Write the reservations to FILE as a calendar (iCalendar), or to the terminal."""
    with open_ledger(ledger, host) as opened:
        standing = Reservations(opened, host).standing()
    if as_json:
        print_json({"schema": 1, "host": host, "reservations": [to_json(one) for one in standing]})
    else:
        file.write(to_ical(standing, now=datetime.now(UTC), people=people))


@reserve.command("import", short_help="Reserve what a calendar says.")
@click.argument("file", type=click.File("rb"))
@_holder_options
@_zone_option
@policy_options
@ledger_option
@host_option
@json_option
def import_(
    *,
    file: Any,
    policy: Path | None,
    settings: Path | None,
    ledger: Path | None,
    host: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Reserve each event of FILE, a calendar (iCalendar): all of them, or none.

    The options are for events that were not exported from here. An event that was imported before changes
    its reservation.
    """
    names = find_names(policy, settings, given["pool"])
    data = file.read(MOST_BYTES + 1)
    with open_ledger(ledger, host, change=True) as opened:
        book = Reservations(opened, host)
        made = book.import_ical(data, _said(given), actor=shell_actor(), names=names)
    _tell(made, as_json)


def _find(book: Reservations, given: str) -> Reservation:
    standing = book.standing()
    found = [one for one in standing if given and one.id.startswith(given)]
    if len(found) == 1:
        return found[0]
    what = "several reservations" if found else "no reservation"
    there = ", ".join(f"{one.id} ({one.title})" for one in (found or standing)[:10]) or "none"
    raise InvalidRequest(f"{given[:40]!r} means {what}; there are {there}.")


def _say(text: str, about: Reservation, as_json: bool) -> None:
    if as_json:
        print_json({"schema": 1, "reservation": to_json(about)})
    else:
        click.echo(clean(text))
