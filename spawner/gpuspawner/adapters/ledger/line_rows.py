"""Between rows and values of the line, of reservations and of usage; nothing is decided on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json
from sqlalchemy import RowMapping

from gpuspawner.core.claims import (
    Actor,
    ActorKind,
    Drain,
    Holder,
    Pin,
    Reservation,
    Terms,
    Ticket,
    TicketState,
    Usage,
)
from gpuspawner.core.model import ImageNeeds, SpawnRequest

from .rows import json_to_party, party_to_json

Row = RowMapping | Mapping[str, Any]


def request_to_json(request: SpawnRequest) -> dict[str, Any]:
    """A wish as it is kept with its ticket."""
    return {
        "gpus": request.gpus,
        "model": request.model,
        "image": request.image,
        "slice_bytes": request.slice_bytes,
        "memory_bytes": request.memory_bytes,
        "compute_capability": list(request.compute_capability) if request.compute_capability else None,
        "needs": needs_to_json(request.needs),
        "session_seconds": request.session.total_seconds() if request.session else None,
        "shorten": request.shorten,
        "wait": request.wait,
        "notebooks": request.notebooks,
        "course": request.course,
    }


def json_to_request(data: Row) -> SpawnRequest:
    """The way back of :func:`request_to_json`."""
    capability, session = data["compute_capability"], data["session_seconds"]
    return SpawnRequest(
        gpus=data["gpus"],
        model=data["model"],
        image=data["image"],
        slice_bytes=data["slice_bytes"],
        memory_bytes=data["memory_bytes"],
        compute_capability=(capability[0], capability[1]) if capability else None,
        needs=json_to_needs(data.get("needs")),
        session=None if session is None else timedelta(seconds=session),
        shorten=data["shorten"],
        wait=data["wait"],
        notebooks=data.get("notebooks"),
        course=data.get("course"),
    )


def needs_to_json(needs: ImageNeeds | None) -> dict[str, Any] | None:
    """What an image needs, as it is kept with a wish for it."""
    if needs is None:
        return None
    return {
        "image": needs.image,
        "minimum_driver": needs.minimum_driver,
        "capabilities": list(needs.capabilities),
    }


def json_to_needs(data: Row | None) -> ImageNeeds | None:
    """The way back of :func:`needs_to_json`; a wish from before there were passports has none."""
    if data is None:
        return None
    return ImageNeeds(data["image"], data["minimum_driver"], tuple(data["capabilities"]))


def terms_to_json(terms: Terms) -> dict[str, Any]:
    """What the line needs of an allowance, as it is kept with a ticket."""
    return {
        "cards": None if terms.cards is None else sorted(terms.cards),
        "slices": None if terms.slices is None else sorted(terms.slices),
        "longest_seconds": None if terms.longest is None else terms.longest.total_seconds(),
        "weight": terms.weight,
        "shares": [[holder.kind, holder.name, share] for holder, share in terms.shares],
        "gpus_per_person": terms.gpus_per_person,
        "gpu_hours": terms.gpu_hours,
        "seats": [list(seat) for seat in terms.seats],
    }


def json_to_terms(data: Row) -> Terms:
    """The way back of :func:`terms_to_json`."""
    longest = data["longest_seconds"]
    return Terms(
        cards=None if data["cards"] is None else frozenset(data["cards"]),
        slices=None if data["slices"] is None else frozenset(data["slices"]),
        longest=None if longest is None else timedelta(seconds=longest),
        weight=data["weight"],
        shares=tuple((Holder(kind, name), share) for kind, name, share in data["shares"]),
        gpus_per_person=data["gpus_per_person"],
        gpu_hours=data["gpu_hours"],
        seats=tuple((course, seats) for course, seats in data["seats"]),
    )


def ticket_to_row(ticket: Ticket) -> dict[str, Any]:
    """A place in line as a row of ``tickets``."""
    return {
        "id": ticket.id,
        "host": ticket.host,
        "owner": ticket.owner,
        "server": ticket.server,
        "request": request_to_json(ticket.request),
        "image": ticket.image,
        "asked_at": ticket.asked_at,
        "queued_at": ticket.queued_at,
        "state": ticket.state.value,
        "state_since": ticket.state_since,
        "reason": ticket.reason,
        "terms": terms_to_json(ticket.terms),
        "party": party_to_json(ticket.party),
        "lease_id": ticket.lease_id,
        "claim_by": ticket.claim_by,
        "returns": ticket.returns,
        "failures": ticket.failures,
        "not_before": ticket.not_before,
        "switch_at": ticket.switch_at,
        "live": ticket.state.live,
    }


def rows_to_tickets(rows: Iterable[Sequence[Any]]) -> Iterator[Ticket]:
    """Rows of :data:`~gpuspawner.adapters.ledger.schema.TICKET_COLUMNS` as values.

    Requests, terms and parties come as JSON text. Most of a long line are the same as some others, so each
    text is read once, and its value, which never changes, is shared.
    """
    requests = _Once(json_to_request)
    terms_of = _Once(json_to_terms)
    parties = _Once(json_to_party)
    for (
        id_, host, owner, server, request, image, asked_at, queued_at, state, since, reason, terms, party,
        lease_id, claim_by, returns, failures, not_before, switch_at,
    ) in rows:  # fmt: skip
        yield Ticket(
            id=id_,
            host=host,
            owner=owner,
            server=server,
            request=requests[request],
            image=image,
            asked_at=asked_at,
            queued_at=queued_at,
            state=_TICKET_STATES[state],
            state_since=since,
            reason=reason,
            terms=terms_of[terms],
            party=parties[party],
            lease_id=lease_id,
            claim_by=claim_by,
            returns=returns,
            failures=failures,
            not_before=not_before,
            switch_at=switch_at,
        )


_TICKET_STATES = {state.value: state for state in TicketState}


class _Once(dict[str, Any]):
    """What is read from JSON texts, each text once.

    Args:
        read: Makes the value of what the text says.
    """

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> Any:
        found = self[text] = self._read(from_json(text))
        return found


def row_to_drain(row: Row) -> Drain:
    """A row of ``drains`` as a value."""
    return Drain(
        device=row["device"],
        reason=row["reason"],
        actor=row["actor"],
        since=row["since"],
        until=row["until"],
        now=row["now"],
    )


def row_to_pin(row: Row) -> Pin:
    """A row of ``pins`` as a value."""
    return Pin(
        device=row["device"],
        holder=Holder(row["holder_kind"], row["holder"]),
        reason=row["reason"],
        actor=row["actor"],
        since=row["since"],
    )


_ACTOR_KINDS = {kind.value: kind for kind in ActorKind}


def reservation_to_row(reservation: Reservation) -> dict[str, Any]:
    """A reservation as a row of ``reservations``."""
    return {
        "id": reservation.id,
        "host": reservation.host,
        "title": reservation.title,
        "holder_kind": reservation.holder.kind,
        "holder": reservation.holder.name,
        "users": list(reservation.users),
        "devices": reservation.devices,
        "cards": sorted(reservation.cards),
        "pool": reservation.pool,
        "start": reservation.start,
        "length_seconds": reservation.length.total_seconds(),
        "zone": reservation.zone,
        "rule": reservation.rule,
        "left_out": [one.isoformat() for one in reservation.left_out],
        "lead_seconds": reservation.lead.total_seconds(),
        "actor": reservation.actor.name,
        "actor_kind": reservation.actor.kind.value,
        "made_at": reservation.made_at,
        "ended_at": reservation.ended_at,
    }


def row_to_reservation(row: Row) -> Reservation:
    """A row of ``reservations`` as a value."""
    return Reservation(
        id=row["id"],
        host=row["host"],
        title=row["title"],
        holder=Holder(row["holder_kind"], row["holder"]),
        users=tuple(row["users"]),
        devices=row["devices"],
        cards=frozenset(row["cards"]),
        pool=row["pool"],
        start=row["start"],
        length=timedelta(seconds=row["length_seconds"]),
        zone=row["zone"],
        rule=row["rule"],
        left_out=tuple(datetime.fromisoformat(one) for one in row["left_out"]),
        lead=timedelta(seconds=row["lead_seconds"]),
        actor=Actor(row["actor"], _ACTOR_KINDS[row["actor_kind"]]),
        made_at=row["made_at"],
        ended_at=row["ended_at"],
    )


def usage_to_row(host: str, usage: Usage) -> dict[str, Any]:
    """An account as a row of ``usage``."""
    return {
        "host": host,
        "lease_id": usage.lease_id,
        "device": usage.device,
        "day": usage.day,
        "owner": usage.owner,
        "server": usage.server,
        "image": usage.image,
        "model": usage.model,
        "party": party_to_json(usage.party),
        "held_seconds": usage.held_seconds,
        "sampled_seconds": usage.sampled_seconds,
        "active_seconds": usage.active_seconds,
        "peak_memory_bytes": usage.peak_memory_bytes,
        "energy_joules": usage.energy_joules,
    }


def row_to_usage(row: Row) -> Usage:
    """A row of ``usage`` as a value."""
    return Usage(
        lease_id=row["lease_id"],
        device=row["device"],
        day=row["day"],
        owner=row["owner"],
        server=row["server"],
        image=row["image"],
        model=row["model"],
        party=json_to_party(row["party"]),
        held_seconds=row["held_seconds"],
        sampled_seconds=row["sampled_seconds"],
        active_seconds=row["active_seconds"],
        peak_memory_bytes=row["peak_memory_bytes"],
        energy_joules=row["energy_joules"],
    )
