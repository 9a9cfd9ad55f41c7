"""The use cases around a lease: gather, let core decide, apply, in one transaction each.

Every method may block on the ledger; the hub calls them in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.activity import begin_activity
from gpuspawner.core.budget import judge_budget
from gpuspawner.core.claims import Terms, Ticket
from gpuspawner.core.culling import Watch
from gpuspawner.core.drains import find_stop, why_drained
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.errors import IllegalTransition, InLine, LedgerError, RefusalKind, Refused
from gpuspawner.core.idleness import Limits
from gpuspawner.core.images import find_fleet
from gpuspawner.core.lifecycle import step
from gpuspawner.core.line import Grant
from gpuspawner.core.model import DeviceRecord, Event, Home, Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.placement import require_possible, why_nothing_is_known
from gpuspawner.core.policy import Allowance, Policy, find_terms
from gpuspawner.core.quota import judge_devices, judge_quota
from gpuspawner.core.words import mark

from .clock import utc_now
from .desk import Desk, let_go
from .gather import Ahead, find_reach, look_ahead
from .lastend import find_choices, find_last_end
from .stock import Stock, take_stock
from .usage import count_running, held_in_window

SAME_REFUSAL_AGAIN = timedelta(minutes=1)
"""A refusal that equals one of this age or younger is not stored again."""

TURN_IS_OVER = mark(
    "The turn that this server was to be started for is over: its person left it, or it was given on."
)


@dataclass(frozen=True, slots=True)
class Status:
    """Cards and who holds them, for people and programs."""

    inventory: tuple[DeviceRecord, ...]
    leases: tuple[Lease, ...]


class Allocator:
    """Gives devices to servers and takes them back.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices these are.
        allowance: What the person who asks may use.
        stale_after: Age from which an inventory is no longer believed.
        clock: Says the present.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        allowance: Allowance,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ledger = ledger
        self._host = host
        self._allowance = allowance
        self._stale_after = stale_after
        self._clock = clock

    def ledger_id(self) -> str:
        """The ledger's random name. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.ledger_id()

    def status(self) -> Status:
        """Every device and every live lease. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return Status(unit.inventory(self._host), unit.live_leases(self._host))

    def fleet(self) -> tuple[str, ...]:
        """The architectures of all that is here. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return find_fleet(record.device for host in unit.hosts() for record in unit.inventory(host))

    def stock(
        self,
        owner: str = "",
        server: str = "",
        party: Party | None = None,
        terms: Terms | None = None,
    ) -> Stock:
        """What there is, and what a start now would get; what the person may not use has its reason.

        Args:
            owner: The person.
            server: The server that would be started; a place that it has in line stays its own.
            party: Their groups.
            terms: What the line needs to know of their allowance; that of the allowance alone if none.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        party = party or Party()
        terms = terms or find_terms(Policy(), party, self._allowance)
        with self.ledger.read() as unit:
            return take_stock(
                unit,
                self._host,
                owner=owner,
                server=server,
                party=party,
                terms=terms,
                allowance=self._allowance,
                now=self._clock(),
                stale_after=self._stale_after,
            )

    def reserve(
        self,
        request: SpawnRequest,
        *,
        owner: str,
        server: str,
        claimant: str,
        image: str,
        digest: str | None = None,
        party: Party | None = None,
        terms: Terms | None = None,
        queue: bool = False,
        turn: str | None = None,
        choices: SpawnRequest | None = None,
        idle_limits: Limits | None = None,
    ) -> Lease:
        """Reserve devices for a start.

        What the line has reserved for this server is taken up. Otherwise the request takes its turn among
        those that wait. A lease of the same server that was never let go of (its release could not be
        written, say) is let go of first; its devices stay held until they are proved free.

        Args:
            request: The validated wish.
            owner: The person.
            server: The server's name.
            claimant: This run of the hub.
            image: Image reference that was chosen.
            digest: The id of the image that will run; None when it is not known.
            party: Whom the session counts for beside its person.
            terms: What the line needs to know of the person's allowance; that of the allowance alone if none.
            queue: Whether there is somebody who looks after a line, so that a place in it can be taken.
            turn: Id of the place in line that the controller starts this for; None for a person's own start.
            choices: What a later start asks for that wants the same again; None for what is asked for now.
            idle_limits: How long the session may do nothing, whatever the policy says later; None to have it
                looked up when the session is first looked into.

        Raises:
            InLine: Not granted now; it has a place in line.
            Refused: Not granted; the refusal is in the audit trail.
            LedgerError: The ledger cannot be used; nothing was granted.
        """
        now = self._clock()
        party = party or Party()
        terms = terms or find_terms(Policy(), party, self._allowance)
        ahead: Ahead | None = None
        if request.gpus:
            with self.ledger.read() as unit:
                ahead = look_ahead(unit, self._host, now, reach=find_reach([terms.longest]))
        with self.ledger.write() as unit:
            desk = Desk(unit, self._host, now, self._stale_after, ahead)
            offered = desk.find_offer(owner, server, request)
            if turn is not None and (offered is None or offered[0].id != turn):
                raise Refused(RefusalKind.NOT_NOW, TURN_IS_OVER)
            if offered is not None:
                self._require_inventory(unit, now)
                lease = desk.take_up(*offered, claimant=claimant, image=image, digest=digest)
                _keep_with(unit, lease, choices or request, idle_limits)
                return lease
            desk.let_go_of_others(owner, server, keep_offer=request.gpus == 0)
            ask = desk.ask(request, owner=owner, server=server, image=image, party=party, terms=terms)
            queue = queue and request.wait
            outcome = self._decide(unit, desk, ask, claimant=claimant, digest=digest, queue=queue)
            if isinstance(outcome, Lease):
                _keep_with(unit, outcome, choices or request, idle_limits)
        # A refusal is raised when what it leaves behind, a place or a line in the audit trail, is written.
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def _require_inventory(self, unit: LedgerUnit, now: datetime) -> None:
        """Raises: Refused, if nothing believable is known of the devices."""
        unknown = why_nothing_is_known(unit.inventory(self._host), now=now, stale_after=self._stale_after)
        if unknown is not None:
            raise Refused(RefusalKind.NO_INVENTORY, unknown)

    def _decide(
        self, unit: LedgerUnit, desk: Desk, ask: Ticket, *, claimant: str, digest: str | None, queue: bool
    ) -> Lease | Refused:
        """Grant a request its devices, keep a place in line for it if it may wait, or note why not."""
        request, owner = ask.request, ask.owner
        try:
            self._judge(unit, request, owner)
            grant = desk.find_turn(ask)
        except Refused as error:
            refusal = error
        else:
            if isinstance(grant, Grant):
                return desk.grant(grant, claimant=claimant, digest=digest)
            if queue:
                desk.keep_place(ask, grant)
                return InLine(grant.reason, ticket_id=ask.id, ahead=grant.ahead)
            refusal = Refused(RefusalKind.NOT_NOW, grant.reason)
        _note_refusal(unit, _refusal_event(refusal, request, owner, self._clock()))
        return refusal

    def _judge(self, unit: LedgerUnit, request: SpawnRequest, owner: str) -> None:
        """What is refused however long one waits. Raises: Refused."""
        live, now = unit.live_leases(self._host, owner=owner), self._clock()
        judge_quota(request, owner, live, self._allowance)
        if not request.gpus and (drain := find_stop(unit.drains(self._host), now)):
            why = why_drained(drain, now)
            raise Refused(RefusalKind.NOT_NOW, mark(f"No server without a GPU is started at present: {why}."))
        if request.gpus and self._allowance.gpu_hours_per_week.value is not None:
            held = held_in_window(unit, self._host, live, now, owner=owner).get(owner, {})
            running = count_running(live, owner)
            judge_budget(request.gpus, self._allowance.gpu_hours_per_week, held, running, now)
        inventory = unit.inventory(self._host)
        usable = judge_devices(request, inventory, self._allowance)
        require_possible(request, usable, now=now, stale_after=self._stale_after)

    def activate(self, lease_id: str, *, container_id: str, claimant: str) -> Lease:
        """Note that the container of a lease runs, and which run of the hub looks after it.

        Raises:
            IllegalTransition: The lease has been let go of meanwhile; the container must be ended.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            lease = _require(unit, lease_id)
            if lease.state is not LeaseState.ACTIVE:
                lease = step(lease, LeaseState.ACTIVE, now=now, reason=mark("the server runs"))
                unit.add_event(Event(now, "lease.active", lease.reason, "hub", lease.id))
            lease = replace(lease, container_id=container_id, claimant=claimant)
            unit.update_lease(lease)
            return lease

    def confirm(self, lease_id: str) -> Lease:
        """Make sure, between create and start, that a lease still holds the devices of its container.

        The agent gives up a reservation that takes too long, or that seems to because the clock was set; its
        devices may be another's by then. It does not do so without seeing that there is no container: one
        that was created before this is confirmed is seen by every release that comes after.

        Raises:
            IllegalTransition: The lease has been let go of meanwhile; the container must not be started.
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.read() as unit:
            lease = _require(unit, lease_id)
        if lease.state.ending:
            raise IllegalTransition(f"Your GPU was given back before your server was ready: {lease.reason}.")
        return lease

    def request_release(self, lease_id: str, *, reason: str, actor: str) -> None:
        """Let go of a lease; the agent proves its devices free. Does nothing if that has begun already.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            lease = unit.lease(lease_id)
            if lease is not None:
                let_go(unit, lease, self._clock(), reason, actor)

    def last_end(self, owner: str, server: str) -> LastEnd | None:
        """What is to be told of a server that does not run; None for nothing. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return find_last_end(unit, self._host, owner, server, self._clock())

    def choices(self, owner: str, again: str) -> SpawnRequest:
        """What a person asked for before.

        Args:
            owner: The person.
            again: From :class:`~gpuspawner.core.endings.LastEnd`; anything may have been sent.

        Raises:
            NotFound: There is no such session or place in line of theirs.
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.read() as unit:
            return find_choices(unit, owner, again)

    def home_of(self, owner: str) -> Home | None:
        """Where a person's files are, if they have a home yet. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.home_of(owner)

    def ensure_home(self, fresh: Home) -> Home:
        """Return the home of ``fresh.owner``, binding ``fresh`` to them if they have none.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            known = unit.home_of(fresh.owner)
            if known is None:
                now = self._clock()
                unit.put_home(fresh, now)
                unit.add_event(
                    Event(
                        now, "home.created", mark("first server"), fresh.owner, data={"source": fresh.source}
                    )
                )
            return known or fresh


def _keep_with(unit: LedgerUnit, lease: Lease, choices: SpawnRequest, limits: Limits | None) -> None:
    """Store with a lease what its session was started with, and under which limits."""
    unit.put_choices(lease.id, choices)
    if limits is not None:
        unit.put_watches([Watch(lease.id, limits, begin_activity(lease.created_at))])


def _note_refusal(unit: LedgerUnit, event: Event) -> None:
    """Store a refusal, but not the same one over and over: anybody can ask as often as they like."""
    if not unit.has_event_since(event.at - SAME_REFUSAL_AGAIN, event):
        unit.add_event(event)


def _refusal_event(error: Refused, request: SpawnRequest, owner: str, now: datetime) -> Event:
    wanted: dict[str, object] = {"gpus": request.gpus, "model": request.model, "kind": error.kind.value}
    return Event(now, "lease.refused", str(error), owner, data=wanted)


def _require(unit: LedgerUnit, lease_id: str) -> Lease:
    lease = unit.lease(lease_id)
    if lease is None:
        raise LedgerError(f"Lease {lease_id} is not in the ledger. Was the ledger restored from a backup?")
    return lease
