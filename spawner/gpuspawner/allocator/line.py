"""The use cases of the line: ask, change, leave, claim; and what the controller does at each of its ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Terms, Ticket, TicketState
from gpuspawner.core.endings import LEFT
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound
from gpuspawner.core.estimate import LOOK_BACK, estimate_turns
from gpuspawner.core.line import Wait, plan_line
from gpuspawner.core.model import DeviceRecord, Event, ImageNeeds, Lease, Party, SpawnRequest
from gpuspawner.core.placement import STALE_AFTER, list_hopeless, require_possible, why_nothing_is_known
from gpuspawner.core.retry import MOST_FAILURES
from gpuspawner.core.seating import Calendar
from gpuspawner.core.situation import Board
from gpuspawner.core.words import mark

from .clock import utc_now
from .desk import Desk, asks_no_more, why_unfit
from .gather import gather
from .places import LineView, Place, Turn, find_other, place_of_offer

CLAIM_WINDOW = timedelta(minutes=5)
LEAST_HOLD = timedelta(minutes=1)
"""An offer that is held because the Hub is away is held for so long at least: it is tried again within it."""
MOST_RETURNS = 2
"""A ticket that was offered so often and not claimed is given up."""
MOST_TICKETS_PER_PERSON = 10
"""More places than a person has servers are a mistake, or worse."""


class Line:
    """The line of one host.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices these are.
        stale_after: Age from which an inventory is no longer believed.
        clock: Says the present.
        window: How long a person has to claim what they are offered.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        stale_after: timedelta = STALE_AFTER,
        clock: Callable[[], datetime] = utc_now,
        window: timedelta = CLAIM_WINDOW,
    ) -> None:
        self.ledger = ledger
        self.host = host
        self._stale_after = stale_after
        self._clock = clock
        self._window = window

    # -- looking --------------------------------------------------------------------------------------------

    def view(self) -> LineView:
        """Every place in line. Raises: LedgerError."""
        now = self._clock()
        with self.ledger.read() as unit:
            situation = gather(unit, self.host, now=now, stale_after=self._stale_after)
            offers = unit.offers(self.host)
            leases = {lease.id: lease for lease in situation.leases}
            past = unit.session_seconds(self.host, now - LOOK_BACK)
        plan = plan_line(situation)
        # What would be granted now is granted at the controller's next tick: it waits for nothing else.
        waits = [*(Wait(g.ticket, 0, g.reason, g.claim) for g in plan.grants), *plan.waits]
        estimates = estimate_turns(situation, waits, past)
        by_server: dict[tuple[str, str], list[Lease]] = {}
        for lease in situation.leases:
            by_server.setdefault((lease.owner, lease.server), []).append(lease)

        def find_beside(ticket: Ticket) -> Lease | None:
            return find_other(by_server.get((ticket.owner, ticket.server), ()), ticket)

        places = [place_of_offer(t, leases.get(t.lease_id or ""), find_beside(t)) for t in offers]
        places += [
            Place(wait.ticket, ahead, wait.reason, estimate, other=find_beside(wait.ticket))
            for ahead, (wait, estimate) in enumerate(zip(waits, estimates, strict=True))
        ]
        return LineView(now, tuple(places), situation)

    def turns(self) -> tuple[Turn, ...]:
        """Every offer, with what runs for it. Raises: LedgerError."""
        with self.ledger.read() as unit:
            live = unit.live_leases(self.host)
            offers = unit.offers(self.host)
            own = {t.id: unit.lease(t.lease_id) if t.lease_id else None for t in offers}
            inventory = {record.device.uuid: record for record in unit.inventory(self.host)} if offers else {}
            drains = unit.drains(self.host) if offers else ()
        now = self._clock()

        def find_fault(lease: Lease | None) -> str | None:
            waits = lease is not None and lease.claim_by is not None
            return why_unfit(lease, inventory, drains, now) if lease and waits else None

        return tuple(Turn(t, own[t.id], find_other(live, t), find_fault(own[t.id])) for t in offers)

    def latest_ends(self, leases: Iterable[Lease]) -> dict[str, tuple[datetime | None, str]]:
        """Until when sessions could go on, and what stands there, as a sentence; None for no limit.

        Only what others have reserved stands in the way. By lease; each for itself, as if the others stayed
        as they are. Raises: LedgerError.
        """
        now = self._clock()
        with self.ledger.read() as unit:
            situation = gather(unit, self.host, now=now, stale_after=self._stale_after)
        serving, found = Board(situation).serving, {}
        for lease in leases:
            others = [one for one in situation.leases if one.id != lease.id]
            calendar = Calendar(serving, others, situation.occurrences, now)
            limit, reason = calendar.limit(lease.devices, lease.owner, lease.party)
            found[lease.id] = (limit, f"{reason}." if reason else "")
        return found

    def latest_end(self, lease: Lease) -> tuple[datetime | None, str]:
        """The same of one session. Raises: LedgerError."""
        return self.latest_ends([lease])[lease.id]

    # -- what people do -------------------------------------------------------------------------------------

    def ask(
        self,
        request: SpawnRequest,
        *,
        owner: str,
        server: str,
        party: Party,
        terms: Terms,
        image: str,
    ) -> Ticket:
        """Take a place in line without starting anything; the controller grants it when its turn comes.

        A server that has a place already changes its request.

        Raises:
            InvalidRequest: It is for no GPU, or the person has too many places.
            Refused: It can never be served here, or the state of the cards is not known.
            LedgerError: The ledger cannot be used.
        """
        if request.gpus == 0:
            raise InvalidRequest("A server without a GPU waits for nothing. Start it, or ask for 1 GPU.")
        now = self._clock()
        with self.ledger.write() as unit:
            mine = [t for t in unit.live_tickets(self.host) if t.owner == owner]
            if len(mine) >= MOST_TICKETS_PER_PERSON and all(t.server != server for t in mine):
                raise InvalidRequest(
                    f"You have {len(mine)} places in line, which is the most. Leave one of them first."
                )
            inventory = unit.inventory(self.host)
            require_possible(request, inventory, now=now, stale_after=self._stale_after)
            desk = self._desk(unit, now)
            known = next((t for t in mine if t.server == server), None)
            if known is not None and known.state is TicketState.OFFERED:
                raise InvalidRequest("It is your turn already. Claim it, or leave the line first.")
            ask = desk.ask(request, owner=owner, server=server, image=image, party=party, terms=terms)
            turn = desk.find_turn(ask)
            wait = turn if isinstance(turn, Wait) else Wait(ask, 0, turn.reason, turn.claim)
            return desk.keep_place(ask, wait)

    def change(
        self,
        ticket_id: str,
        request: SpawnRequest,
        *,
        party: Party,
        terms: Terms,
        image: str,
        actor: str,
    ) -> Ticket:
        """Change what a ticket asks for; it keeps its place if it asks for less.

        Another image may be one of another course: whom the session counts for is found anew by the caller.

        Raises:
            NotFound: There is no such ticket in line.
            InvalidRequest: Its turn has come already.
            Refused: It can never be served here.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            ticket = _require_live(unit, ticket_id)
            if ticket.state is TicketState.OFFERED:
                raise InvalidRequest("It is your turn already. Claim it, or leave the line first.")
            if request.gpus == 0:
                raise InvalidRequest("A server without a GPU waits for nothing. Leave the line instead.")
            require_possible(request, unit.inventory(self.host), now=now, stale_after=self._stale_after)
            keeps = asks_no_more(request, ticket.request)
            changed = replace(
                ticket,
                request=request,
                party=party,
                terms=terms,
                image=image,
                queued_at=ticket.queued_at if keeps else now,
            )
            unit.update_ticket(changed)
            why = mark(
                "it asks for less and keeps its place" if keeps else "it asks for more: end of the line"
            )
            unit.add_event(
                Event(now, "ticket.changed", why, actor, data={"ticket": ticket.id, "gpus": request.gpus})
            )
            return changed

    def leave(self, ticket_id: str, *, actor: str, reason: str = LEFT) -> Ticket:
        """Give up a place; what was reserved for it is let go of, and a server that was started for it ends.

        Raises:
            NotFound: There is no such ticket in line.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            ticket = _require_live(unit, ticket_id)
            lease = unit.lease(ticket.lease_id or "")
            if lease is not None and lease.claim_by is None and not lease.state.ending:
                # The controller stops what has come to its end, and asks the Hub again until it is done.
                unit.update_lease(replace(lease, ends_at=now, end_reason=reason, warned=0))
            return self._desk(unit, now).end_ticket(ticket, claimed=False, reason=reason, actor=actor)

    def claim(self, ticket_id: str, *, actor: str) -> Ticket:
        """A person takes what they are offered.

        If its server does not run yet, the offer stands until it does: the controller starts it, and stops
        one that runs without the GPU before.

        Raises:
            NotFound: There is no such ticket in line.
            InvalidRequest: Its turn has not come.
            Conflict: What was reserved for it is gone, as when its server did not come up.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            ticket = _require_live(unit, ticket_id)
            if ticket.state is not TicketState.OFFERED:
                raise InvalidRequest("Your turn has not come yet; the page says how many are ahead of you.")
            lease = unit.lease(ticket.lease_id or "")
            if lease is None or lease.state.ending:
                raise Conflict("Your server did not come up. You keep your place; look again in a moment.")
            if lease.claim_by is None:
                return self._desk(unit, now).end_ticket(
                    ticket, claimed=True, reason=mark("its person opened it"), actor=actor
                )
            if ticket.switch_at is None:
                # What the start takes from now on is not the person's delay.
                claim_by = max(ticket.claim_by or now, now + self._window)
                ticket = replace(ticket, switch_at=now, claim_by=claim_by)
                unit.update_ticket(ticket)
                unit.update_lease(replace(lease, claim_by=claim_by))
                other = find_other(unit.live_leases(self.host), ticket)
                why = mark("Switch now was pressed" if other else "its person waits for the server")
                unit.add_event(Event(now, "ticket.switch", why, actor, data={"ticket": ticket.id}))
            return ticket

    # -- what the controller does ---------------------------------------------------------------------------

    def grant_turns(self) -> tuple[Ticket, ...]:
        """Offer devices to whose turn has come. Raises: LedgerError."""
        now = self._clock()
        with self.ledger.read() as unit:
            # The write lock is only taken when there is something to write.
            if not plan_line(gather(unit, self.host, now=now, stale_after=self._stale_after)).grants:
                return ()
        with self.ledger.write() as unit:
            situation = gather(unit, self.host, now=now, stale_after=self._stale_after)
            desk = self._desk(unit, now)
            return tuple(desk.offer(grant, self._window) for grant in plan_line(situation).grants)

    def opened(self, ticket_id: str) -> Ticket | None:
        """Note that the person works in the server of an offer; None if it has ended meanwhile."""
        with self.ledger.write() as unit:
            ticket = unit.ticket(ticket_id)
            if ticket is None or ticket.state is not TicketState.OFFERED:
                return None
            return self._desk(unit, self._clock()).end_ticket(
                ticket, claimed=True, reason=mark("its person opened the server"), actor=ticket.owner
            )

    def lapse(self, ticket_id: str, *, reason: str, at_the_end: bool) -> Ticket | None:
        """An offer came to nothing: back into the line, or out of it if that has happened too often.

        Args:
            ticket_id: The ticket.
            reason: What came in between, for people.
            at_the_end: Whether its person did not come: then it goes to the end of the line, once. After a
                failure that is not theirs it keeps its place, and is tried again after a pause.

        Returns:
            The ticket as it is now; None if it was claimed or left meanwhile, or its server is being started.
        """
        with self.ledger.write() as unit:
            ticket = unit.ticket(ticket_id)
            if ticket is None or ticket.state is not TicketState.OFFERED:
                return None
            lease = unit.lease(ticket.lease_id) if ticket.lease_id else None
            if lease is not None and lease.claim_by is None and not lease.state.ending:
                return None
            desk = self._desk(unit, self._clock())
            if at_the_end and ticket.returns + 1 >= MOST_RETURNS:
                again = mark(f"{reason}, for the second time; ask again when you need it")
                return desk.end_ticket(ticket, claimed=False, reason=again, actor="controller")
            if not at_the_end and ticket.failures + 1 >= MOST_FAILURES:
                again = mark(f"{reason}; that was the {MOST_FAILURES}th time. Tell the administrator")
                return desk.end_ticket(ticket, claimed=False, reason=again, actor="controller")
            return desk.put_back(ticket, at_the_end=at_the_end, reason=reason)

    def hold(self, ticket_id: str) -> None:
        """Give an offer its whole window anew: what keeps its person from it is ours, not theirs."""
        with self.ledger.write() as unit:
            ticket = unit.ticket(ticket_id)
            if ticket is None or ticket.state is not TicketState.OFFERED:
                return
            claim_by = self._clock() + max(self._window, LEAST_HOLD)
            unit.update_ticket(replace(ticket, claim_by=claim_by))
            lease = unit.lease(ticket.lease_id or "")
            if lease is not None and lease.claim_by is not None:
                unit.update_lease(replace(lease, claim_by=claim_by))

    def inventory(self) -> tuple[DeviceRecord, ...]:
        """Every device of the host. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.inventory(self.host)

    def hopeless(self) -> dict[str, str]:
        """By id, those who wait for what this host does not have any more, and why. Raises: LedgerError."""
        with self.ledger.read() as unit:
            waiting = [t for t in unit.live_tickets(self.host) if t.state is TicketState.WAITING]
            inventory = unit.inventory(self.host) if waiting else ()
        known = not why_nothing_is_known(inventory, now=self._clock(), stale_after=self._stale_after)
        return list_hopeless(waiting, inventory) if known else {}

    def is_empty(self) -> bool:
        """Whether nobody waits, and nobody has been offered anything. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return not unit.live_tickets(self.host)

    def failures(self) -> dict[str, int]:
        """By id, how often the starts of those who wait have failed, if they have. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return {one.id: one.failures for one in unit.live_tickets(self.host) if one.failures}

    def refresh(
        self, find: Callable[[Ticket], tuple[Party, Terms, ImageNeeds | None] | str]
    ) -> tuple[Ticket, ...]:
        """Apply the policy to the line as it is now; what has been taken up already is left as it is.

        Args:
            find: What a ticket's person may use now and what the image needs, or why they may not have it any
                more.

        Returns:
            The tickets that were changed or ended.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.read() as unit:
            # The write lock is only taken when there is something to write.
            if all(find(ticket) == _found_before(ticket) for ticket in unit.live_tickets(self.host)):
                return ()
        changed = []
        with self.ledger.write() as unit:
            desk = self._desk(unit, self._clock())
            for ticket in unit.live_tickets(self.host):
                found = find(ticket)
                lease = unit.lease(ticket.lease_id) if ticket.lease_id else None
                if isinstance(found, str):
                    if lease is None or lease.claim_by is not None:
                        changed.append(desk.end_ticket(ticket, claimed=False, reason=found, actor="policy"))
                elif found != _found_before(ticket):
                    # Also of an offer: it may come back into the line.
                    request = replace(ticket.request, needs=found[2])
                    fresh = replace(ticket, request=request, party=found[0], terms=found[1])
                    unit.update_ticket(fresh)
                    changed.append(fresh)
        return tuple(changed)

    def _desk(self, unit: LedgerUnit, now: datetime) -> Desk:
        return Desk(unit, self.host, now, self._stale_after)


def _found_before(ticket: Ticket) -> tuple[Party, Terms, ImageNeeds | None]:
    return ticket.party, ticket.terms, ticket.request.needs


def _require_live(unit: LedgerUnit, ticket_id: str) -> Ticket:
    ticket = unit.ticket(ticket_id)
    if ticket is None or not ticket.state.live:
        raise NotFound(f"There is no place {ticket_id!r} in line; it has ended, or never was.")
    return ticket
