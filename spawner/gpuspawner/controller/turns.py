"""The step that gives turns: offer, start the server, see whether its person comes, or give it on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from gpuspawner.allocator.line import Line
from gpuspawner.allocator.places import Turn
from gpuspawner.core.coursechoice import adapt_to_party
from gpuspawner.core.errors import GpuSpawnerError, HubError
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.words import mark
from gpuspawner.policy.options import write_options
from gpuspawner.ports import HubApi

from .hubcalls import HubCalls

TOO_SLOW = mark("its server could not be started in time")
NOT_CLAIMED = mark("it was your turn, and nobody opened the server in time")


class KeepTurns:
    """Orders nothing itself: the line says whose turn it is, and this carries it out through the Hub.

    Everything it knows is in the ledger, so that another controller goes on where this one was killed.

    Args:
        line: The line.
        hub: Starts and stops servers.
        was_opened: Whether somebody works in the server of a lease: asks the server itself.
        clock: Says the present.
        calls: Starts and stops under way.
        looks: Questions to servers under way.
    """

    def __init__(
        self,
        line: Line,
        hub: HubApi,
        *,
        was_opened: Callable[[Lease], bool],
        clock: Callable[[], datetime],
        calls: HubCalls,
        looks: HubCalls,
    ) -> None:
        self._line, self._hub, self._was_opened, self._clock = line, hub, was_opened, clock
        self._calls, self._looks = calls, looks
        self._began = False

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError."""
        problems = self._calls.collect()
        # A server that does not answer yet is no problem: it is asked again.
        self._looks.collect()
        self._line.grant_turns()
        for turn in self._line.turns():
            if not self._began and self._is_late(turn) and not turn.over:
                # It became so without a controller, when nobody could claim anything.
                self._line.hold(turn.ticket.id)
            else:
                self._look_after(turn)
        self._began = True
        return problems

    def finish(self, wait_seconds: float) -> None:
        """Wait for the calls that are under way."""
        self._calls.finish(wait_seconds)

    def _is_late(self, turn: Turn) -> bool:
        claim_by = turn.ticket.claim_by
        return claim_by is not None and self._clock() > claim_by

    def _look_after(self, turn: Turn) -> None:
        ticket, lease, late = turn.ticket, turn.lease, self._is_late(turn)
        missed = late and ticket.switch_at is None
        if lease is None or turn.over:
            why = lease.reason if lease else mark("what was reserved is gone")
            reason = NOT_CLAIMED if missed else mark(f"its server did not come up: {why}")
            self._line.lapse(ticket.id, reason=reason, at_the_end=missed)
        elif turn.unfit is not None:
            # Before a server that runs is stopped for it, and before one is started on a bad card.
            self._line.lapse(ticket.id, reason=turn.unfit, at_the_end=False)
        elif turn.started:
            self._look_after_started(turn, lease, late)
        elif turn.other is None:
            if late and self._calls.under_way(f"start-{lease.id}"):
                self._line.hold(ticket.id)
            elif late:
                self._line.lapse(ticket.id, reason=TOO_SLOW, at_the_end=False)
            else:
                self._start(turn)
        elif late:
            self._line.lapse(ticket.id, reason=NOT_CLAIMED if missed else TOO_SLOW, at_the_end=missed)
        elif ticket.switch_at is not None:
            self._stop_other(turn)

    def _look_after_started(self, turn: Turn, lease: Lease, late: bool) -> None:
        ticket = turn.ticket
        if ticket.switch_at is not None:
            # Whoever claimed it before it ran is there.
            self._line.opened(ticket.id)
        elif lease.state is not LeaseState.ACTIVE or self._calls.under_way(f"start-{lease.id}"):
            if late:
                # A start that takes long is not its person's delay; the agent ends one that takes too long.
                self._line.hold(ticket.id)
        elif late:
            self._give_on(turn)
        else:
            self._looks.begin(f"look-{lease.id}", partial(self._look, turn))

    def _look(self, turn: Turn) -> None:
        if turn.lease is not None and self._was_opened(turn.lease):
            self._line.opened(turn.ticket.id)

    def _start(self, turn: Turn) -> None:
        ticket = turn.ticket
        if self._calls.under_way(f"switch-{ticket.lease_id}"):
            return  # the Hub still stops what ran before

        def start() -> None:
            there = self._hub.server(ticket.owner, ticket.server)
            if there is not None and there.pending == "stop":
                raise HubError(f"The server of {ticket.owner} that ran before is still being stopped.")
            options = write_options(adapt_to_party(ticket.request, ticket.party), turn=ticket.id)
            self._hub.start_server(ticket.owner, ticket.server, options)

        self._calls.begin(f"start-{ticket.lease_id}", start, partial(self._after_start, turn))

    def _after_start(self, turn: Turn, error: GpuSpawnerError | None) -> None:
        ticket = turn.ticket
        status = error.status if isinstance(error, HubError) else None
        if status is not None and 400 <= status < 500 and status != 429:
            reason = mark(f"its server could not be started: {error}")
            self._line.lapse(ticket.id, reason=reason, at_the_end=False)
        elif error is not None:
            # The Hub is away or busy: that is nobody's delay but ours.
            self._line.hold(ticket.id)

    def _stop_other(self, turn: Turn) -> None:
        ticket, other = turn.ticket, turn.other
        if other is not None:
            self._calls.begin(
                f"switch-{ticket.lease_id}",
                lambda: self._hub.stop_server(ticket.owner, ticket.server),
                lambda error: self._line.hold(ticket.id) if error else None,
            )

    def _give_on(self, turn: Turn) -> None:
        """Nobody came: the server that was started for the turn is stopped, unless somebody came just now.

        The turn is over when the lease has been let go of, and not before: the Hub may be killed in between.
        """
        ticket, lease = turn.ticket, turn.lease

        def stop() -> None:
            if lease is not None and lease.state is LeaseState.ACTIVE and self._opened_now(lease):
                self._line.opened(ticket.id)
                return
            self._hub.stop_server(ticket.owner, ticket.server)

        self._calls.begin(f"give-on-{ticket.lease_id}", stop)

    def _opened_now(self, lease: Lease) -> bool:
        try:
            return self._was_opened(lease)
        except GpuSpawnerError:
            # A server that does not answer is nobody's at work.
            return False
