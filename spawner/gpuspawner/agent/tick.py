"""One look at the world and what follows from it: gather, plan, apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import find_dead_claimants
from gpuspawner.allocator import utc_now
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import Container, DeviceReading, DeviceRecord, Lease
from gpuspawner.core.reconcile import Action, Collect, Patience, StopContainer, World, plan_reconcile
from gpuspawner.ports import ContainerEngine, GpuProbe, ProbeReport

from .accounts import Books
from .actions import Actions
from .errands import Errands, PromptList
from .inventory import Inventory, take_inventory, without_stamps

SAMPLE_SECONDS = 10
"""How often samples are kept and use is accounted for."""
RENEW_EVERY = timedelta(seconds=10)
"""How often a card's ``seen_at`` is renewed if nothing else changed; well under the age of a stale one."""
RAW_SAMPLES_LIVE = timedelta(days=1)
ROLL_UP_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tick gathered, in the order in which it was seen."""

    busy: frozenset[str]
    """Leases whose container was being worked on; they are left alone."""
    leases: tuple[Lease, ...]
    previous: tuple[DeviceRecord, ...]
    dead_claimants: frozenset[str]
    containers: Sequence[Container] | None
    listed_at: datetime
    report: ProbeReport
    leases_after: tuple[Lease, ...]
    """The live leases again, if a container named one that was not among the first."""
    ended_leases: frozenset[str]
    now: datetime
    done: tuple[str, ...]
    """Work on containers that ended since the last tick."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick did."""

    applied: tuple[str, ...]
    problems: tuple[str, ...]


class Keeper:
    """Keeps inventory, leases and containers of one host in agreement.

    Args:
        ledger: The ledger.
        engine: The Docker Engine.
        probe: The driver.
        host: Name of this host.
        hub_lock: The lock file of the hub on the same ledger.
        patience: How long things may take.
        clock: Says the present.
        sample_seconds: How often samples are kept and use is accounted for.
    """

    def __init__(
        self,
        ledger: Ledger,
        engine: ContainerEngine,
        probe: GpuProbe,
        host: str,
        hub_lock: Path,
        *,
        patience: Patience | None = None,
        clock: Callable[[], datetime] = utc_now,
        sample_seconds: float = SAMPLE_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._list = PromptList(engine)
        self._probe = probe
        self._host = host
        self._hub_lock = hub_lock
        self._patience = patience or Patience()
        self._clock = clock
        self._every = timedelta(seconds=sample_seconds)
        self._errands = Errands()
        self._books = Books(host)
        self._actions = Actions(ledger, engine, clock, self._books)
        self._sampled_at: datetime | None = None
        self._renewed_at: datetime | None = None
        self._rolled_up_at: datetime | None = None
        self._untold_xids: dict[str, tuple[int, ...]] = {}

    def tick(
        self, *, stopping: Callable[[], bool] = lambda: False, settle_seconds: float = 0.0
    ) -> TickReport:
        """Gather, plan, apply.

        Args:
            stopping: Asked between actions; once it is true no further one is begun.
            settle_seconds: How long to wait at the end for work on containers.

        Raises:
            LedgerError: The ledger cannot be used. What was begun is taken up by a later tick.
        """
        seen = self._gather()
        self._books.note(seen.report.devices, seen.previous)
        inventory, actions = self._plan(seen)
        self._write_inventory(seen, inventory)
        written = self._apply(actions, stopping)
        self._roll_up(seen.now)
        done, problems = self._errands.collect(settle_seconds)
        return TickReport((*seen.done, *written, *done), (*seen.problems, *problems))

    def finish(self, wait_seconds: float) -> None:
        """Wait for work on containers that is under way; what remains is done again at the next start."""
        self._errands.collect(wait_seconds)

    # -- gather ---------------------------------------------------------------------------------------------

    def _gather(self) -> Seen:
        done, problems = self._errands.collect()
        busy = self._errands.lease_ids
        with self._ledger.read() as unit:
            leases, previous = unit.live_leases(self._host), unit.inventory(self._host)
        dead = find_dead_claimants(self._hub_lock, self._ledger.path, {lease.claimant for lease in leases})
        containers: Sequence[Container] | None = None
        try:
            containers = self._list.read()
        except EngineError as error:
            problems.append(str(error))
        listed_at = self._clock()
        report = self._look()
        unread = {c.lease_id for c in containers or () if c.lease_id} - {lease.id for lease in leases}
        ended: frozenset[str] = frozenset()
        leases_after = leases
        if unread:
            with self._ledger.read() as unit:
                ended, leases_after = unit.released_among(unread), unit.live_leases(self._host)
        return Seen(
            busy=busy,
            leases=leases,
            previous=previous,
            dead_claimants=dead,
            containers=containers,
            listed_at=listed_at,
            report=report,
            leases_after=leases_after,
            ended_leases=ended,
            now=self._clock(),
            done=tuple(done),
            problems=tuple(problems),
        )

    def _look(self) -> ProbeReport:
        """Look at the cards. The driver tells an XID once: it is kept until the ledger has it."""
        report = self._probe.look()
        readings: list[DeviceReading] = []
        for reading in report.devices:
            xids = self._untold_xids.pop(reading.uuid, ()) + reading.xids
            readings.append(replace(reading, xids=xids))
        self._untold_xids |= {r.uuid: r.xids for r in readings if r.xids}
        return replace(report, devices=tuple(readings))

    # -- plan -----------------------------------------------------------------------------------------------

    def _plan(self, seen: Seen) -> tuple[Inventory, tuple[Action, ...]]:
        inventory = self._take_inventory(seen, seen.previous)
        world = World(
            leases=[lease for lease in seen.leases if lease.id not in seen.busy],
            ended_leases=seen.ended_leases,
            dead_claimants=seen.dead_claimants,
            containers=seen.containers,
            listed_at=seen.listed_at,
            readings={reading.uuid: reading for reading in seen.report.devices},
            baselines=inventory.baselines,
            now=seen.now,
        )
        return inventory, plan_reconcile(world, self._patience)

    def _take_inventory(
        self, seen: Seen, previous: Sequence[DeviceRecord], absent: Sequence[DeviceRecord] = ()
    ) -> Inventory:
        return take_inventory(seen.report, previous, absent, seen.leases_after, seen.containers, now=seen.now)

    # -- apply ----------------------------------------------------------------------------------------------

    def _write_inventory(self, seen: Seen, inventory: Inventory) -> None:
        sampling = _due(self._sampled_at, seen.now, self._every)
        renewing = _due(self._renewed_at, seen.now, min(self._every, RENEW_EVERY))
        changed = without_stamps(inventory.records) != without_stamps(seen.previous)
        if not (changed or inventory.events or sampling or renewing):
            return
        with self._ledger.write() as unit:
            # From the records as they are now: an administrator may have cleared a fault since.
            fresh = self._take_inventory(seen, unit.inventory(self._host), unit.absent_devices(self._host))
            for record in fresh.records:
                unit.put_device(record)
            unit.drop_devices(self._host, [record.device.uuid for record in fresh.records])
            for event in fresh.events:
                unit.add_event(event)
            if sampling:
                found = [(r.uuid, r.sample) for r in seen.report.devices if r.sample]
                unit.add_samples(self._host, [(id_, self._books.sum_up(id_, one)) for id_, one in found])
                # Until the list, which came before the look: what the cards did until then is known.
                self._books.write(unit, until=seen.listed_at, now=seen.now, containers=seen.containers or ())
        if sampling:
            self._books.forget(seen.listed_at)
        self._renewed_at = seen.now
        self._sampled_at = seen.now if sampling else self._sampled_at
        for reading in seen.report.devices:
            self._untold_xids.pop(reading.uuid, None)

    def _apply(self, actions: Sequence[Action], stopping: Callable[[], bool]) -> list[str]:
        done: list[str | None] = []
        for action in actions:
            if stopping():
                break
            match action:
                case StopContainer(container=container, lease_id=lease_id):
                    self._errands.begin(container.id, lease_id, partial(self._actions.stop, action))
                case Collect(container=container, lease=lease):
                    self._errands.begin(container.id, lease.id, partial(self._actions.collect, action))
                case _:
                    done.append(self._actions.write(action))
        return [text for text in done if text]

    def _roll_up(self, now: datetime) -> None:
        if _due(self._rolled_up_at, now, ROLL_UP_EVERY):
            with self._ledger.write() as unit:
                unit.roll_up_samples(now - RAW_SAMPLES_LIVE)
            self._rolled_up_at = now


def _due(last: datetime | None, now: datetime, every: timedelta) -> bool:
    """Whether it is time again. A clock that was set back makes everything due."""
    return last is None or not timedelta(0) <= now - last < every
