"""What must be true of every single write to the ledger, told from what was there before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.allocator.desk import asks_no_more
from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.policy import Policy, find_terms

from support.build import HOST

from .people import find_allowance
from .seats import find_robbed

S, T = LeaseState, TicketState

LEASE_STEPS = {
    S.RESERVED: {S.ACTIVE, S.RELEASING},
    S.ACTIVE: {S.RELEASING},
    S.RELEASING: {S.RELEASED, S.QUARANTINED},
    S.QUARANTINED: {S.RELEASED},
    S.RELEASED: set(),
}
TICKET_STEPS = {
    T.WAITING: {T.OFFERED, T.CLAIMED, T.ENDED},
    T.OFFERED: {T.WAITING, T.CLAIMED, T.ENDED},
    T.CLAIMED: set(),
    T.ENDED: set(),
}


class Watch:
    """Remembers what the ledger held, and notes what is wrong with a change.

    Args:
        clock: Says the present.
        find_policy: Says which policy is in force.
        why_in_use: Says who works on a device by virtue of an earlier lease; None when nobody does.

    Attributes:
        wrongs: What was found, in words.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        find_policy: Callable[[], Policy],
        why_in_use: Callable[[str, str], str | None],
    ) -> None:
        self._clock, self._find_policy, self._why_in_use = clock, find_policy, why_in_use
        self.leases: dict[str, Lease] = {}
        self.tickets: dict[str, Ticket] = {}
        self.wrongs: list[str] = []

    def look(self, unit: LedgerUnit) -> None:
        """See a transaction before its commit."""
        self._look_at_leases(unit)
        self._look_at_tickets(unit)

    # -- leases ---------------------------------------------------------------------------------------------

    def _look_at_leases(self, unit: LedgerUnit) -> None:
        live = {lease.id: lease for lease in unit.live_leases(HOST)}
        for old in self.leases.values():
            new = live.get(old.id) or unit.lease(old.id)
            if new is None:
                self.wrongs.append(f"lease {old.id} vanished")
            elif new != old:
                self._judge_lease(old, new)
        fresh = [lease for lease in live.values() if lease.id not in self.leases]
        for lease in fresh:
            self._judge_grant(lease, live)
        if any(lease.devices for lease in fresh):
            found = find_robbed(unit, live, [one.id for one in fresh], self._clock())
            self.wrongs += [found] if found else []
        self.leases = live

    def _judge_lease(self, old: Lease, new: Lease) -> None:
        if new.state is not old.state and new.state not in LEASE_STEPS[old.state]:
            self.wrongs.append(f"lease {old.id} went from {old.state} to {new.state}")
        if (new.devices, new.owner, new.server, new.created_at) != (
            old.devices,
            old.owner,
            old.server,
            old.created_at,
        ):
            self.wrongs.append(f"lease {old.id} changed what never changes")
        if not new.reason:
            self.wrongs.append(f"lease {new.id} is {new.state} without a reason")
        if new.state is S.RELEASED:
            if not new.evidence or new.ended_at is None:
                self.wrongs.append(f"lease {new.id} was released without evidence, or at no time")
            for uuid in new.devices:
                why = self._why_in_use(uuid, "")
                if why:
                    self.wrongs.append(f"{uuid} was released while {why}")

    def _judge_grant(self, lease: Lease, live: Mapping[str, Lease]) -> None:
        if not lease.reason:
            self.wrongs.append(f"lease {lease.id} was granted without a reason")
        policy = self._find_policy()
        for uuid in lease.devices:
            for other in live.values():
                if other.id != lease.id and uuid in other.devices:
                    self.wrongs.append(f"{uuid} has two owners: {other.id} and {lease.id}")
            why = self._why_in_use(uuid, lease.id)
            if why:
                self.wrongs.append(f"{uuid} was granted to {lease.owner} while {why}")
        held = [one for one in live.values() if not one.state.ending]
        most = find_allowance(policy, lease.owner).gpus_per_person.value
        mine = sum(len(one.devices) for one in held if one.owner == lease.owner)
        if lease.devices and most is not None and mine > most:
            self.wrongs.append(f"{lease.owner} holds {mine} devices and may hold {most}")
        terms = find_terms(policy, lease.party, find_allowance(policy, lease.owner))
        for course, seats in terms.seats if lease.devices else ():
            taken = sum(1 for one in held if course in one.party.courses)
            if taken > seats:
                self.wrongs.append(f"course {course} has {taken} sessions and {seats} seats")

    # -- tickets --------------------------------------------------------------------------------------------

    def _look_at_tickets(self, unit: LedgerUnit) -> None:
        live = {ticket.id: ticket for ticket in unit.live_tickets(HOST)}
        for old in self.tickets.values():
            new = live.get(old.id) or unit.ticket(old.id)
            if new is None:
                self.wrongs.append(f"ticket {old.id} vanished")
            elif new != old:
                self._judge_ticket(old, new)
        servers = [(ticket.owner, ticket.server) for ticket in live.values()]
        if len(servers) != len(set(servers)):
            self.wrongs.append(f"a server has two live tickets: {sorted(servers)}")
        for ticket in live.values():
            lease = unit.lease(ticket.lease_id) if ticket.lease_id else None
            if (ticket.state is T.OFFERED) is not (lease is not None and lease.ticket_id == ticket.id):
                self.wrongs.append(f"ticket {ticket.id} is {ticket.state} with lease {ticket.lease_id}")
            if ticket.state is T.OFFERED and ticket.claim_by is None:
                self.wrongs.append(f"ticket {ticket.id} is offered for ever")
        for held in self.leases.values():
            kept = live.get(held.ticket_id or "")
            if held.claim_by and not held.state.ending and (kept is None or kept.lease_id != held.id):
                self.wrongs.append(f"lease {held.id} is kept for a turn that is nobody's")
        self.tickets = live

    def _judge_ticket(self, old: Ticket, new: Ticket) -> None:
        if new.state is not old.state and new.state not in TICKET_STEPS[old.state]:
            self.wrongs.append(f"ticket {old.id} went from {old.state} to {new.state}")
        if (new.asked_at, new.owner, new.server) != (old.asked_at, old.owner, old.server):
            self.wrongs.append(f"ticket {old.id} changed what never changes")
        if not new.state.live and not new.reason:
            self.wrongs.append(f"ticket {old.id} ended without a reason")
        if new.queued_at == old.queued_at:
            return
        gave_back = old.state is T.OFFERED and new.state is T.WAITING and new.returns > old.returns
        asked_more = new.request != old.request and not asks_no_more(new.request, old.request)
        if new.queued_at != self._clock() or not (gave_back or asked_more):
            self.wrongs.append(f"ticket {old.id} lost its place: {old.queued_at} became {new.queued_at}")
