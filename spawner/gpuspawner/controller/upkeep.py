"""Steps of the tick that keep the line and running sessions true to the policy and to the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Line, Reservations, Rosters, Sessions
from gpuspawner.allocator.usage import count_running, held_in_window
from gpuspawner.core.budget import describe_budget_end, find_budget_end
from gpuspawner.core.claims import Terms, Ticket
from gpuspawner.core.errors import Conflict, NotFound, Refused
from gpuspawner.core.model import DeviceRecord, ImageNeeds, Lease, LeaseState, Party
from gpuspawner.core.policy import Policy
from gpuspawner.core.words import mark
from gpuspawner.ports import ContainerEngine, HubApi

from .people import PolicyReader

SLACK = timedelta(minutes=1)
"""An end that is only so much later than the budget's is left as it is."""
LOOK_FOR_HOPELESS_SECONDS = 60.0
"""How often it is looked for those who wait for what is not there."""
LOOK_AT_ROSTERS_SECONDS = 60.0
"""How often it is looked for courses that have ended."""
GONE_SECONDS = 600.0
"""What has not been there for so long is not waited for."""
CAME_AFTER = timedelta(seconds=2)
"""Activity so long after a server's own start is somebody's."""


class KeepPolicy:
    """Judges the line anew when the policy or what an image needs has changed, and once at the start.

    So it does when a start has failed: the Hub may have refused it, since its person has left a group.

    Args:
        line: The line.
        hub: Knows everybody's groups.
        policies: The policy in force.
    """

    def __init__(self, line: Line, hub: HubApi, policies: PolicyReader) -> None:
        self._line, self._hub, self._policies = line, hub, policies
        self._applied: tuple[Policy, Mapping[str, ImageNeeds | None], Mapping[str, int]] | None = None

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: HubError, LedgerError, SettingsError: it is taken at a later tick."""
        now = self._policies.current(), self._policies.image_needs(), self._line.failures()
        if now == self._applied:
            return ()
        if not self._line.is_empty():
            groups, inventory = self._hub.users(), self._line.inventory()
            self._line.refresh(lambda ticket: self._judge(ticket, groups, inventory))
        self._applied = now
        return ()

    def _judge(
        self, ticket: Ticket, groups: Mapping[str, frozenset[str]], inventory: Sequence[DeviceRecord]
    ) -> tuple[Party, Terms, ImageNeeds | None] | str:
        mine = groups.get(ticket.owner)
        if mine is None:
            return mark("the hub does not know this person any more")
        try:
            wish = self._policies.judge(ticket.owner, mine, ticket.request, inventory)
        except Refused as error:
            return mark(f"the policy was changed: {error}")
        return wish.party, wish.terms, wish.request.needs


class EndHopeless:
    """Ends the places of those who wait for what the host has not had for a while.

    Not at once: a card that is parted into other slices, or moved, may be back in a moment.

    Args:
        line: The line.
        monotonic: Seconds that only go forward.
    """

    def __init__(self, line: Line, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._line, self._monotonic = line, monotonic
        self._looked_at = -LOOK_FOR_HOPELESS_SECONDS
        self._since: dict[str, float] = {}

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: LedgerError."""
        now = self._monotonic()
        if now - self._looked_at < LOOK_FOR_HOPELESS_SECONDS:
            return ()
        self._looked_at = now
        hopeless = self._line.hopeless()
        self._since = {ticket_id: self._since.get(ticket_id, now) for ticket_id in hopeless}
        for ticket_id, reason in hopeless.items():
            if now - self._since[ticket_id] >= GONE_SECONDS:
                with suppress(NotFound):  # its person has left meanwhile
                    self._line.leave(ticket_id, actor="controller", reason=reason)
        return ()


class KeepBudgets:
    """Gives running sessions an end when their person's GPU-hours are used up, with the whole first warning.

    At its start a session got the end that its person's budget then came to; another session of theirs may
    have brought that nearer.

    Args:
        ledger: Where sessions and accounts are.
        host: The host.
        sessions: The use cases.
        policies: The policy in force.
        clock: Says the present.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        sessions: Sessions,
        policies: PolicyReader,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._host, self._clock = ledger, host, clock
        self._sessions, self._policies = sessions, policies

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: LedgerError, SettingsError."""
        now = self._clock()
        running = [
            lease for lease in self._sessions.live() if lease.devices and lease.state is LeaseState.ACTIVE
        ]
        limits = {lease.owner: self._policies.gpu_hours(lease.owner, lease.party.groups) for lease in running}
        limited = {owner: limit for owner, limit in limits.items() if limit.value is not None}
        if not limited:
            return ()
        with self._ledger.read() as unit:
            live = unit.live_leases(self._host)
            held = held_in_window(unit, self._host, live, now)
        for lease in running:
            limit = limited.get(lease.owner)
            if limit is None:
                continue
            count = count_running(live, lease.owner)
            end = find_budget_end(limit.value, held.get(lease.owner, {}), count, now)
            if end is not None and (lease.ends_at is None or end + SLACK < lease.ends_at):
                try:
                    self._sessions.shorten(
                        lease.id,
                        end,
                        actor="policy",
                        reason=describe_budget_end(limit),
                        warn_minutes=self._policies.warn_minutes(),
                    )
                except Conflict:
                    continue  # it has ended meanwhile
        return ()


class ReturnSeats:
    """Gives back to all what nobody uses of the reservations that are on, and closes those that are over."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: LedgerError."""
        self._reservations.return_unused()
        self._reservations.close_past()
        return ()


class KeepRosters:
    """Lets people leave courses that have ended, and tells who left one until when their home is kept.

    Args:
        rosters: The use cases.
        monotonic: Seconds that only go forward.
    """

    def __init__(self, rosters: Rosters, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rosters, self._monotonic = rosters, monotonic
        self._looked_at = -LOOK_AT_ROSTERS_SECONDS

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: LedgerError: it is taken at the next tick."""
        now = self._monotonic()
        if now - self._looked_at < LOOK_AT_ROSTERS_SECONDS:
            return ()
        self._rosters.end_due()
        self._rosters.tell_of_homes()
        self._looked_at = now
        return ()


class ExpireDrains:
    """Gives cards back whose drain is over."""

    def __init__(self, cards: Cards) -> None:
        self._cards = cards

    def __call__(self) -> Iterable[str]:
        """Take the step. Raises: LedgerError."""
        self._cards.expire_drains()
        return ()


class SessionLook:
    """Whether somebody works in a server: asks the server itself, past the proxy, with its own token.

    Args:
        engine: Knows where servers listen.
        hub: Asks them.
    """

    def __init__(self, engine: ContainerEngine, hub: HubApi) -> None:
        self._engine, self._hub = engine, hub

    def __call__(self, lease: Lease) -> bool:
        """Whether it was used since it started. Raises: EngineError, HubError: nothing is known."""
        address = self._engine.locate(lease.container_id) if lease.container_id else None
        if address is None:
            return False
        seen = self._hub.session_activity(address.url, address.token)
        if seen is None:
            return False
        return seen.last_activity > (seen.started or lease.state_since) + CAME_AFTER
