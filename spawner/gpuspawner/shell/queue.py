"""``gpuspawner queue``: who waits for what, and taking somebody out of the line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from gpuspawner.allocator.line import Line
from gpuspawner.allocator.places import LineView, Place
from gpuspawner.core.estimate import Estimate
from gpuspawner.core.model import SpawnRequest
from gpuspawner.core.words import describe_bytes, describe_duration

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

_HEADINGS = ("PLACE", "TICKET", "PERSON", "WANTS", "SINCE (UTC)", "EXPECTED (UTC)", "WAITS FOR")


@click.group(invoke_without_command=True, short_help="Show the line; take somebody out of it.")
@ledger_option
@host_option
@json_option
@click.pass_context
def queue(context: click.Context, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show the line: who waits for what, since when, and when their turn may come.

    TICKET is an id, or the beginning of one.
    """
    if context.invoked_subcommand is not None:
        return
    with open_ledger(ledger, host) as book:
        view = Line(book, host).view()
    if as_json:
        print_json(to_json(view, host))
    else:
        click.echo(render(view))


@queue.command(short_help="Take somebody out of the line.")
@click.argument("ticket")
@reason_option
@ledger_option
@host_option
@json_option
def remove(ticket: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Take TICKET out of the line; its person reads the reason."""
    reason = require_reason(reason)
    with open_ledger(ledger, host, change=True) as book:
        with book.read() as unit:
            ticket = complete(ticket, (one.id for one in unit.live_tickets(host)), "places in line")
        gone = Line(book, host).leave(ticket, actor=actor(), reason=reason)
    if as_json:
        print_json({"schema": 1, "id": gone.id, "owner": gone.owner, "reason": gone.reason})
    else:
        click.echo(clean(f"Removed {gone.id} of {gone.owner}."))


def render(view: LineView) -> str:
    """The line as a table."""
    if not view.places:
        return "Nobody is in line."
    rows = [
        (
            "turn" if place.ahead is None else str(place.position),
            place.ticket.id,
            _name(place),
            describe_request(place.ticket.request),
            f"{place.ticket.asked_at:%Y-%m-%d %H:%M}",
            describe_estimate(place.estimate, view.at),
            place.reason,
        )
        for place in view.places
    ]
    return "\n".join(render_table(_HEADINGS, rows))


def describe_request(request: SpawnRequest) -> str:
    """What is wanted, in few words: ``2 x A100, 8 h``."""
    if request.slice_bytes:
        wanted = f"slice ≥ {describe_bytes(request.slice_bytes)}"
    else:
        wanted = f"{request.gpus} x {request.model or 'any GPU'}"
    if request.memory_bytes:
        wanted += f" ≥ {describe_bytes(request.memory_bytes)}"
    if request.compute_capability:
        wanted += " sm_{}{}+".format(*request.compute_capability)
    return f"{wanted}, {describe_duration(request.session)}" if request.session else wanted


def describe_estimate(estimate: Estimate | None, now: datetime) -> str:
    """A range of times; ``not known`` when nothing can be said."""
    if estimate is None:
        return "not known"

    def tell(moment: datetime) -> str:
        return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"

    return f"{tell(estimate.earliest)} to {tell(estimate.latest) if estimate.latest else 'later'}"


def to_json(view: LineView, host: str) -> dict[str, object]:
    """The line for programs. ``schema`` rises when a key changes its meaning."""
    return {
        "schema": 1,
        "host": host,
        "at": view.at.isoformat(),
        "places": [_place_to_json(place) for place in view.places],
    }


def _place_to_json(place: Place) -> dict[str, object]:
    ticket, estimate = place.ticket, place.estimate
    request = ticket.request
    return {
        "id": ticket.id,
        "position": place.position,
        "ahead": place.ahead,
        "owner": ticket.owner,
        "server": ticket.server,
        "state": ticket.state.value,
        "reason": place.reason,
        "gpus": request.gpus,
        "model": request.model,
        "image": request.image or ticket.image,
        "courses": list(ticket.party.courses),
        "slice_bytes": request.slice_bytes,
        "memory_bytes": request.memory_bytes,
        "compute_capability": ".".join(map(str, request.compute_capability))
        if request.compute_capability
        else None,
        "session_seconds": request.session.total_seconds() if request.session else None,
        "asked_at": ticket.asked_at.isoformat(),
        "queued_at": ticket.queued_at.isoformat(),
        "claim_by": ticket.claim_by.isoformat() if ticket.claim_by else None,
        "estimate": {
            "earliest": estimate.earliest.isoformat(),
            "latest": estimate.latest.isoformat() if estimate.latest else None,
            "basis": estimate.basis,
        }
        if estimate
        else None,
    }


def _name(place: Place) -> str:
    ticket = place.ticket
    return f"{ticket.owner}/{ticket.server}" if ticket.server else ticket.owner
