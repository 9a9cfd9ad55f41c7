"""What a driver can do wrong that the simulation does not play."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.core.model import GpuProcess
from gpuspawner.core.topology import Nearness

MEBIBYTE = 1024 * 1024


class Driver:
    """One card with two MIG slots, in place of pynvml's functions.

    Attributes:
        errors: NVML error code by function name; a function that is named here fails.
    """

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self.calls: list[str] = []
        self.mig = False
        self.samples: list[tuple[int, int]] = []
        self.answers: dict[str, Any] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: f"GPU-{index}",
            "nvmlDeviceGetUUID": lambda handle: handle,
            "nvmlDeviceGetName": lambda handle: "Card",
            "nvmlDeviceGetMigMode": self._mig_mode,
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 2,
            "nvmlDeviceGetMigDeviceHandleByIndex": self._instance,
            "nvmlDeviceGetSupportedEventTypes": lambda handle: 0,
            "nvmlDeviceGetTemperature": lambda handle, sensor: 40,
            "nvmlDeviceGetPowerUsage": lambda handle: 50_000,
            "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
            "nvmlDeviceGetFieldValues": lambda handle, ids: [self._field(0)],
            "nvmlDeviceGetMemoryInfo": self._memory,
            "nvmlDeviceGetComputeRunningProcesses_v3": lambda handle: [
                SimpleNamespace(pid=7, usedGpuMemory=None)
            ],
            "nvmlDeviceGetComputeRunningProcesses_v2": lambda handle: [],
            "nvmlDeviceGetSamples": self._samples,
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=99),
        }

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, answer in self.answers.items():
            monkeypatch.setattr(pynvml, name, self._wrap(name, answer))
        monkeypatch.setattr(pynvml, "nvmlErrorString", lambda code: f"error {code}")

    def _wrap(self, name: str, answer: Any) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            if name in self.errors:
                raise pynvml.NVMLError(self.errors[name])
            return answer(*args)

        return call

    def _mig_mode(self, handle: str) -> list[int]:
        return [int(self.mig), int(self.mig)]

    @staticmethod
    def _instance(handle: str, slot: int) -> str:
        if slot:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "MIG-0"

    @staticmethod
    def _field(action: int) -> Any:
        return SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=action))

    @staticmethod
    def _memory(handle: str, version: int | None = None) -> Any:
        if version is None:
            return SimpleNamespace(total=1000, used=600)
        return SimpleNamespace(total=1000, used=500)

    def _samples(self, handle: str, kind: int, since: int) -> Any:
        if handle.startswith("MIG"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        fresh = [s for s in self.samples if s[0] > since]
        if not fresh:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return 1, [SimpleNamespace(timeStamp=t, sampleValue=SimpleNamespace(uiVal=v)) for t, v in fresh]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    found.install(monkeypatch)
    return found


@pytest.fixture
def probe() -> NvmlProbe:
    return NvmlProbe("host", timeout_seconds=5, container_of=lambda pid: f"container of {pid}")


def test_processes_are_mapped_to_containers(driver: Driver, probe: NvmlProbe) -> None:
    (reading,) = probe.look().devices
    assert reading.sample
    assert reading.sample.processes == (GpuProcess(7, None, "container of 7"),)


def test_memory_is_without_the_reserve_where_the_driver_can_tell(driver: Driver, probe: NvmlProbe) -> None:
    (reading,) = probe.look().devices
    assert reading.sample
    assert reading.sample.memory_used_bytes == 500


def test_memory_of_an_old_driver(driver: Driver, probe: NvmlProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(handle: str, version: int | None = None) -> Any:
        if version is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return SimpleNamespace(total=1000, used=600)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", old)
    (reading,) = probe.look().devices
    assert reading.sample
    assert (reading.sample.memory_used_bytes, reading.error) == (600, None)


def test_utilisation_is_the_mean_since_the_last_look(driver: Driver, probe: NvmlProbe) -> None:
    driver.samples = [(1, 100), (2, 0)]
    assert utilization(probe) == 50
    driver.samples += [(3, 0), (4, 0), (5, 1)]
    assert utilization(probe) == 1  # rounded up: a little is not none
    assert utilization(probe) == 99  # nothing new: the instant figure


def test_samples_that_a_driver_tells_twice_count_once(
    driver: Driver, probe: NvmlProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        SimpleNamespace(timeStamp=t, sampleValue=SimpleNamespace(uiVal=v))
        for t, v in ((1, 100), (2, 100), (3, 0))
    ]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetSamples", lambda *_: (1, told[:2]))
    assert utilization(probe) == 100
    monkeypatch.setattr(pynvml, "nvmlDeviceGetSamples", lambda *_: (1, told))
    assert utilization(probe) == 0


def utilization(probe: NvmlProbe) -> int | None:
    (reading,) = probe.look().devices
    assert reading.sample
    return reading.sample.utilization_percent


def test_what_a_card_does_not_offer_is_unknown_and_no_error(driver: Driver, probe: NvmlProbe) -> None:
    unsupported = pynvml.NVML_ERROR_NOT_SUPPORTED
    for name in ("Temperature", "PowerUsage", "Samples", "UtilizationRates", "FieldValues", "MigMode"):
        driver.errors[f"nvmlDeviceGet{name}"] = unsupported
    (reading,) = probe.look().devices
    assert reading.sample
    sample = reading.sample
    assert (sample.temperature_celsius, sample.power_milliwatts, sample.utilization_percent) == (
        None,
        None,
        None,
    )
    assert (reading.error, reading.recovery_action) == (None, None)


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_UNKNOWN])
def test_processes_that_are_not_told_are_unknown_with_the_reason(
    driver: Driver, probe: NvmlProbe, code: int
) -> None:
    driver.errors["nvmlDeviceGetComputeRunningProcesses_v3"] = code
    (reading,) = probe.look().devices
    assert reading.sample
    assert reading.sample.processes is None
    assert "processes" in (reading.error or "")


def test_a_card_that_is_lost_in_the_middle_of_a_look_has_no_sample(driver: Driver, probe: NvmlProbe) -> None:
    driver.errors["nvmlDeviceGetComputeRunningProcesses_v3"] = pynvml.NVML_ERROR_GPU_IS_LOST
    (reading,) = probe.look().devices
    assert (reading.lost, reading.sample) == (True, None)


def test_a_card_that_must_be_reset(driver: Driver, probe: NvmlProbe) -> None:
    driver.errors["nvmlDeviceGetComputeRunningProcesses_v3"] = pynvml.NVML_ERROR_RESET_REQUIRED
    (reading,) = probe.look().devices
    assert reading.recovery_action == 1


def test_mig_instances_take_the_place_of_their_card(driver: Driver, probe: NvmlProbe) -> None:
    driver.mig = True
    driver.samples = [(1, 100)]
    (reading,) = probe.look().devices
    assert reading.device
    assert (reading.uuid, reading.device.parent, reading.device.compute_capability) == (
        "MIG-0",
        "GPU-0",
        (9, 0),
    )


def test_a_card_of_unknown_mode_is_not_taken_for_a_whole_one(driver: Driver, probe: NvmlProbe) -> None:
    driver.mig = True
    probe.look()
    driver.errors["nvmlDeviceGetMigMode"] = pynvml.NVML_ERROR_UNKNOWN
    (reading,) = probe.look().devices
    assert (reading.uuid, reading.device, reading.sample) == ("MIG-0", None, None)
    assert "MIG mode" in (reading.error or "")


def test_a_card_that_never_said_its_name_makes_the_list_incomplete(driver: Driver, probe: NvmlProbe) -> None:
    driver.errors["nvmlDeviceGetUUID"] = pynvml.NVML_ERROR_GPU_IS_LOST
    report = probe.look()
    assert report.devices == ()
    assert "GPU 0: the card is lost" in (report.missing_reason or "")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nvmlInit", pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "libnvidia-ml.so.1 was not found"),
        ("nvmlInit", pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        ("nvmlDeviceGetCount", pynvml.NVML_ERROR_UNKNOWN, "error 999"),
        ("nvmlDeviceGetUUID", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "was replaced"),
        ("nvmlDeviceGetName", pynvml.NVML_ERROR_UNINITIALIZED, "connection to the driver was lost"),
    ],
)
def test_a_driver_that_goes_is_no_inventory_and_the_next_look_begins_anew(
    driver: Driver, probe: NvmlProbe, name: str, code: int, says: str
) -> None:
    probe.look() if name != "nvmlInit" else None
    begun = driver.calls.count("nvmlInit")
    driver.errors[name] = code
    report = probe.look()
    assert report.devices == ()
    assert says in (report.missing_reason or "")
    driver.errors.clear()
    assert len(probe.look().devices) == 1
    assert driver.calls.count("nvmlInit") > begun


def test_a_library_of_another_age(driver: Driver, probe: NvmlProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatch() -> None:
        raise pynvml.NVMLLibraryMismatchError("Unversioned function called")

    monkeypatch.setattr(pynvml, "nvmlInit", mismatch)
    assert "do not fit together" in (probe.look().missing_reason or "")


def test_without_the_python_package(probe: NvmlProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py" in (probe.look().missing_reason or "")


def test_our_own_mistakes_are_not_the_driver_s(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(pid: int) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        NvmlProbe("host", container_of=wrong).look()


def test_a_question_about_two_cards_that_hangs_fails_neither(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def ancestor(one: str, other: str) -> int:
        answers.wait(30)
        return int(pynvml.NVML_TOPOLOGY_SINGLE)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPciInfo", lambda handle: SimpleNamespace(busId=handle))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetNvLinkCapability", lambda *_: 0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTopologyCommonAncestor", ancestor)
    probe = NvmlProbe("host", timeout_seconds=0.2, container_of=lambda pid: None)
    for _ in range(2):
        report = probe.look()
        assert report.missing_reason is None
        assert [(r.error, r.device.links) for r in report.devices if r.device] == [(None, ()), (None, ())]
    answers.set()
    deadline = time.monotonic() + 30
    while not any(links := [r.device.links for r in probe.look().devices if r.device]):
        assert time.monotonic() < deadline
    assert links == [(("GPU-1", Nearness.ONE_SWITCH),), (("GPU-0", Nearness.ONE_SWITCH),)]
