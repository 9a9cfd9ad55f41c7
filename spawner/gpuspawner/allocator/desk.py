"""The steps that hub and controller take in the line, inside one transaction of the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.claims import Drain, Terms, Ticket, TicketState
from gpuspawner.core.drains import find_drain, why_drained
from gpuspawner.core.endings import describe_lost
from gpuspawner.core.fitting import suits
from gpuspawner.core.images import asks_no_more_of_cards
from gpuspawner.core.lifecycle import step
from gpuspawner.core.line import Grant, Wait, describe_shortened, grant_without_gpu, plan_line
from gpuspawner.core.model import DeviceRecord, Event, Health, Lease, LeaseState, Message, Party, SpawnRequest
from gpuspawner.core.retry import find_next_try
from gpuspawner.core.words import mark

from .gather import Ahead, gather

FOR_THE_LINE = "line"
"""Claimant of a lease that is reserved for a turn, until a hub takes it up."""


class Desk:
    """One transaction at the line.

    Args:
        unit: A transaction that may write.
        host: The host.
        now: The present.
        stale_after: Age from which a report on a device is no longer believed.
        ahead: What was found of reservations before the transaction began, if it was looked for.
    """

    def __init__(
        self,
        unit: LedgerUnit,
        host: str,
        now: datetime,
        stale_after: timedelta,
        ahead: Ahead | None = None,
    ) -> None:
        self.unit = unit
        self._ahead = ahead
        self.host = host
        self.now = now
        self._stale_after = stale_after

    # -- offers ---------------------------------------------------------------------------------------------

    def find_offer(self, owner: str, server: str, request: SpawnRequest) -> tuple[Ticket, Lease] | None:
        """What the line has reserved for this server, if it is what is asked for now."""
        ticket = self.unit.ticket_of(self.host, owner, server)
        lease = self.unit.lease(ticket.lease_id) if ticket and ticket.lease_id else None
        if (
            ticket is None
            or lease is None
            or lease.state is not LeaseState.RESERVED
            or lease.claim_by is None
        ):
            return None
        if request.gpus != len(lease.devices) or request.image != ticket.request.image:
            return None
        if (request.course or "") != "".join(ticket.party.courses):
            return None
        inventory = {record.device.uuid: record for record in self.unit.inventory(self.host)}
        if why_unfit(lease, inventory, self.unit.drains(self.host), self.now):
            return None
        if not all(suits(inventory[uuid].device, request) for uuid in lease.devices):
            return None
        return ticket, lease

    def take_up(
        self, ticket: Ticket, lease: Lease, *, claimant: str, image: str, digest: str | None
    ) -> Lease:
        """A hub starts the server of an offer: from now on the hub answers for the lease."""
        lease = replace(
            lease,
            claimant=claimant,
            claim_by=None,
            image=image,
            digest=digest,
            party=ticket.party,
            state_since=self.now,
        )
        self.unit.update_lease(lease)
        self._tell(
            "lease.taken_up", mark("its server is started"), lease.owner, lease_id=lease.id, ticket=ticket.id
        )
        return lease

    def let_go_of_others(self, owner: str, server: str, *, keep_offer: bool) -> None:
        """Let go of what the same server held; an offer may be kept beside a server without a GPU."""
        for old in self.unit.live_leases(self.host, owner=owner):
            if old.server != server or old.state.ending:
                continue
            if keep_offer and old.claim_by is not None:
                continue
            let_go(self.unit, old, self.now, mark("a new start of the same server replaced it"), owner)

    # -- asking ---------------------------------------------------------------------------------------------

    def ask(
        self,
        request: SpawnRequest,
        *,
        owner: str,
        server: str,
        image: str,
        party: Party,
        terms: Terms,
    ) -> Ticket:
        """What is asked for as a ticket; one that the server has already is changed, and not stored yet.

        A request that asks for less keeps its place; any other change goes to the end of the line.
        """
        old = self.unit.ticket_of(self.host, owner, server) if request.gpus else None
        if old is None:
            return new_ticket(
                request,
                host=self.host,
                owner=owner,
                server=server,
                image=image,
                party=party,
                terms=terms,
                now=self.now,
            )
        keeps = asks_no_more(request, old.request)
        return replace(
            old,
            request=request,
            image=image,
            terms=terms,
            party=party,
            state=TicketState.WAITING,
            lease_id=None,
            claim_by=None,
            switch_at=None,
            not_before=None,
            queued_at=old.queued_at if keeps else self.now,
        )

    def find_turn(self, ask: Ticket) -> Grant | Wait:
        """What the line says to a ticket now."""
        if ask.request.gpus == 0:
            return grant_without_gpu(ask, self.now)
        situation = gather(
            self.unit,
            self.host,
            now=self.now,
            stale_after=self._stale_after,
            asking=[ask],
            ahead=self._ahead,
        )
        plan = plan_line(situation)
        grant = next((grant for grant in plan.grants if grant.ticket.id == ask.id), None)
        wait = next((wait for wait in plan.waits if wait.ticket.id == ask.id), None)
        if grant is not None and grant.shortened and not ask.request.shorten and ask.queued_at == self.now:
            # Whoever asks at this moment has not been shown the end yet.
            return Wait(ask, 0, describe_shortened(grant, self.now), grant.claim)
        found = grant or wait
        if found is None:
            raise RuntimeError(f"the line's plan says nothing of ticket {ask.id}")
        return found

    def grant(self, grant: Grant, *, claimant: str, digest: str | None) -> Lease:
        """Give a grant's devices to a start that is under way; a ticket of the server is claimed by it."""
        ticket = grant.ticket
        lease = self._add_lease(grant, claimant=claimant, claim_by=None, digest=digest)
        if self.unit.ticket(ticket.id) is not None:
            self.unit.update_ticket(
                replace(
                    ticket,
                    state=TicketState.CLAIMED,
                    state_since=self.now,
                    reason=mark("its server was started"),
                    lease_id=lease.id,
                )
            )
        return lease

    def offer(self, grant: Grant, window: timedelta) -> Ticket:
        """Reserve a grant's devices for a ticket whose turn has come.

        Args:
            grant: What the plan gives it.
            window: How long its person has to claim it.
        """
        claim_by = self.now + window
        lease = self._add_lease(grant, claimant=FOR_THE_LINE, claim_by=claim_by)
        ticket = replace(
            grant.ticket,
            state=TicketState.OFFERED,
            state_since=self.now,
            reason=mark(f"it is your turn: {grant.reason}"),
            lease_id=lease.id,
            claim_by=claim_by,
        )
        self.unit.update_ticket(ticket)
        self._tell(
            "ticket.offered",
            ticket.reason,
            "controller",
            lease_id=lease.id,
            ticket=ticket.id,
            owner=ticket.owner,
            waited_seconds=(self.now - ticket.asked_at).total_seconds(),
            claim=grant.claim.name.lower(),
        )
        return ticket

    def _add_lease(
        self, grant: Grant, *, claimant: str, claim_by: datetime | None, digest: str | None = None
    ) -> Lease:
        ticket = grant.ticket
        lease = Lease(
            id=secrets.token_hex(8),
            host=self.host,
            owner=ticket.owner,
            server=ticket.server,
            devices=grant.devices,
            state=LeaseState.RESERVED,
            reason=grant.reason,
            claimant=claimant,
            created_at=self.now,
            state_since=self.now,
            image=ticket.image,
            digest=digest,
            party=ticket.party,
            ends_at=grant.ends_at,
            end_reason=grant.end_reason,
            ticket_id=ticket.id if self.unit.ticket(ticket.id) else None,
            claim_by=claim_by,
            reservation=grant.reservation,
        )
        self.unit.add_lease(lease)
        ends = {"ends_at": grant.ends_at.isoformat()} if grant.ends_at else {}
        self._tell(
            "lease.granted",
            lease.reason,
            ticket.owner,
            lease_id=lease.id,
            devices=list(grant.devices),
            **ends,
        )
        return lease

    # -- places ---------------------------------------------------------------------------------------------

    def keep_place(self, ask: Ticket, wait: Wait) -> Ticket:
        """Store a ticket that waits."""
        known = self.unit.ticket(ask.id)
        ticket = replace(ask, reason=wait.reason)
        if known is None:
            self.unit.add_ticket(ticket)
            kind, why = "ticket.filed", wait.reason
        else:
            self.unit.update_ticket(ticket)
            kept = ticket.queued_at == known.queued_at
            kind = "ticket.changed"
            why = mark(
                "the request was changed and keeps its place" if kept else "the request asks for more now"
            )
        if known is None or known.request != ticket.request:
            self._tell(kind, why, ask.owner, ticket=ticket.id, gpus=ask.request.gpus, model=ask.request.model)
        return ticket

    def end_ticket(self, ticket: Ticket, *, claimed: bool, reason: str, actor: str) -> Ticket:
        """A ticket comes to its end; what was reserved for it and not taken up is let go of."""
        lease = self.unit.lease(ticket.lease_id) if ticket.lease_id else None
        if not claimed and lease is not None and lease.claim_by is not None:
            let_go(self.unit, lease, self.now, reason, actor)
        state = TicketState.CLAIMED if claimed else TicketState.ENDED
        ended = replace(ticket, state=state, state_since=self.now, reason=reason)
        self.unit.update_ticket(ended)
        self._tell(f"ticket.{state.value}", reason, actor, ticket=ticket.id, owner=ticket.owner)
        if not claimed and actor != ticket.owner:
            self.unit.add_message(Message(self.now, ticket.owner, describe_lost(ended), actor))
        return ended

    def put_back(self, ticket: Ticket, *, at_the_end: bool, reason: str) -> Ticket:
        """A ticket goes back into the line, and what was reserved for it is let go of."""
        lease = self.unit.lease(ticket.lease_id) if ticket.lease_id else None
        if lease is not None and lease.claim_by is not None:
            let_go(self.unit, lease, self.now, reason, "controller")
        back = replace(
            ticket,
            state=TicketState.WAITING,
            state_since=self.now,
            reason=reason,
            lease_id=None,
            claim_by=None,
            switch_at=None,
        )
        if at_the_end:
            back = replace(back, queued_at=self.now, returns=ticket.returns + 1)
        else:
            failures = ticket.failures + 1
            back = replace(back, failures=failures, not_before=find_next_try(failures, self.now))
        self.unit.update_ticket(back)
        self._tell("ticket.returned", reason, "controller", ticket=ticket.id, owner=ticket.owner)
        return back

    def _tell(
        self, kind: str, reason: str, actor: str, *, lease_id: str | None = None, **data: object
    ) -> None:
        self.unit.add_event(Event(self.now, kind, reason, actor, lease_id, data=data))


def new_ticket(
    request: SpawnRequest,
    *,
    host: str,
    owner: str,
    server: str,
    image: str,
    party: Party,
    terms: Terms,
    now: datetime,
) -> Ticket:
    """A ticket that nobody has stored yet."""
    return Ticket(
        id=secrets.token_hex(8),
        host=host,
        owner=owner,
        server=server,
        request=request,
        image=image,
        asked_at=now,
        queued_at=now,
        state=TicketState.WAITING,
        state_since=now,
        reason="",
        terms=terms,
        party=party,
    )


def why_unfit(
    lease: Lease, inventory: Mapping[str, DeviceRecord], drains: Sequence[Drain], now: datetime
) -> str | None:
    """Say which device of an offer went out of service after it was offered; None when none did.

    What is merely not known for a moment is no reason to take a turn away.

    Args:
        lease: What is reserved.
        inventory: The devices that are there, by UUID.
        drains: All drains of the host.
        now: The present.
    """
    for uuid in lease.devices:
        record = inventory.get(uuid)
        if record is None:
            return mark(f"the GPU {uuid} that was reserved for it is not there any more")
        drain = find_drain(record.device, drains, now)
        if drain is not None:
            reason = why_drained(drain, now)
            return mark(f"the GPU {uuid} that was reserved for it was {reason}")
        if record.health is Health.FAULTY or record.occupied_by is not None:
            why = record.health_reason or mark(f"in use by others: {record.occupied_by}")
            return mark(f"the GPU {uuid} that was reserved for it went out of service: {why}")
    return None


def let_go(unit: LedgerUnit, lease: Lease, now: datetime, reason: str, actor: str) -> None:
    """Begin the release of a lease; nothing happens if that has begun already."""
    if lease.state.ending:
        return
    unit.update_lease(step(lease, LeaseState.RELEASING, now=now, reason=reason))
    unit.add_event(Event(now, "lease.releasing", reason, actor, lease.id))


def asks_no_more(new: SpawnRequest, old: SpawnRequest) -> bool:
    """Whether whoever waits behind loses nothing when a request is changed like this."""
    if new.model not in (None, old.model) or new.gpus > old.gpus:
        return False
    if old.slice_bytes is not None and (new.slice_bytes is None or new.slice_bytes > old.slice_bytes):
        return False
    if (new.memory_bytes or 0) > (old.memory_bytes or 0):
        return False
    if (new.compute_capability or (0, 0)) > (old.compute_capability or (0, 0)):
        return False
    if new.course and new.course != old.course:
        return False
    if not asks_no_more_of_cards(new.needs, old.needs):
        return False
    return old.session is None or (new.session is not None and new.session <= old.session)
