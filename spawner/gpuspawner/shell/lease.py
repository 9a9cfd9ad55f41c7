"""``gpuspawner lease``: sessions and what they hold; their ends, words to their people, stopping them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from gpuspawner.allocator import Line, Sessions
from gpuspawner.core.model import Lease, LeaseState

from .cards import read_end
from .common import (
    actor,
    clean,
    complete,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    print_json,
    reason_option,
    render_table,
    require_reason,
)

_HEADINGS = ("LEASE", "PERSON", "GPUS", "STATE", "SINCE (UTC)", "ENDS (UTC)", "WHY")
_SHORT_UUID = 12


@click.group(invoke_without_command=True, short_help="Show sessions; extend, message and stop them.")
@ledger_option
@host_option
@json_option
@click.pass_context
def lease(context: click.Context, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show all sessions: who holds what, since when and until when.

    LEASE is an id, or the beginning of the id of one that is not over.
    """
    if context.invoked_subcommand is not None:
        return
    with open_ledger(ledger, host) as book:
        found = Sessions(book, host).live()
    if as_json:
        print_json({"schema": 1, "host": host, "leases": [to_json(one) for one in found]})
    else:
        click.echo(render(found))


@lease.command(short_help="Show one session, also one that is over.")
@click.argument("lease_id", metavar="LEASE")
@ledger_option
@host_option
@json_option
def show(lease_id: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show LEASE, also one that is over: why it ended, and what proved its cards free."""
    with open_ledger(ledger, host) as book:
        sessions = Sessions(book, host)
        found = sessions.find(_complete(sessions, lease_id))
    if as_json:
        print_json({"schema": 1, **to_json(found)})
        return
    click.echo(render([found]))
    parts = {
        "Image": one_image(found),
        "Evidence": found.evidence,
        "Ends because": found.end_reason if found.ends_at else "",
    }
    for title, text in parts.items():
        if text:
            click.echo(clean(f"{title}: {text}"))


@lease.command(short_help="Let a session go on for longer.")
@click.argument("lease_id", metavar="LEASE")
@click.option("--until", help="New end: 18:00, or 2030-05-17T18:00.")
@click.option("--for", "for_", help="New end, from now: 2h, 90min.")
@reason_option
@ledger_option
@host_option
@json_option
def extend(
    *,
    lease_id: str,
    until: str | None,
    for_: str | None,
    reason: str,
    ledger: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Let LEASE go on, as far as no reservation of others stands in the way; its person reads the reason."""
    reason = require_reason(reason)
    end = read_end(until, for_, datetime.now(UTC))
    if end is None:
        raise click.UsageError("Give the new end: --until TIME or --for LENGTH.")
    with open_ledger(ledger, host, change=True) as book:
        sessions = Sessions(book, host)
        lease_id = _complete(sessions, lease_id)
        limit, why = Line(book, host).latest_end(sessions.find(lease_id))
        found = sessions.extend(lease_id, end, limit=limit, limit_reason=why, actor=actor(), reason=reason)
    _tell(found, as_json, f"{found.id} of {found.owner} ends at {end:%Y-%m-%d %H:%M} UTC.")


@lease.command(short_help="Give a session an end, or an earlier one.")
@click.argument("lease_id", metavar="LEASE")
@click.option("--until", help="Its end: 18:00, or 2030-05-17T18:00.")
@click.option("--for", "for_", help="Its end, from now: 2h, 90min.")
@reason_option
@ledger_option
@host_option
@json_option
def shorten(
    *,
    lease_id: str,
    until: str | None,
    for_: str | None,
    reason: str,
    ledger: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Let LEASE end at a time, or earlier than it would; its person is told now, and warned before.

    They have a quarter of an hour at least. A session that ends before anyway stays as it is.
    """
    reason = require_reason(reason)
    end = read_end(until, for_, datetime.now(UTC))
    if end is None:
        raise click.UsageError("Give the end: --until TIME or --for LENGTH.")
    with open_ledger(ledger, host, change=True) as book:
        sessions = Sessions(book, host)
        lease_id = _complete(sessions, lease_id)
        found = sessions.shorten(lease_id, end, actor=actor(), reason=reason)
    _tell(found, as_json, f"{found.id} of {found.owner} ends at {found.ends_at:%Y-%m-%d %H:%M} UTC.")


@lease.command(short_help="Tell the person of a session something.")
@click.argument("lease_id", metavar="LEASE")
@click.argument("text")
@ledger_option
@host_option
@json_option
def message(lease_id: str, text: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Leave TEXT for the person of LEASE."""
    with open_ledger(ledger, host, change=True) as book:
        sessions = Sessions(book, host)
        lease_id = _complete(sessions, lease_id)
        sent = sessions.message(lease_id, text, actor=actor())
    if as_json:
        print_json({"schema": 1, "lease": lease_id, "owner": sent.owner, "text": sent.text})
    else:
        click.echo(clean(f"Left for {sent.owner}."))


@lease.command(short_help="End a session.")
@click.argument("lease_id", metavar="LEASE")
@reason_option
@ledger_option
@host_option
@json_option
def stop(lease_id: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """End LEASE: the agent ends its server within half a minute. Its person reads the reason."""
    reason = require_reason(reason)
    with open_ledger(ledger, host, change=True) as book:
        sessions = Sessions(book, host)
        found = sessions.end_now(_complete(sessions, lease_id), reason=reason, actor=actor())
    _tell(found, as_json, f"{found.id} of {found.owner} is being ended.")


def _complete(sessions: Sessions, given: str) -> str:
    return complete(given, (one.id for one in sessions.live()), "sessions")


def render(leases: Sequence[Lease]) -> str:
    """Sessions as a table."""
    if not leases:
        return "No session runs."
    rows = [
        (
            one.id,
            f"{one.owner}/{one.server}" if one.server else one.owner,
            ", ".join(uuid[:_SHORT_UUID] for uuid in one.devices) or "none",
            one.state.value,
            f"{one.created_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            f"{one.ends_at.astimezone(UTC):%Y-%m-%d %H:%M}" if one.ends_at else "-",
            one.evidence if one.state is LeaseState.QUARANTINED else one.reason,
        )
        for one in leases
    ]
    return "\n".join(render_table(_HEADINGS, rows))


def one_image(one: Lease) -> str:
    """What it runs: the name that was chosen, and the id that this was then."""
    return f"{one.image}, {one.digest or 'id not known'}" if one.image else ""


def to_json(one: Lease) -> dict[str, object]:
    """A session for programs."""
    return {
        "id": one.id,
        "owner": one.owner,
        "server": one.server,
        "devices": list(one.devices),
        "state": one.state.value,
        "reason": one.reason,
        "evidence": one.evidence,
        "image": one.image,
        "digest": one.digest,
        "groups": list(one.party.groups),
        "courses": list(one.party.courses),
        "created_at": one.created_at.isoformat(),
        "ends_at": one.ends_at.isoformat() if one.ends_at else None,
        "end_reason": one.end_reason,
        "ended_at": one.ended_at.isoformat() if one.ended_at else None,
        "container": one.container_id,
    }


def _tell(found: Lease, as_json: bool, text: str) -> None:
    if as_json:
        print_json({"schema": 1, **to_json(found)})
    else:
        click.echo(clean(text))
