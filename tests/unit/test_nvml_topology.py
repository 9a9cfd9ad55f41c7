"""How connections are read, with what drivers do that the simulation does not play."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from gpuspawner.adapters.nvml_topology import Topology
from gpuspawner.core.topology import Nearness, nearness_of_nvlinks

GPU, NPU, SWITCH = 0, 1, 2
CARDS = {0: "GPU-a", 1: "GPU-b", 2: "GPU-c"}


class Machine:
    """Three cards in place of the module pynvml.

    Attributes:
        wires: For each card and link number: the kind of what is at the other end, and its bus id.
        down: Links, as (card, link number), that do not work.
        level: Where the ways of any two cards meet on PCIe.
        errors: NVML error code by function name, or by (function name, card).
    """

    NVMLError = pynvml.NVMLError
    NVMLLibraryMismatchError = pynvml.NVMLLibraryMismatchError
    NVML_NVLINK_MAX_LINKS = 4
    NVML_NVLINK_CAP_P2P_SUPPORTED = 0
    NVML_NVLINK_DEVICE_TYPE_SWITCH = SWITCH

    def __init__(self) -> None:
        self.wires: dict[str, dict[int, tuple[int, str]]] = {}
        self.down: set[tuple[str, int]] = set()
        self.trained: set[tuple[str, int]] = set()
        self.level = pynvml.NVML_TOPOLOGY_SYSTEM
        self.errors: dict[Any, int] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = getattr(self, "_" + name.removeprefix("nvmlDeviceGet"))

        def call(*args: Any) -> Any:
            self.calls.append(name)
            code = self.errors.get(name) or self.errors.get((name, args[0]))
            if code:
                raise pynvml.NVMLError(code)
            return answer(*args)

        return call

    def _HandleByIndex(self, index: int) -> str:  # noqa: N802
        return CARDS[index]

    def _PciInfo(self, card: str) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"0000:{card[-1].upper()}0:00.0")

    def _NvLinkCapability(self, card: str, link: int, capability: int) -> int:  # noqa: N802
        if link not in self.wires.get(card, {}):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        self.trained.add((card, link))
        return 1

    def _NvLinkState(self, card: str, link: int) -> int:  # noqa: N802
        return int((card, link) in self.trained - self.down)

    def _NvLinkRemoteDeviceType(self, card: str, link: int) -> int:  # noqa: N802
        return self.wires[card][link][0]

    def _NvLinkRemotePciInfo(self, card: str, link: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=self.wires[card][link][1])

    def _TopologyCommonAncestor(self, one: str, other: str) -> int:  # noqa: N802
        return self.level


@pytest.fixture
def machine() -> Machine:
    return Machine()


def read(machine: Machine, cards: dict[int, str] = CARDS) -> dict[str, dict[str, int]]:
    topology = Topology(machine)
    topology.read(cards)
    return told(topology)


def told(topology: Topology) -> dict[str, dict[str, int]]:
    return {uuid: dict(links) for uuid, links in topology.links().items()}


def bridge(machine: Machine, one: str, other: str, *links: int) -> None:
    for link in links:
        machine.wires.setdefault(one, {})[link] = (GPU, f"0000:{other[-1]}0:00.0")
        machine.wires.setdefault(other, {})[link] = (GPU, f"0000:{one[-1]}0:00.0")


@pytest.mark.parametrize(
    ("level", "nearness"),
    [
        (pynvml.NVML_TOPOLOGY_INTERNAL, Nearness.INTERNAL),
        (pynvml.NVML_TOPOLOGY_SINGLE, Nearness.ONE_SWITCH),
        (pynvml.NVML_TOPOLOGY_MULTIPLE, Nearness.MULTIPLE_SWITCHES),
        (pynvml.NVML_TOPOLOGY_HOSTBRIDGE, Nearness.HOST_BRIDGE),
        (pynvml.NVML_TOPOLOGY_NODE, Nearness.NODE),
        (pynvml.NVML_TOPOLOGY_SYSTEM, Nearness.SYSTEM),
    ],
)
def test_levels_of_pcie(machine: Machine, level: int, nearness: Nearness) -> None:
    machine.level = level
    assert read(machine, {0: "GPU-a", 1: "GPU-b"}) == {
        "GPU-a": {"GPU-b": nearness},
        "GPU-b": {"GPU-a": nearness},
    }


def test_a_level_of_a_later_driver_is_unknown(machine: Machine) -> None:
    machine.level = 60
    assert read(machine) == {}


def test_nvlinks_between_two_cards_are_counted(machine: Machine) -> None:
    bridge(machine, "GPU-a", "GPU-b", 0, 1, 3)
    found = read(machine)
    assert found["GPU-a"] == {"GPU-b": nearness_of_nvlinks(3), "GPU-c": Nearness.SYSTEM}
    assert found["GPU-c"] == {"GPU-a": Nearness.SYSTEM, "GPU-b": Nearness.SYSTEM}


def test_a_link_that_is_down_does_not_count(machine: Machine) -> None:
    bridge(machine, "GPU-a", "GPU-b", 0, 1)
    machine.down = {("GPU-a", 1), ("GPU-b", 1)}
    assert read(machine)["GPU-b"]["GPU-a"] == nearness_of_nvlinks(1)


def test_through_switches_the_card_with_fewer_links_counts(machine: Machine) -> None:
    machine.wires = {
        "GPU-a": dict.fromkeys(range(4), (SWITCH, "0000:E0:00.0")),
        "GPU-b": dict.fromkeys(range(3), (SWITCH, "0000:E1:00.0")),
    }
    found = read(machine)
    assert found["GPU-a"] == {"GPU-b": nearness_of_nvlinks(3), "GPU-c": Nearness.SYSTEM}


def test_links_to_something_else_join_no_cards(machine: Machine) -> None:
    machine.wires = {card: {0: (NPU, "0004:00:00.0"), 1: (0xFF, "")} for card in CARDS.values()}
    assert read(machine)["GPU-a"] == {"GPU-b": Nearness.SYSTEM, "GPU-c": Nearness.SYSTEM}


def test_a_driver_that_does_not_say_what_a_remote_end_is(machine: Machine) -> None:
    bridge(machine, "GPU-a", "GPU-b", 0)
    machine.errors["nvmlDeviceGetNvLinkRemoteDeviceType"] = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    assert read(machine)["GPU-a"]["GPU-b"] == nearness_of_nvlinks(1)


def test_cards_without_nvlink(machine: Machine) -> None:
    machine.errors["nvmlDeviceGetNvLinkCapability"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert read(machine)["GPU-a"] == {"GPU-b": Nearness.SYSTEM, "GPU-c": Nearness.SYSTEM}


def test_what_is_not_offered_is_unknown_and_not_asked_again(machine: Machine) -> None:
    machine.errors["nvmlDeviceGetTopologyCommonAncestor"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    topology = Topology(machine)
    topology.read(CARDS)
    assert told(topology) == {}
    assert not topology.lacks(CARDS)


def test_every_question_is_asked_once(machine: Machine) -> None:
    topology = Topology(machine)
    assert topology.lacks(CARDS)
    topology.read(CARDS)
    assert machine.calls.count("nvmlDeviceGetTopologyCommonAncestor") == 3
    assert not topology.lacks(CARDS)
    machine.calls.clear()
    topology.read(CARDS)
    assert set(machine.calls) == {"nvmlDeviceGetHandleByIndex"}


def test_one_card_has_no_pairs(machine: Machine) -> None:
    assert not Topology(machine).lacks({0: "GPU-a"})


FAILURES = [
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetNvLinkCapability",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlDeviceGetNvLinkRemotePciInfo",
    "nvmlDeviceGetTopologyCommonAncestor",
]


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize(
    "code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_UNINITIALIZED]
)
def test_what_fails_is_asked_again_and_is_never_taken_for_the_next_worse(
    machine: Machine, name: str, code: int
) -> None:
    bridge(machine, "GPU-a", "GPU-b", 0)
    right = read(machine)
    machine.errors[name] = code
    topology = Topology(machine)
    topology.read(CARDS)
    assert topology.lacks(CARDS)
    assert all(
        nearness == right[one][other]
        for one, links in told(topology).items()
        for other, nearness in links.items()
    )
    machine.errors.clear()
    topology.read(CARDS)
    assert told(topology) == right


def test_a_card_that_fails_hides_no_other_pair(machine: Machine) -> None:
    machine.errors["nvmlDeviceGetPciInfo", "GPU-b"] = pynvml.NVML_ERROR_GPU_IS_LOST
    assert read(machine) == {"GPU-a": {"GPU-c": Nearness.SYSTEM}, "GPU-c": {"GPU-a": Nearness.SYSTEM}}


def test_a_library_of_another_age_tells_nothing(machine: Machine) -> None:
    def mismatch(card: str) -> None:
        raise pynvml.NVMLLibraryMismatchError("Unversioned function called")

    machine._PciInfo = mismatch  # type: ignore[method-assign]
    assert read(machine) == {}
