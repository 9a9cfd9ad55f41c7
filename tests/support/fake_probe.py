"""A driver without a card: the same commands as the simulation, and the same port as NVML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gpuspawner.core.model import Device, DeviceReading, GpuProcess, Sample
from gpuspawner.ports import ProbeReport

MEBIBYTE = 1024 * 1024
IDLE_MIB = 4


def _uuid(index: int) -> str:
    return f"GPU-{index:08x}-0000-4000-8000-000000000000"


def _model(index: int, cards: int) -> str:
    return "Fake A" if index < (cards + 1) // 2 else "Fake B"


@dataclass
class FakeCard:
    device: Device
    utilization: int = 0
    memory_mib: int = 0
    processes: dict[int, GpuProcess] = field(default_factory=dict)
    lost: bool = False
    hangs: bool = False
    recovery_action: int = 0
    xids: list[int] = field(default_factory=list)
    slices: list[Device] = field(default_factory=list)
    """MIG instances: they take the place of the card."""


class FakeProbe:
    """Keeps what was set until it is changed; XIDs are told once.

    Cards of one model are joined by 12 NVLinks, and others are on another socket.

    Args:
        host: The host's name.
        cards: How many.
        clock: Says the present.
    """

    def __init__(
        self, host: str = "host", cards: int = 4, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.cards = [
            FakeCard(
                Device(
                    host=host,
                    uuid=_uuid(n),
                    model=_model(n, cards),
                    memory_bytes=16384 * MEBIBYTE,
                    index=n,
                    compute_capability=(8, 0),
                    links=tuple(
                        (_uuid(m), 1200 if _model(m, cards) == _model(n, cards) else 10)
                        for m in range(cards)
                        if m != n
                    ),
                )
            )
            for n in range(cards)
        ]
        self.driver_version = "580.00"
        self.missing_reason: str | None = None
        self.driver_replaced = False
        self.looks = 0
        self._clock = clock

    @property
    def uuids(self) -> list[str]:
        return [card.device.uuid for card in self.cards]

    def set_load(
        self,
        card: int | str,
        *,
        utilization: int = 0,
        memory_mib: int = 0,
        pid: int | None = None,
        container_id: str | None = None,
    ) -> None:
        found = self._find(card)
        found.utilization, found.memory_mib = utilization, memory_mib
        if pid is not None:
            found.processes[pid] = GpuProcess(pid, memory_mib * MEBIBYTE, container_id)

    def idle(self, card: int | str) -> None:
        found = self._find(card)
        found.utilization = found.memory_mib = 0
        found.processes.clear()

    def raise_xid(self, card: int | str, number: int, recovery: int = 0) -> None:
        found = self._find(card)
        found.xids.append(number)
        found.recovery_action = int(recovery)

    def lose(self, card: int | str) -> None:
        self._find(card).lost = True

    def restore(self, card: int | str) -> None:
        found = self._find(card)
        found.lost = found.hangs = False
        found.recovery_action = 0

    def hang(self, card: int | str | None = None) -> None:
        if card is None:
            self.missing_reason = "the driver did not answer within 5 s"
        else:
            self._find(card).hangs = True

    def unhang(self, card: int | str | None = None) -> None:
        if card is None:
            self.missing_reason = None
        else:
            self._find(card).hangs = False

    def set_mig(self, card: int | str, names: Sequence[str]) -> list[str]:
        """Divide a card into instances of these UUIDs, or make it whole."""
        found = self._find(card)
        whole = found.device
        found.slices = [
            replace(whole, uuid=name, model=f"{whole.model} MIG 1g.5gb", parent=whole.uuid) for name in names
        ]
        return list(names)

    def set_driver(self, version: str, *, mismatch: bool = False) -> None:
        self.driver_version = version
        self.missing_reason = "the NVIDIA driver was replaced while it was in use" if mismatch else None
        self.driver_replaced = mismatch

    def look(self) -> ProbeReport:
        self.looks += 1
        if self.missing_reason is not None:
            return ProbeReport(None, (), self.missing_reason, self.driver_replaced)
        found = tuple(r for card in self.cards for r in self._read(card))
        return ProbeReport(self.driver_version, found, driver_replaced=self.driver_replaced)

    def _read(self, card: FakeCard) -> list[DeviceReading]:
        xids = () if card.hangs else tuple(card.xids)
        card.xids = card.xids if card.hangs else []
        return [self._read_device(card, one, xids) for one in card.slices or [card.device]]

    def _read_device(self, card: FakeCard, device: Device, xids: tuple[int, ...]) -> DeviceReading:
        uuid = device.uuid
        if card.hangs:
            return DeviceReading(uuid, error="the driver did not answer within 5 s")
        if card.lost:
            return DeviceReading(uuid, error="the card is lost", lost=True, xids=xids)
        sample = Sample(
            at=self._clock(),
            utilization_percent=card.utilization,
            memory_used_bytes=(IDLE_MIB + card.memory_mib) * MEBIBYTE,
            temperature_celsius=40,
            power_milliwatts=50_000,
            processes=tuple(card.processes.values()),
        )
        return DeviceReading(uuid, device, sample, xids=xids, recovery_action=card.recovery_action)

    def _find(self, card: int | str) -> FakeCard:
        for found in self.cards:
            if card in (found.device.index, found.device.uuid):
                return found
        raise LookupError(f"the fake driver has no card {card!r}")
