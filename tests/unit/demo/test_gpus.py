"""Which GPUs the demo takes: real ones that work, simulated ones where there are none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.demo import gpus
from gpuspawner.demo.gpus import find_real_gpus, prepare_gpus
from gpuspawner.ports import ProbeReport
from support.fake_probe import FakeProbe

GENERATE = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/var/run/cdi/nvidia.yaml"


class NoDriver:
    """What NVML says on a machine without a card, or of a driver that fails."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.variable_seen: str | None = None

    def look(self) -> ProbeReport:
        self.variable_seen = os.environ.get("GPUSPAWNER_SIM_ROOT")
        return ProbeReport(None, (), self.reason)


@pytest.fixture(autouse=True)
def no_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one writes to the machine's CDI directory."""

    def ensure(*arguments: object, **options: object) -> None:
        pytest.fail("GPUs were simulated")

    monkeypatch.setattr(gpus.Simulation, "ensure", ensure)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05\n")
    return path


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    path = tmp_path / "cdi"
    (path / "old").mkdir(parents=True)
    return path


def test_real_cards_with_specs(tmp_path: Path, specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = FakeProbe(cards=2)
    for uuid in probe.uuids:
        (specs / f"{uuid}.yaml").write_text(f"devices:\n- name: {uuid}\n")
    monkeypatch.setattr(gpus, "CDI_DIRS", (tmp_path / "none", specs))
    found = prepare_gpus(tmp_path / "sim", "demo-1", probe)
    assert (found.description, found.environment, found.simulation) == (
        "2 NVIDIA GPUs of this machine",
        {},
        None,
    )


def test_real_cards_without_specs(tmp_path: Path, specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = FakeProbe(cards=2)
    known, unknown = probe.uuids
    (specs / "nvidia.yaml").write_text(f"devices:\n- name: {known}\n")
    monkeypatch.setattr(gpus, "CDI_DIRS", (specs,))
    with pytest.raises(GpuSpawnerError) as caught:
        prepare_gpus(tmp_path / "sim", "demo-1", probe)
    assert f"no CDI specification names {unknown}" in str(caught.value)
    assert GENERATE in str(caught.value)


@pytest.mark.parametrize("reason", ["the driver did not answer within 5 s", "the driver was replaced"])
def test_driver_that_fails(
    tmp_path: Path, driver: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "DRIVER_FILE", driver)
    with pytest.raises(GpuSpawnerError) as caught:
        prepare_gpus(tmp_path / "sim", "demo-1", NoDriver(reason))
    assert f"its GPUs cannot be listed: {reason}. Run nvidia-smi" in str(caught.value)


def test_card_that_fails(driver: Path) -> None:
    probe = FakeProbe(cards=2)
    probe.lose(0)
    assert find_real_gpus(probe, driver) == probe.uuids


def test_no_driver(tmp_path: Path) -> None:
    assert find_real_gpus(NoDriver("the library was not found"), tmp_path / "version") == []


def test_simulated_environment(tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSPAWNER_SIM_ROOT", "/srv/sim")
    probe = NoDriver("the NVIDIA driver is not loaded")
    assert find_real_gpus(probe, tmp_path / "none") == []
    assert probe.variable_seen is None
    monkeypatch.setenv("GPUSPAWNER_SIM_ROOT", "/srv/sim")
    with pytest.raises(GpuSpawnerError, match="shows the simulated GPUs of /srv/sim: run the demo in anoth"):
        find_real_gpus(probe, driver)


def test_simulated_cards_are_not_believed(tmp_path: Path) -> None:
    probe = FakeProbe(cards=2)
    card = probe.cards[0]
    card.device = replace(card.device, model="NVIDIA L40S (simulated)")
    assert find_real_gpus(probe, tmp_path / "none") == probe.uuids[1:]
