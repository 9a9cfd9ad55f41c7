"""The step that lets nothing go on of people whom an administrator has removed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from gpuspawner.allocator.identities import Identities
from gpuspawner.allocator.line import Line
from gpuspawner.allocator.sessions import Sessions
from gpuspawner.core.errors import GpuSpawnerError, NotFound
from gpuspawner.core.identity import Identity
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.words import mark
from gpuspawner.ports import HubApi

from .hubcalls import HubCalls

REMOVED = mark("an administrator has closed this hub to its person")


class EndLeavers:
    """Ends their places in line, stops their servers, and has the Hub forget them: logins and API tokens.

    Their homes are the ledger's, and stay. What is not done yet is known from the ledger, by any controller.

    Args:
        people: Who was removed.
        sessions: What runs.
        line: Who waits.
        hub: Stops servers, and forgets people.
        calls: Calls under way.
    """

    def __init__(
        self, people: Identities, sessions: Sessions, line: Line, hub: HubApi, calls: HubCalls
    ) -> None:
        self._people, self._sessions, self._line, self._hub = people, sessions, line, hub
        self._calls = calls

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError."""
        problems = self._calls.collect()
        leavers = self._people.leaving()
        if leavers:
            live = self._sessions.live()
            for one in leavers:
                self._leave_line(one.name)
                self._end(one, [lease for lease in live if lease.owner == one.name and _runs(lease)])
        return problems

    def _leave_line(self, name: str) -> None:
        with self._line.ledger.read() as unit:
            theirs = [ticket.id for ticket in unit.live_tickets(self._line.host) if ticket.owner == name]
        for ticket_id in theirs:
            with suppress(NotFound):  # it came to an end meanwhile
                self._line.leave(ticket_id, actor="controller", reason=REMOVED)

    def _end(self, leaver: Identity, running: list[Lease]) -> None:
        for lease in running:
            stop = partial(self._hub.stop_server, lease.owner, lease.server)
            self._calls.begin(f"stop-{lease.id}", stop)
        if running:
            return  # the Hub forgets nobody whose servers it still has

        def note(error: GpuSpawnerError | None) -> None:
            if error is None:
                self._people.is_gone(leaver)

        self._calls.begin(f"remove-{leaver.name}", partial(self._hub.remove_user, leaver.name), note)

    def finish(self, wait_seconds: float) -> None:
        """Wait for the calls that are under way."""
        self._calls.finish(wait_seconds)


def _runs(lease: Lease) -> bool:
    return lease.state in (LeaseState.RESERVED, LeaseState.ACTIVE)
