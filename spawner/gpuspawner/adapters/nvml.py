"""The NVIDIA driver's view of the GPUs, through NVML.

NVML's calls are synchronous and can hang on a sick card, so every card is looked at in a thread of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from gpuspawner.core.model import Device, DeviceReading, GpuProcess, Sample
from gpuspawner.core.words import mark
from gpuspawner.ports import ProbeReport

from .deadline import Calls, Pending
from .nvml_errors import (
    DRIVER_GONE,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    INSUFFICIENT_SIZE,
    LIBRARY_MISMATCH,
    NOT_OFFERED,
    RESET_REQUIRED,
    explain,
    ignore,
)
from .nvml_topology import Links, Topology, find_whole, with_links
from .procfs import find_container

T = TypeVar("T")

RECOVERY_ACTION_FIELD = 230
"""``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``."""
_RESET = 1
_MOST_EVENTS = 1000
"""Events taken at one look; a card that floods us cannot keep us."""

_Outcome = tuple[DeviceReading, ...] | str
"""What a look at one card gave: its readings, or why there are none."""


@dataclass
class _Session:
    """One initialisation of NVML."""

    nvml: Any
    topology: Topology
    events: dict[int, Any] = field(default_factory=dict)
    """Event sets by card index. Each card has its own: one lost card makes every wait on its set fail."""


class NvmlProbe:
    """Looks at the GPUs of this host.

    Nothing is loaded before the first look.

    Args:
        host: The host's name, put into every device.
        timeout_seconds: How long the driver as a whole, and then each card, may take; a look ends within
            twice this.
        container_of: From a host's process id to a container's id, or None.
    """

    def __init__(
        self,
        host: str,
        timeout_seconds: float = 5.0,
        container_of: Callable[[int], str | None] = find_container,
    ) -> None:
        self._host = host
        self._timeout = timeout_seconds
        self._container_of = container_of
        self._calls = Calls()
        self._session: _Session | None = None
        self._opened_before = False
        self._names: dict[int, tuple[str, ...]] = {}
        self._samples_until: dict[str, int] = {}
        self._xids: dict[int, list[int]] = {}

    def look(self) -> ProbeReport:
        """Look at every device; see :class:`gpuspawner.ports.GpuProbe`."""
        try:
            session, version, count = self._wait(self._calls.start("driver", self._open), self._deadline())
        except TimeoutError:
            return ProbeReport(None, (), self._silence)
        except Exception as error:
            return ProbeReport(None, (), self._explain_missing(error), _is_replaced(error))
        calls = [self._calls.start(f"gpu-{n}", partial(self._look_at, session, n)) for n in range(count)]
        deadline = self._deadline()
        found: list[_Outcome] = []
        for call in calls:
            try:
                found.append(self._wait(call, deadline))
            except TimeoutError:
                found.append(self._silence)
            except Exception as error:
                return ProbeReport(version, (), self._explain_missing(error), _is_replaced(error))
        return self._report(version, found, self._find_links(session, found, deadline))

    # -- the driver as a whole ------------------------------------------------------------------------------

    def _open(self) -> tuple[_Session, str | None, int]:
        import pynvml as nvml  # noqa: PLC0415 - its absence is a finding, not a crash

        if self._session is None:
            # A shutdown under a call that hangs could crash or hang in its turn.
            if self._opened_before and not self._calls.hangs_besides("driver"):
                ignore(nvml, nvml.nvmlShutdown)
            nvml.nvmlInit()
            self._opened_before = True
            self._session = _Session(nvml, Topology(nvml))
        session = self._session
        return session, ignore(nvml, nvml.nvmlSystemGetDriverVersion), nvml.nvmlDeviceGetCount()

    def _explain_missing(self, error: Exception) -> str:
        if isinstance(error, ImportError):
            return mark(f"the Python package nvidia-ml-py cannot be loaded ({error})")
        code = getattr(error, "value", None)
        if code is None and type(error).__module__ != "pynvml":
            raise error
        self._session = None
        return explain(error)

    # -- one card -------------------------------------------------------------------------------------------

    def _look_at(self, session: _Session, index: int) -> tuple[DeviceReading, ...]:
        nvml = session.nvml
        card = _Card(nvml, index, datetime.now(UTC))
        self._take_xids(session, index)
        handle = card.get("handle", nvml.nvmlDeviceGetHandleByIndex, index)
        uuid = None if handle is None else card.get("UUID", nvml.nvmlDeviceGetUUID, handle)
        instances = None if handle is None else card.find_instances(handle)
        if handle is None or uuid is None or card.failed:
            # A card whose MIG mode is not known must not be taken for a whole one.
            return tuple(card.reading(name) for name in self._names.get(index, (uuid or "",)))
        _register_events(session, card, handle)
        card.read_shared(handle)
        if instances is None:
            return (self._read(card, handle, uuid, parent=None),)
        return tuple(self._read(card, one, name, parent=uuid) for one, name in instances)

    def _take_xids(self, session: _Session, index: int) -> None:
        events = session.events.get(index)
        if events is None:
            return
        for _ in range(_MOST_EVENTS):
            try:
                event = session.nvml.nvmlEventSetWait_v2(events, 0)
            except session.nvml.NVMLError:  # normally a time-out: there are no more
                return
            if event.eventType & session.nvml.nvmlEventTypeXidCriticalError:
                self._xids.setdefault(index, []).append(int(event.eventData))

    def _read(self, card: _Card, handle: Any, uuid: str, parent: str | None) -> DeviceReading:
        model = card.get("name", card.nvml.nvmlDeviceGetName, handle)
        memory = card.memory(handle)
        processes = card.processes(handle)
        device = None
        if model is not None and memory is not None:
            device = Device(
                host=self._host,
                uuid=uuid,
                model=model,
                memory_bytes=memory.total,
                index=card.index,
                compute_capability=card.compute_capability,
                parent=parent,
            )
        sample = Sample(
            at=card.at,
            utilization_percent=self._utilization(card, handle, uuid),
            memory_used_bytes=None if memory is None else memory.used,
            temperature_celsius=card.temperature_celsius,
            power_milliwatts=card.power_milliwatts,
            processes=None
            if processes is None
            else tuple(GpuProcess(p.pid, p.usedGpuMemory, self._container_of(p.pid)) for p in processes),
        )
        return card.reading(uuid, device, sample)

    def _utilization(self, card: _Card, handle: Any, uuid: str) -> int | None:
        """Mean over the driver's own samples since the last look, in %; else the instant figure.

        The instant figure is the share of only the last 1/6 to 1 s. Rounded up: a little work is not none.
        """
        nvml = card.nvml
        since = self._samples_until.get(uuid, 0)
        kind_and_buffer = card.get(
            "utilisation", nvml.nvmlDeviceGetSamples, handle, nvml.NVML_GPU_UTILIZATION_SAMPLES, since
        )
        if kind_and_buffer is not None:
            fresh = [s for s in kind_and_buffer[1] if s.timeStamp > since]
            if fresh:
                self._samples_until[uuid] = max(s.timeStamp for s in fresh)
                mean: float = sum(s.sampleValue.uiVal for s in fresh) / len(fresh)
                return min(100, math.ceil(mean))
        rates = card.get("utilisation", nvml.nvmlDeviceGetUtilizationRates, handle)
        return None if rates is None else int(rates.gpu)

    # -- all cards together ---------------------------------------------------------------------------------

    def _find_links(self, session: _Session, found: list[_Outcome], deadline: float) -> Links:
        """How near the cards are to one another, by UUID, as far as it is known by the deadline.

        A thread of its own asks, and only about cards that have just answered: a question about two cards
        hangs when one of them does, and must not take the other one with it.
        """
        cards = find_whole(r for outcome in found if not isinstance(outcome, str) for r in outcome)
        if session.topology.lacks(cards):
            with suppress(TimeoutError):  # what comes too late is there at the next look
                self._wait(self._calls.start("links", partial(session.topology.read, cards)), deadline)
        return session.topology.links()

    # -- the report -----------------------------------------------------------------------------------------

    def _report(self, version: str | None, found: list[_Outcome], links: Links) -> ProbeReport:
        readings: list[DeviceReading] = []
        nameless: list[str] = []
        seen = {r.uuid for outcome in found if not isinstance(outcome, str) for r in outcome if r.device}
        for index, outcome in enumerate(found):
            of_card = self._failed(index, outcome) if isinstance(outcome, str) else outcome
            if any(not r.uuid for r in of_card):
                nameless.append(f"GPU {index}: {of_card[0].error}")
                continue
            self._names[index] = tuple(r.uuid for r in of_card)
            # After a new start of the driver the indices may have moved: what answered is believed.
            readings += self._with_xids(index, [r for r in of_card if r.device or r.uuid not in seen])
        missing = mark(f"a card does not say its name ({'; '.join(nameless)})") if nameless else None
        return ProbeReport(version, with_links(readings, links), missing)

    def _failed(self, index: int, error: str) -> tuple[DeviceReading, ...]:
        return tuple(DeviceReading(name, error=error) for name in self._names.get(index, ("",)))

    def _with_xids(self, index: int, readings: list[DeviceReading]) -> list[DeviceReading]:
        if not readings:
            return []
        xids = tuple(self._xids.pop(index, ()))
        return [replace(reading, xids=xids) for reading in readings]

    # -- time -----------------------------------------------------------------------------------------------

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    @property
    def _silence(self) -> str:
        return mark(f"the driver did not answer within {self._timeout:g} s")

    @staticmethod
    def _wait(call: Pending[T] | None, deadline: float) -> T:
        if call is None:
            raise TimeoutError
        return call.result(deadline)


class _Card:
    """One look at one card, and what went wrong in it.

    Args:
        nvml: The module ``pynvml``.
        index: NVML's index of the card.
        at: When the look began.
    """

    def __init__(self, nvml: Any, index: int, at: datetime) -> None:
        self.nvml = nvml
        self.index = index
        self.at = at
        self.temperature_celsius: int | None = None
        self.power_milliwatts: int | None = None
        self.compute_capability: tuple[int, int] | None = None
        self._recovery_action: int | None = None
        self._lost = False
        self._errors: list[str] = []

    def get(self, what: str, function: Callable[..., T], *args: object, needed: bool = False) -> T | None:
        """Call NVML; None when it does not say.

        Args:
            what: The figure's name, for the error.
            function: A function of ``pynvml``.
            args: Its arguments.
            needed: Whether it is an error that the card does not have the figure.

        Raises:
            NVMLError: The driver as a whole is gone.
        """
        if self._lost:
            return None
        try:
            return function(*args)
        except self.nvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise
            if error.value == GPU_IS_LOST:
                self._lost = True
            elif error.value == RESET_REQUIRED:
                self._recovery_action = self._recovery_action or _RESET
            elif needed or error.value not in NOT_OFFERED:
                self._errors.append(f"{what}: {explain(error)}")
        except self.nvml.NVMLLibraryMismatchError as error:
            self._errors.append(f"{what}: {explain(error)}")
        return None

    @property
    def failed(self) -> bool:
        """Whether something that was asked for so far was not answered."""
        return self._lost or bool(self._errors)

    def reading(self, uuid: str, device: Device | None = None, sample: Sample | None = None) -> DeviceReading:
        """The outcome for one device of the card."""
        errors = [mark("the card is lost")] if self._lost else list(dict.fromkeys(self._errors))
        return DeviceReading(
            uuid=uuid,
            device=device,
            sample=None if self._lost else sample,
            error="; ".join(errors) or None,
            lost=self._lost,
            recovery_action=self._recovery_action,
        )

    def read_shared(self, handle: Any) -> None:
        """Read what all instances of the card share."""
        nvml = self.nvml
        self.temperature_celsius = self.get(
            "temperature", nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
        )
        self.power_milliwatts = self.get("power", nvml.nvmlDeviceGetPowerUsage, handle)
        capability = self.get("compute capability", nvml.nvmlDeviceGetCudaComputeCapability, handle)
        if capability is not None:
            self.compute_capability = (capability[0], capability[1])
        values = self.get("recovery action", nvml.nvmlDeviceGetFieldValues, handle, [RECOVERY_ACTION_FIELD])
        if values is not None and values[0].nvmlReturn == 0:
            self._recovery_action = self._recovery_action or int(values[0].value.uiVal)

    def find_instances(self, handle: Any) -> list[tuple[Any, str]] | None:
        """Handles and UUIDs of the card's MIG instances; None for a card that is not in MIG mode."""
        nvml = self.nvml
        mode = self.get("MIG mode", nvml.nvmlDeviceGetMigMode, handle)
        if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        found = []
        for slot in range(self.get("MIG instances", nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            instance = self.get("MIG instance", nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot)
            uuid = None if instance is None else self.get("UUID", nvml.nvmlDeviceGetUUID, instance)
            if instance is not None and uuid is not None:
                found.append((instance, uuid))
        return found

    def memory(self, handle: Any) -> Any:
        """NVML's memory figures, in bytes; ``used`` is without the driver's reserve where it can tell."""
        nvml = self.nvml
        try:
            return nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
            return self.get("memory", nvml.nvmlDeviceGetMemoryInfo, handle, needed=True)

    def processes(self, handle: Any) -> list[Any] | None:
        """Compute processes; None when the driver does not say."""
        nvml = self.nvml
        for function in (
            nvml.nvmlDeviceGetComputeRunningProcesses_v3,
            nvml.nvmlDeviceGetComputeRunningProcesses_v3,
            nvml.nvmlDeviceGetComputeRunningProcesses_v2,  # drivers before 510
        ):
            try:
                return list(function(handle))
            except nvml.NVMLError as error:
                # Too small: processes came between the call that counts them and the one that lists them.
                if error.value not in (FUNCTION_NOT_FOUND, INSUFFICIENT_SIZE):
                    break
        return self.get("processes", nvml.nvmlDeviceGetComputeRunningProcesses_v3, handle, needed=True)


def _register_events(session: _Session, card: _Card, handle: Any) -> None:
    """Have the card's XIDs kept for us from now on, if it can."""
    nvml = session.nvml
    if card.index in session.events:
        return
    kinds = card.get("event types", nvml.nvmlDeviceGetSupportedEventTypes, handle)
    if kinds is None or not kinds & nvml.nvmlEventTypeXidCriticalError:
        return
    events = card.get("events", nvml.nvmlEventSetCreate)
    if events is None:
        return
    try:
        nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
        session.events[card.index] = events
    except nvml.NVMLError:
        ignore(nvml, lambda: nvml.nvmlEventSetFree(events))


def _is_replaced(error: Exception) -> bool:
    return getattr(error, "value", None) == LIBRARY_MISMATCH
