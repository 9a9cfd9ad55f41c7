"""What a session says of its GPUs: there, none, or not known, which are three things."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpuspawner_session.cards import Card, find_cards, parse_smi

UUID = "GPU-11111111-2222-3333-4444-555555555555"


class NVMLError(Exception):
    pass


def nvml(**functions: Any) -> SimpleNamespace:
    return SimpleNamespace(NVMLError=NVMLError, nvmlInit=lambda: None, nvmlShutdown=lambda: None, **functions)


def use(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)  # None is a module that cannot be imported


def use_smi(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    use(monkeypatch, None)
    smi = folder / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_the_table_of_nvidia_smi() -> None:
    found = parse_smi(f"NVIDIA A100-SXM4-40GB, {UUID}, 40960, 570.86.15\n")
    assert (found.state, found.driver) == ("present", "570.86.15")
    assert found.cards == (Card("NVIDIA A100-SXM4-40GB", UUID, 40960 * 1024**2),)


def test_a_memory_that_is_not_told_is_not_known() -> None:
    assert parse_smi(f"NVIDIA GB10, {UUID}, [N/A], 570.86.15\n").cards[0].memory_bytes is None


def test_another_table_is_not_guessed_at() -> None:
    assert parse_smi("NVIDIA A100, 40960\n").state == "unknown"


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_cards()
    assert (found.state, "no GPU" in (found.why or "")) == ("none", True)


def test_a_driver_that_lists_no_card_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_smi(monkeypatch, tmp_path, "echo 'No devices were found'; exit 6")
    assert find_cards().state == "none"


def test_a_driver_that_fails_is_not_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_smi(monkeypatch, tmp_path, "echo 'Failed to initialize NVML: Unknown Error'; exit 255")
    found = find_cards()
    assert found.state == "unknown"
    assert "Unknown Error" in (found.why or "")


def test_nvml_that_fails_is_not_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NVMLError("Driver/library version mismatch")

    module = nvml()
    module.nvmlInit = fail
    use(monkeypatch, module)
    assert find_cards().state == "unknown"


def test_slices_are_named_instead_of_their_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def slice_at(_card: str, index: int) -> str:
        if index != 1:
            raise NVMLError("Not Found")
        return "MIG-1"

    module = nvml(
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda _index: "GPU-1",
        nvmlDeviceGetMaxMigDeviceCount=lambda _card: 3,
        nvmlDeviceGetMigDeviceHandleByIndex=slice_at,
        nvmlDeviceGetName=lambda handle: f"name of {handle}",
        nvmlDeviceGetUUID=lambda handle: handle.encode(),
        nvmlDeviceGetMemoryInfo=lambda _handle: SimpleNamespace(total=5),
        nvmlSystemGetDriverVersion=lambda: "570.1",
    )
    use(monkeypatch, module)
    assert find_cards().cards == (Card("name of MIG-1", "MIG-1", 5),)
