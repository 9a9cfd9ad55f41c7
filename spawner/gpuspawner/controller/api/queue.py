"""The line: looking, asking, changing, leaving, claiming."""

from __future__ import annotations

from gpuspawner.allocator.places import Place
from gpuspawner.controller.people import Wish
from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.endings import LEFT
from gpuspawner.core.errors import HubError
from gpuspawner.policy.options import UserOptions

from . import linemodels as m
from .access import find_ticket, require_person
from .routes import Call, Forbidden


def show_queue(call: Call) -> m.Queue:
    """The line: all of it for who manages, else how long it is and one's own places."""
    places = call.services.see_line().places
    mine = [p for p in places if call.caller.manages or p.ticket.owner == call.caller.person]
    return m.Queue(at=call.services.clock(), length=len(places), places=[_place(p.ticket, p) for p in mine])


def show_place(call: Call) -> m.Place:
    """One place, also one that has come to its end."""
    return _with_place(call, find_ticket(call))


def ask(call: Call) -> m.Place:
    """Take a place in line."""
    body: m.AskBody = call.body
    person, line = require_person(call), call.services.line
    wish = _find_wish(call, person, call.caller.groups, body.options)
    ticket = line.ask(
        wish.request,
        owner=person,
        server=body.server,
        party=wish.party,
        terms=wish.terms,
        image=wish.image,
    )
    return _with_place(call, ticket)


def change(call: Call) -> m.Place:
    """Ask for something else; what asks for less keeps its place."""
    body: m.ChangeBody = call.body
    ticket, line = find_ticket(call), call.services.line
    if ticket.owner == call.caller.person:
        groups = call.caller.groups
    else:
        found = call.services.hub.groups_of(ticket.owner)
        if found is None:
            raise HubError(f"The hub does not know {ticket.owner} any more.")
        groups = found
    wish = _find_wish(call, ticket.owner, groups, body.options)
    changed = line.change(
        ticket.id,
        wish.request,
        party=wish.party,
        terms=wish.terms,
        image=wish.image,
        actor=call.caller.actor,
    )
    return _with_place(call, changed)


def leave(call: Call) -> m.Place:
    """Give up a place."""
    ticket, line = find_ticket(call), call.services.line
    reason = call.body.reason if call.body else None
    if ticket.owner == call.caller.person:
        reason = reason or LEFT
    elif reason is None:
        raise Forbidden("This is somebody else's place: give a reason, which they will read.")
    return _with_place(call, line.leave(ticket.id, actor=call.caller.actor, reason=reason))


def claim(call: Call) -> m.Place:
    """Take what is offered: only who it is offered to can."""
    ticket, line = find_ticket(call), call.services.line
    if ticket.owner != require_person(call):
        raise Forbidden("Only the person whose turn it is can claim it.")
    return _with_place(call, line.claim(ticket.id, actor=call.caller.actor))


def _find_wish(call: Call, person: str, groups: frozenset[str], options: UserOptions) -> Wish:
    inventory = call.services.line.inventory()
    return call.services.policies.find_wish(person, groups, options, inventory)


def _with_place(call: Call, ticket: Ticket) -> m.Place:
    places = call.services.see_line().places if ticket.state.live else ()
    return _place(ticket, next((p for p in places if p.ticket.id == ticket.id), None))


def _place(ticket: Ticket, place: Place | None) -> m.Place:
    request, estimate = ticket.request, place.estimate if place else None
    capability, offered = request.compute_capability, ticket.state is TicketState.OFFERED
    return m.Place(
        id=ticket.id,
        owner=ticket.owner,
        server=ticket.server,
        state=ticket.state.value,
        reason=place.reason if place else ticket.reason,
        gpus=request.gpus,
        model=request.model,
        image=request.image,
        courses=list(ticket.party.courses),
        slice_bytes=request.slice_bytes,
        memory_bytes=request.memory_bytes,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
        session_seconds=request.session.total_seconds() if request.session else None,
        shorten=request.shorten,
        asked_at=ticket.asked_at,
        queued_at=ticket.queued_at,
        returns=ticket.returns,
        claim_by=ticket.claim_by,
        position=place.position if place else None,
        ahead=place.ahead if place else None,
        estimate=m.EstimateInfo(earliest=estimate.earliest, latest=estimate.latest, basis=estimate.basis)
        if estimate
        else None,
        ends_at=place.ends_at if place else None,
        starting=place is not None and place.starting,
        switch_possible=place is not None and offered and place.other is not None,
        claimed_at=ticket.switch_at,
    )
