"""What the doctor reads from files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.model import Device, DeviceRecord, Health
from gpuspawner.doctor.facts import CdiSpec, gather, read_distribution, read_ledger, read_modes, read_specs
from support.fake_engine import FakeEngine
from support.fake_probe import FakeProbe

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    book = Ledger(path)
    with book.write() as unit:
        unit.put_device(DeviceRecord(Device("host", "GPU-a", "L40S", 1), Health.OK, "", NOW))
    book.close()
    return path


def test_specs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n- name: GPU-a\n"
    )
    (tmp_path / "b.json").write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-b"}]}')
    (tmp_path / "c.json").write_text('{"kind": "vendor.com/net", "devices": []}')
    (tmp_path / "d.json").write_text("{")
    (tmp_path / "e.yml").write_text("kind: nvidia.com/gpu\n")
    (tmp_path / "notes.txt").write_text("no")
    assert read_specs([str(tmp_path), str(tmp_path / "missing")]) == (
        CdiSpec(f"{tmp_path}/a.yaml", ("0", "GPU-a")),
        CdiSpec(f"{tmp_path}/b.json", ("GPU-b",)),
        CdiSpec(f"{tmp_path}/d.json", error="it is not a CDI spec"),
        CdiSpec(f"{tmp_path}/e.yml", error="it is not a CDI spec"),
    )


def test_distribution(tmp_path: Path) -> None:
    (tmp_path / "os").write_text('NAME="x"\nVERSION_ID="12"\nID="debian"\n')
    assert read_distribution(tmp_path / "os") == "debian"
    assert read_distribution(tmp_path / "missing") is None


def test_ledger_and_last_report(ledger: Path) -> None:
    found = read_ledger(ledger, "host")
    assert (found.error, found.last_report) == ("", NOW)
    assert read_ledger(ledger, "other").last_report is None


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "does not exist" in read_ledger(tmp_path / "l", "host").error
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("hello, this is a text of some length, not a database")
    assert "not a ledger" in read_ledger(tmp_path / "l", "host").error


def test_modes_of_ledger_and_secrets(ledger: Path) -> None:
    ledger.chmod(0o604)
    (ledger.parent / "jupyterhub_cookie_secret").write_text("x")
    (ledger.parent / "jupyterhub_cookie_secret").chmod(0o600)
    (ledger.parent / "readme").write_text("x")
    modes = {Path(file.path).name: file.mode for file in read_modes(ledger)}
    assert modes["ledger.sqlite"] == 0o604
    assert modes["jupyterhub_cookie_secret"] == 0o600
    assert "readme" not in modes
    for mode, closed in ((0o750, True), (0o755, False)):
        ledger.parent.chmod(mode)
        assert {file.behind_closed_directory for file in read_modes(ledger)} == {closed}


def test_gather_with_a_silent_engine(ledger: Path) -> None:
    engine = FakeEngine()
    engine.fail("info")
    facts = gather(engine, FakeProbe(), ledger, "host", now=NOW)
    assert facts.engine is None
    assert "info" in facts.engine_error
    assert facts.specs is None
    assert [disk.what for disk in facts.disks] == ["the ledger"]
    assert facts.probe
    assert len(facts.probe.devices) == 4
