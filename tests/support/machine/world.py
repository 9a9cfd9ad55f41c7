"""The installation: what runs on one GPU server, the people at its doors, and time."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.agent.errands import Errands
from gpuspawner.agent.tick import Keeper
from gpuspawner.allocator import Allocator, Cards, Sessions
from gpuspawner.allocator.line import Line
from gpuspawner.allocator.reservations import Reservations
from gpuspawner.controller.ends import EndSessions, SteadyClock
from gpuspawner.controller.hubcalls import After, HubCalls
from gpuspawner.controller.loop import Tick
from gpuspawner.controller.turns import KeepTurns
from gpuspawner.core.claims import Reservation, Terms, Ticket
from gpuspawner.core.container import LABEL_LEASE
from gpuspawner.core.coursechoice import find_courses, keep_course
from gpuspawner.core.errors import EngineError, Refused
from gpuspawner.core.model import ContainerState, GpuProcess, ImageNeeds, Lease, Party, SpawnRequest
from gpuspawner.core.policy import Allowance, Policy, allow, find_party, find_terms
from gpuspawner.core.quota import choose_image, judge_devices, judge_quota

from support.build import HOST, NOW
from support.fake_engine import POINTS, FakeContainer, FakeEngine
from support.fake_probe import FakeProbe
from support.reservations import person

from .hub import Hub
from .ledger import Killed, WatchedLedger
from .people import CATALOGUE, GROUPS, POLICIES, find_allowance
from .watch import Watch

STALE = timedelta(seconds=30)
CARDS = 4
SETTLE_SECONDS = 10.0


class PromptCalls(HubCalls):
    """Waits for every call, so that a run can be repeated; what takes long is the fake Hub's own business."""

    def begin(self, key: str, call: Callable[[], None], after: After | None = None) -> bool:
        begun = super().begin(key, call, after)
        self.finish(SETTLE_SECONDS)
        return begun


class PromptEnds(EndSessions):
    """The same for the stops of sessions that have come to their end."""

    def _stop(self, lease: Lease) -> None:
        super()._stop(lease)
        self.finish(SETTLE_SECONDS)


class PromptErrands(Errands):
    """The same for the agent's work on containers; one that is killed at it does nothing more."""

    def begin(self, container_id: str, lease_id: str, work: Callable[[], str | None]) -> bool:
        begun = super().begin(container_id, lease_id, work)
        with suppress(Exception):
            self._under_way[container_id].call.result(time.monotonic() + SETTLE_SECONDS)
        return begun


class World:
    """One installation.

    Args:
        folder: An empty one.
        template: A ledger that has been migrated.
        make_allocator: The allocator of the hub.
        make_ledger: The ledger of everybody.
    """

    def __init__(
        self,
        folder: Path,
        template: Path,
        make_allocator: Callable[..., Allocator] = Allocator,
        make_ledger: Callable[..., WatchedLedger] = WatchedLedger,
    ) -> None:
        shutil.copy(template, folder / "ledger.db")
        self.lock_path = folder / "ledger.db.hub.lock"
        self.now: datetime = NOW
        self.seconds = 0.0
        """Only goes forward, whatever is done to the clock."""
        self.policy: Policy = POLICIES[0]
        self._ids = itertools.count()
        self._true_token_hex = secrets.token_hex
        secrets.token_hex = self._make_id
        self.watch = Watch(self.clock, lambda: self.policy, self.why_in_use)
        self.ledger = make_ledger(folder / "ledger.db", self.watch.look)
        with self.ledger.read() as unit:
            self.engine = FakeEngine(unit.ledger_id())
        self.probe = FakeProbe(HOST, CARDS, self.clock)
        self._allocator_class = make_allocator
        self.strangers: set[str] = set()
        self.residues: dict[str, str] = {}
        """Cards on which something of a container is left that has ended, with the container's lease."""
        self.opened: set[str] = set()
        """Leases in whose server somebody works."""
        self.wrongs = self.watch.wrongs
        self.hub = Hub(self)
        self.hub.boot()
        self.keeper = self.new_agent()
        self.start_controller()
        self.tick_agent()

    def close(self) -> None:
        secrets.token_hex = self._true_token_hex
        self.keeper.finish(1)
        self.hub.crash()
        self.ledger.close()

    def _make_id(self, nbytes: int = 16) -> str:
        """Like random ones in that their order says nothing, and the same in every run."""
        return hashlib.sha256(str(next(self._ids)).encode()).hexdigest()[: 2 * nbytes]

    def next_id(self) -> str:
        """A name that nothing has yet."""
        return self._make_id(8)

    # -- time -----------------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    def set_clock(self, by: timedelta) -> None:
        self.now += by

    # -- processes ------------------------------------------------------------------------------------------

    def make_allocator(self, allowance: Allowance | None = None) -> Allocator:
        return self._allocator_class(self.ledger, HOST, allowance or allow(), STALE, self.clock)

    def new_agent(self) -> Keeper:
        self.keeper = Keeper(self.ledger, self.engine, self.probe, HOST, self.lock_path, clock=self.clock)
        self.keeper._errands = PromptErrands()
        return self.keeper

    def start_controller(self) -> None:
        """A controller that knows nothing but what is in the ledger."""
        self.line = Line(self.ledger, HOST, STALE, self.clock)
        self.cards = Cards(self.ledger, HOST, self.clock)
        self.reservations = Reservations(self.ledger, HOST, self.clock)
        self.turns = KeepTurns(
            self.line,
            self.hub,
            was_opened=self.was_opened,
            clock=self.clock,
            calls=PromptCalls(self.monotonic),
            looks=PromptCalls(self.monotonic),
        )
        self.ends = PromptEnds(
            Sessions(self.ledger, HOST, self.clock),
            self.hub,
            SteadyClock(self.clock, self.monotonic),
            monotonic=self.monotonic,
        )
        self.tick = Tick(
            [
                ("office", self._keep_office),
                ("turns", self.turns),
                ("ends", self.ends),
            ]
        )

    def _keep_office(self) -> tuple[str, ...]:
        self.line.refresh(self.find_terms)
        self.cards.expire_drains()
        self.reservations.return_unused()
        self.reservations.close_past()
        return ()

    def tick_controller(self) -> None:
        self._note(self.tick.run().problems)

    def tick_agent(self) -> None:
        self._show_processes()
        self._note(self.keeper.tick(settle_seconds=SETTLE_SECONDS).problems)

    def _note(self, problems: Iterable[str]) -> None:
        """The ledger is well here: what fails on it is a grant that its index refused, or a mistake."""
        self.wrongs += [one for one in problems if "unexpected" in one or "ledger" in one]

    def kill(self, who: str, writes: int, *, after: bool) -> None:
        """Let a process work until it makes so many writes; it dies before the next, or after it."""
        self.ledger.fuse.arm(writes, after=after)
        try:
            if who == "agent":
                self.tick_agent()
            elif who == "controller":
                self.tick_controller()
            else:
                self.run_hub()
        except Killed:
            pass
        finally:
            self.ledger.fuse.disarm()
        self.restart(who)

    def restart(self, who: str) -> None:
        if who == "agent":
            self.new_agent()
        elif who == "controller":
            self.start_controller()
        else:
            self.hub.crash()

    def run_hub(self) -> None:
        """Let the hub do everything that it has to do."""
        for key in sorted(self.hub.servers):
            self.hub.finish(key, quiet=True)
        for key in sorted(self.hub.servers):
            self.hub.poll(key)

    def count_events(self) -> Counter[str]:
        """How often each kind of event is in the audit trail."""
        with self.ledger.read() as unit:
            return Counter(event.kind for event in unit.recent_events(10_000))

    # -- the machine ----------------------------------------------------------------------------------------

    @property
    def engine_is_down(self) -> bool:
        return bool(self.engine.failures)

    def stop_engine(self) -> None:
        for point in POINTS:
            self.engine.fail(point)

    def start_engine(self) -> None:
        self.engine.failures.clear()

    def mend(self) -> None:
        """Everything that is broken is whole again; what the ledger says of it is another matter."""
        self.start_engine()
        self.probe.unhang()
        for uuid in self.probe.uuids:
            self.probe.restore(uuid)
        self.strangers.clear()
        self.residues.clear()
        if not self.hub.alive:
            self.hub.boot()

    @property
    def running(self) -> list[FakeContainer]:
        return [c for c in self.engine.containers.values() if c.state is ContainerState.RUNNING]

    def end_container(self, container: FakeContainer, *, leaves_something: bool) -> None:
        """A container ends by itself; a process of it may hang on its cards for a while."""
        self.engine.end(container.id, 1)
        if leaves_something:
            self.residues |= dict.fromkeys(container.devices, container.labels[LABEL_LEASE])

    def _show_processes(self) -> None:
        """Every server that runs computes on its cards."""
        for n, card in enumerate(self.probe.cards):
            uuid = card.device.uuid
            ids = [c.id for c in self.running if uuid in c.devices]
            found = {10 + n: GpuProcess(10 + n, 1 << 20, ids[0])} if ids else {}
            if uuid in self.strangers:
                found[20 + n] = GpuProcess(20 + n, 1 << 20)
            if uuid in self.residues:
                found[30 + n] = GpuProcess(30 + n, 1 << 20)
            card.processes = found
            card.memory_mib = 1000 if found else 0

    def why_in_use(self, uuid: str, lease_id: str) -> str | None:
        """Who else than this lease has to do with a card, as nobody here can know for certain."""
        for container in self.running:
            if uuid in container.devices and container.labels.get(LABEL_LEASE) != lease_id:
                return f"container {container.name} of lease {container.labels.get(LABEL_LEASE)} runs on it"
        left = self.residues.get(uuid)
        return f"a process of lease {left} is on it" if left else None

    def was_opened(self, lease: Lease) -> bool:
        if self.engine_is_down:
            raise EngineError("The Docker Engine did not locate.")
        return lease.id in self.opened

    # -- reservations ---------------------------------------------------------------------------------------

    @property
    def standing(self) -> tuple[Reservation, ...]:
        return self.reservations.standing()

    def cancel_reservations(self, most: int | None = None) -> None:
        """Cancel so many of them; all if no number is given."""
        for one in self.standing[:most]:
            self.reservations.cancel(one.id, actor=person("root"), reason="not needed")

    # -- the line -------------------------------------------------------------------------------------------

    def ask(self, person: str, server: str, request: SpawnRequest) -> Ticket:
        """What the controller's API does: judge, then take a place in line. Raises: Refused."""
        request, image, party, terms = self._judge(person, request)
        return self.line.ask(
            request, owner=person, server=server, party=party, terms=terms, image=CATALOGUE[image]
        )

    def change(self, ticket: Ticket, request: SpawnRequest) -> Ticket:
        """Judge, then change what a ticket asks for. Raises: Refused, InvalidRequest, NotFound."""
        request, image, party, terms = self._judge(ticket.owner, request)
        return self.line.change(
            ticket.id, request, party=party, terms=terms, image=CATALOGUE[image], actor=ticket.owner
        )

    # -- policy ---------------------------------------------------------------------------------------------

    def find_terms(self, ticket: Ticket) -> tuple[Party, Terms, ImageNeeds | None] | str:
        """What a ticket's person may use now, or why they may not have it any more."""
        try:
            return (*self._judge(ticket.owner, ticket.request)[2:], ticket.request.needs)
        except Refused as error:
            return str(error)

    def _judge(self, person: str, request: SpawnRequest) -> tuple[SpawnRequest, str, Party, Terms]:
        """The request, the image, and whom a session counts for; Refused when no waiting would help."""
        allowance = find_allowance(self.policy, person)
        judge_quota(request, person, (), allowance)
        with self.ledger.read() as unit:
            judge_devices(request, unit.inventory(HOST), allowance)
        image = choose_image(request, list(CATALOGUE), allowance)
        request = keep_course(request, image, find_courses(self.policy, person, GROUPS[person]))
        party = find_party(self.policy, person, GROUPS[person], request.course)
        return request, image, party, find_terms(self.policy, party, allowance)


def make_template(folder: Path) -> Path:
    """An empty ledger to copy: migrating one takes longer than a run does."""
    path = folder / "ledger.db"
    ledger = Ledger(path)
    with ledger.read():
        pass
    ledger.close()
    return path
