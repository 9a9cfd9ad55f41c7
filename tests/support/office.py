"""Two cards and a line over the real ledger, with what a hub and the agent would do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator
from gpuspawner.allocator.line import Line
from gpuspawner.core.claims import Terms, Ticket
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.policy import allow

from .build import HOST, NOW, record

STALE = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)


class Office:
    """Time stands still until somebody waits. People may hold two GPUs."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now: datetime = NOW
        self.allocator = Allocator(ledger, HOST, allow(2, 2), STALE, self.clock)
        self.line = Line(ledger, HOST, STALE, self.clock)
        self.wait(0)

    def clock(self) -> datetime:
        return self.now

    def wait(self, minutes: float) -> None:
        """Time passes, and the cards are seen again."""
        self.now += minutes * MINUTE
        with self.ledger.write() as unit:
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n, seen_at=self.now))

    def start(
        self,
        gpus: int = 1,
        owner: str = "ada",
        queue: bool = True,
        turn: str | None = None,
        **wanted: Any,
    ) -> Lease:
        return self.allocator.reserve(
            SpawnRequest(gpus, **wanted),
            owner=owner,
            server="",
            claimant="run1",
            image="base",
            party=_party(wanted),
            queue=queue,
            turn=turn,
        )

    def ask(self, gpus: int = 1, owner: str = "ada", server: str = "", **wanted: Any) -> Ticket:
        return self.line.ask(
            SpawnRequest(gpus, **wanted),
            owner=owner,
            server=server,
            party=_party(wanted),
            terms=Terms(),
            image="base",
        )

    def change(self, ticket: Ticket, request: SpawnRequest) -> Ticket:
        return self.line.change(
            ticket.id,
            request,
            party=_party({"course": request.course}),
            terms=Terms(),
            image="base",
            actor=ticket.owner,
        )

    def free(self, lease: Lease) -> None:
        """Its person lets go of it, and the agent proves its devices free."""
        self.allocator.request_release(lease.id, reason="stopped", actor=lease.owner)
        with self.ledger.write() as unit:
            for old in unit.live_leases(HOST):
                if old.state is LeaseState.RELEASING:
                    unit.update_lease(
                        step(old, LeaseState.RELEASED, now=self.now, reason=old.reason, evidence="seen")
                    )

    def offer(self, gpus: int = 1, **wanted: Any) -> Ticket:
        """Ada's turn has come."""
        self.ask(gpus, **wanted)
        (ticket,) = self.line.grant_turns()
        return ticket

    def ticket(self, ticket: Ticket) -> Ticket:
        with self.ledger.read() as unit:
            found = unit.ticket(ticket.id)
        assert found
        return found

    def lease_of(self, ticket: Ticket) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease(ticket.lease_id or "")
        assert found
        return found

    def activate(self, lease: Lease) -> Lease:
        """Its container runs."""
        return self.allocator.activate(lease.id, container_id="c1", claimant="run1")

    def events(self, prefix: str) -> list[str]:
        with self.ledger.read() as unit:
            return [event.kind for event in reversed(unit.recent_events(100, prefix=prefix))]


def _party(wanted: Mapping[str, Any]) -> Party:
    course = wanted.get("course")
    return Party((), (course,)) if course else Party()
