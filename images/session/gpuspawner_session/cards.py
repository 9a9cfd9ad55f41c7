"""Which GPUs this session has, asked of the driver."""

from __future__ import annotations

import csv
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_SMI = ("nvidia-smi", "--query-gpu=name,uuid,memory.total,driver_version", "--format=csv,noheader,nounits")
_SMI_SECONDS = 30
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU, or a slice of one."""

    model: str
    uuid: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Cards:
    """What the driver says."""

    state: str
    """``present``, ``none``, or ``unknown`` where there is a driver that does not answer."""
    driver: str | None = None
    cards: tuple[Card, ...] = ()
    why: str | None = None
    """Why they are not known, or how it is known that there are none."""


def find_cards() -> Cards:
    """Ask through NVML where its module is there, else nvidia-smi."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return _ask_smi()
    try:
        nvml.nvmlInit()
    except Exception as error:
        if type(error).__name__ in ("NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded"):
            return Cards("none", why="There is no NVIDIA driver here: no GPU.")
        return Cards("unknown", why=f"The NVIDIA driver does not answer: {error}.")
    try:
        return _read_nvml(nvml)
    except Exception as error:
        return Cards("unknown", why=f"The NVIDIA driver does not say which cards there are: {error}.")
    finally:
        nvml.nvmlShutdown()


def _read_nvml(nvml: Any) -> Cards:
    handles: list[Any] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        handles += _find_slices(nvml, card) or [card]
    found = tuple(
        Card(
            _text(nvml.nvmlDeviceGetName(handle)),
            _text(nvml.nvmlDeviceGetUUID(handle)),
            int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        )
        for handle in handles
    )
    driver = _text(nvml.nvmlSystemGetDriverVersion())
    return _known(driver, found)


def _find_slices(nvml: Any, card: Any) -> list[Any]:
    """The MIG instances of a card that can be seen here; of a card that is divided, only they can be used."""
    try:
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(card)
    except nvml.NVMLError:
        return []
    found = []
    for index in range(most):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index))
        except nvml.NVMLError:
            continue
    return found


def _ask_smi() -> Cards:
    if shutil.which(_SMI[0]) is None:
        return Cards("none", why="There is no NVIDIA driver here: no GPU.")
    try:
        asked = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Cards("unknown", why=f"nvidia-smi gives no answer: {error}.")
    if asked.returncode != 0:
        said = (asked.stdout + asked.stderr).strip().splitlines()
        if any("No devices were found" in line for line in said):
            return Cards("none", why="nvidia-smi says that there is no GPU.")
        return Cards("unknown", why=f"nvidia-smi fails: {said[0] if said else asked.returncode}.")
    return parse_smi(asked.stdout)


def parse_smi(text: str) -> Cards:
    """Read nvidia-smi's table: name, UUID, memory in MiB, driver."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if any(len(row) != 4 for row in rows):
        return Cards("unknown", why="nvidia-smi answers in a form that is not known.")
    cards = tuple(
        Card(name, uuid, int(mib) * _MEBIBYTE if mib.isdigit() else None) for name, uuid, mib, _ in rows
    )
    return _known(rows[0][3] if rows else None, cards)


def _known(driver: str | None, cards: tuple[Card, ...]) -> Cards:
    if not cards:
        return Cards("none", driver, why="The NVIDIA driver lists no GPU.")
    return Cards("present", driver, cards)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
