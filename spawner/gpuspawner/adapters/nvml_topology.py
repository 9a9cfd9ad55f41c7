"""How GPUs are connected, as NVML tells it; the levels are those of :mod:`gpuspawner.core.topology`.

Connections do not change while the driver runs, and there are many pairs: each is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeVar

from gpuspawner.core.model import DeviceReading
from gpuspawner.core.topology import Link, Nearness, nearness_of_nvlinks

from .nvml_errors import INVALID_ARGUMENT, NOT_OFFERED

T = TypeVar("T")

_LEVELS = {
    0: Nearness.INTERNAL,
    10: Nearness.ONE_SWITCH,
    20: Nearness.MULTIPLE_SWITCHES,
    30: Nearness.HOST_BRIDGE,
    40: Nearness.NODE,
    50: Nearness.SYSTEM,
}
"""``nvmlGpuTopologyLevel_t``: the common ancestor of two cards on PCIe."""


Links = Mapping[str, tuple[Link, ...]]
"""The links of each device by its UUID."""


def find_whole(readings: Iterable[DeviceReading]) -> dict[int, str]:
    """UUIDs by NVML's index of the whole cards that answered."""
    devices = [reading.device for reading in readings if not reading.lost]
    return {d.index: d.uuid for d in devices if d and d.index is not None and d.parent is None}


def with_links(readings: Iterable[DeviceReading], links: Links) -> tuple[DeviceReading, ...]:
    """The readings, with the links of every device that was described."""
    return tuple(
        replace(reading, device=replace(reading.device, links=links.get(reading.uuid, ())))
        if reading.device
        else reading
        for reading in readings
    )


class _NotToldError(Exception):
    """The driver failed to answer; it is asked again at the next look."""


@dataclass(frozen=True, slots=True)
class _Wires:
    """The NVLinks of one card that are up and carry traffic between GPUs."""

    bus_id: str
    """The card's own PCI bus id."""
    to_switches: int
    """How many go to NVSwitches."""
    to_gpus: Mapping[str, int]
    """How many go to which PCI bus id directly."""

    def count(self, other: _Wires) -> int:
        """How many join this card with another one."""
        direct = max(self.to_gpus.get(other.bus_id, 0), other.to_gpus.get(self.bus_id, 0))
        # Every GPU of a host reaches every other one through its NVSwitches, with all of its links.
        return max(direct, min(self.to_switches, other.to_switches))


class Topology:
    """What one session of NVML has told of how its whole cards are connected.

    Only one thread at a time may read; ``links`` may be asked for in the meantime.

    Args:
        nvml: The module ``pynvml``.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._wires: dict[str, _Wires] = {}
        self._near: dict[tuple[str, str], int] = {}

    def lacks(self, cards: Mapping[int, str]) -> bool:
        """Whether some pair of these cards was not read yet.

        Args:
            cards: UUIDs of whole cards by NVML's index.
        """
        return any(pair not in self._near for pair in _pairs(cards.values()))

    def read(self, cards: Mapping[int, str]) -> None:
        """Read what is lacking of these cards; may hang if one of them does.

        What the driver fails to tell is left out and raises nothing.
        """
        handles = {}
        for index, uuid in cards.items():
            try:
                handle = self._call(self._nvml.nvmlDeviceGetHandleByIndex, index)
                if handle is not None and uuid not in self._wires:
                    self._wires[uuid] = self._read_wires(handle)
            except _NotToldError:
                continue
            if handle is not None:
                handles[uuid] = handle  # only now: without its NVLinks a card would look far from all others
        for pair in _pairs(handles):
            if pair in self._near:
                continue
            try:
                self._near[pair] = self._read_pair(*pair, handles)
            except _NotToldError:
                continue

    def links(self) -> Links:
        """The links of each card by UUID, in the order of UUIDs, as far as they are known."""
        found: dict[str, list[Link]] = {}
        for (one, other), nearness in sorted(self._near.copy().items()):
            if nearness != Nearness.UNKNOWN:
                found.setdefault(one, []).append((other, int(nearness)))
                found.setdefault(other, []).append((one, int(nearness)))
        return {uuid: tuple(sorted(links)) for uuid, links in found.items()}

    def _read_pair(self, one: str, other: str, handles: Mapping[str, Any]) -> int:
        nvlinks = self._wires[one].count(self._wires[other])
        if nvlinks:
            return nearness_of_nvlinks(nvlinks)
        ancestor = self._nvml.nvmlDeviceGetTopologyCommonAncestor
        level = self._call(ancestor, handles[one], handles[other])
        return Nearness.UNKNOWN if level is None else _LEVELS.get(level, Nearness.UNKNOWN)

    def _read_wires(self, handle: Any) -> _Wires:
        nvml = self._nvml
        pci = self._call(nvml.nvmlDeviceGetPciInfo, handle)
        if pci is None:
            return _Wires("", 0, {})
        switches, gpus = 0, Counter[str]()
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            # The first of these questions also has the driver train a link that was never used; until
            # then it would say that the link is down (NCCL relies on that too).
            carries = self._call(
                nvml.nvmlDeviceGetNvLinkCapability, handle, link, nvml.NVML_NVLINK_CAP_P2P_SUPPORTED
            )
            if not carries or not self._call(nvml.nvmlDeviceGetNvLinkState, handle, link):
                continue
            kind = self._call(nvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
            if kind == nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
                switches += 1
                continue
            remote = self._call(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
            if remote is not None:
                gpus[_bus_id(remote)] += 1
        return _Wires(_bus_id(pci), switches, gpus)

    def _call(self, function: Callable[..., T], *args: object) -> T | None:
        """Call NVML; None for what the card does not have.

        Raises:
            _NotToldError: It failed for any other reason.
        """
        try:
            return function(*args)
        except self._nvml.NVMLError as error:
            # A link that the card does not have is an invalid argument.
            if error.value in NOT_OFFERED or error.value == INVALID_ARGUMENT:
                return None
            raise _NotToldError from error
        except self._nvml.NVMLLibraryMismatchError as error:
            raise _NotToldError from error


def _pairs(uuids: Iterable[str]) -> Iterator[tuple[str, str]]:
    return combinations(sorted(uuids), 2)


def _bus_id(pci: Any) -> str:
    # Old drivers write the bus ids of remote ends in small letters.
    return str(pci.busId).upper()
