"""Every check of the doctor, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gpuspawner.core.model import Device, DeviceReading
from gpuspawner.doctor import checks
from gpuspawner.doctor.checks import Finding, check_all, parse_version
from gpuspawner.doctor.command import render, to_json
from gpuspawner.doctor.door import DoorFacts
from gpuspawner.doctor.facts import CdiSpec, Disk, Facts, FileMode, LedgerFacts
from gpuspawner.doctor.findings import Level
from gpuspawner.ports import EngineInfo, ProbeReport

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
GIB = 1024**3
A, B = "GPU-aaaa", "GPU-bbbb"
ENGINE = EngineInfo("28.2.2", ("/etc/cdi", "/var/run/cdi"), "runc", "1.3.6", "/var/lib/docker")
SPEC = "/var/run/cdi/nvidia.yaml"


def reading(uuid: str, model: str = "NVIDIA L40S", error: str | None = None) -> DeviceReading:
    return DeviceReading(uuid, Device("host", uuid, model, 48 * GIB), error=error)


PROBE = ProbeReport("580.95.05", (reading(A), reading(B)))
WELL = Facts(
    now=NOW,
    engine=ENGINE,
    specs=(CdiSpec(SPEC, (A, B, "0", "1", "all")),),
    probe=PROBE,
    distribution="debian",
    toolkit_version="1.19.1",
    shm_bytes=8 * GIB,
    disks=(
        Disk("Docker's images and volumes", "/var/lib/docker", 100 * GIB),
        Disk("the ledger", "/l", 9 * GIB),
    ),
    files=(FileMode("/l/ledger.sqlite", 0o640),),
    ledger=LedgerFacts("/l/ledger.sqlite", last_report=NOW - timedelta(seconds=2)),
)


def engine(**changes: Any) -> Facts:
    return replace(WELL, engine=replace(ENGINE, **changes))


def specs(*found: CdiSpec) -> Facts:
    return replace(WELL, specs=found)


def probe(**changes: Any) -> Facts:
    return replace(WELL, probe=replace(PROBE, **changes))


def ledger(**changes: Any) -> Facts:
    return replace(WELL, ledger=LedgerFacts("/l/ledger.sqlite", **changes))


def disk(what: str, gibibytes: float) -> Facts:
    return replace(WELL, disks=(Disk(what, "/d", int(gibibytes * GIB)),))


NO_ENGINE = replace(WELL, engine=None, engine_error="The Docker Engine did not answer.", specs=None)
SIMULATED = CdiSpec("/var/run/cdi/gpuspawner-sim-x.json", (A, B))

Check = Callable[[Facts], Iterator[Finding]]


@pytest.mark.parametrize(
    ("check", "facts", "levels", "says"),
    [
        (checks.check_engine, WELL, ["ok"], "28.2.2"),
        (checks.check_engine, engine(version="26.1.5+dfsg1"), ["warning"], "28.2"),
        (checks.check_engine, engine(version="28.1.0"), ["warning"], "28.2"),
        (checks.check_engine, engine(version="20.10.24+dfsg1"), ["error"], "before 26"),
        (checks.check_engine, NO_ENGINE, ["error"], "did not answer"),
        (checks.check_cdi, WELL, ["ok"], "/etc/cdi"),
        (checks.check_cdi, engine(cdi_spec_dirs=()), ["error"], '"cdi": true'),
        (checks.check_cdi, NO_ENGINE, ["unknown"], "not known"),
        (checks.check_default_runtime, WELL, ["ok"], "runc"),
        (checks.check_default_runtime, engine(default_runtime="nvidia"), ["error"], '"default-runtime"'),
        (checks.check_default_runtime, NO_ENGINE, ["unknown"], "not known"),
        (checks.check_runc, WELL, ["ok"], "1.3.6"),
        (checks.check_runc, engine(runc_version="1.4.3"), ["ok"], "1.4.3"),
        (checks.check_runc, engine(runc_version="1.4.2+ds1"), ["warning"], "1.4.2"),
        (checks.check_runc, engine(runc_version="1.1.5+ds1"), ["warning"], "backported"),
        (checks.check_runc, replace(engine(runc_version="1.2.4"), distribution="fedora"), ["error"], "1.3.6"),
        (checks.check_runc, engine(runc_version=""), ["unknown"], "not known"),
        (checks.check_driver, WELL, ["ok"], "CUDA 12 and 13"),
        (checks.check_driver, probe(driver_version="525.60.13"), ["ok"], "CUDA 13 needs 580"),
        (checks.check_driver, probe(driver_version="515.105.01"), ["error"], "525"),
        (checks.check_driver, probe(driver_version=None), ["unknown"], "does not say"),
        (checks.check_driver, probe(missing_reason="no library"), ["error"], "no library"),
        (
            checks.check_driver,
            replace(probe(missing_reason="no library"), specs=(SIMULATED,)),
            ["unknown"],
            "gpuspawner sim env",
        ),
        (checks.check_driver, probe(devices=(reading(A), reading(B, error="hangs"))), ["error"], "hangs"),
        (checks.check_driver, replace(WELL, probe=None), ["unknown"], "not asked"),
        (checks.check_specs, WELL, ["ok"], "2 device(s)"),
        (checks.check_specs, specs(CdiSpec(SPEC, (A,))), ["error"], f"In no CDI spec: {B}"),
        (checks.check_specs, specs(CdiSpec(SPEC, (A, B, "GPU-old"))), ["error"], "GPU-old"),
        (
            checks.check_specs,
            specs(CdiSpec(SPEC, (A, "GPU-old"))),
            ["error", "error"],
            "nvidia-ctk cdi generate",
        ),
        (checks.check_specs, specs(CdiSpec("/etc/cdi/nvidia.yaml", (A, B))), ["warning", "ok"], "static"),
        (checks.check_specs, specs(CdiSpec(SPEC, (A, B)), CdiSpec("/x", error="bad")), ["error", "ok"], "/x"),
        (
            checks.check_specs,
            specs(CdiSpec(SPEC, (A, B)), CdiSpec("/var/run/cdi/old.yaml", (A,))),
            ["error", "ok"],
            "neither",
        ),
        (
            checks.check_specs,
            specs(CdiSpec(SPEC, (A, B)), CdiSpec("/run/other/nvidia.yaml", (A,))),
            ["ok"],
            "2 device(s)",
        ),
        (
            checks.check_specs,
            specs(CdiSpec(SPEC, (A, B)), CdiSpec("/var/run/cdi/gpuspawner-sim-y.json", ("GPU-y",))),
            ["ok"],
            "2 device(s)",
        ),
        (checks.check_specs, probe(missing_reason="no library"), ["unknown"], "cannot be compared"),
        (checks.check_specs, NO_ENGINE, ["unknown"], "not known"),
        (checks.check_toolkit, WELL, ["ok"], "1.19.1"),
        (checks.check_toolkit, replace(WELL, toolkit_version="1.18.2"), ["error"], "1.19.1"),
        (checks.check_toolkit, replace(WELL, toolkit_version=None), ["warning"], "not found"),
        (checks.check_toolkit, probe(devices=(reading(A, "L40S (simulated)"),)), ["ok"], "simulated"),
        (checks.check_toolkit, probe(devices=()), [], ""),
        (checks.check_shm, WELL, ["ok"], "8.0 GiB"),
        (checks.check_shm, replace(WELL, shm_bytes=64 * 1024**2), ["warning"], "64 MiB"),
        (checks.check_shm, replace(WELL, shm_bytes=None), ["unknown"], "not known"),
        (checks.check_disks, WELL, ["ok", "ok"], "100.0 GiB"),
        (checks.check_disks, disk("Docker's images and volumes", 19), ["warning"], "docker image prune"),
        (checks.check_disks, disk("Docker's images and volumes", 4), ["error"], "4.0 GiB"),
        (checks.check_disks, disk("the ledger", 0.5), ["warning"], "df -h /d"),
        (checks.check_disks, disk("the ledger", 0.05), ["error"], "df -h /d"),
        (checks.check_files, WELL, ["ok"], "closed"),
        (checks.check_files, replace(WELL, files=(FileMode("/l/x", 0o644),)), ["error"], "chmod o-rwx /l/x"),
        (checks.check_files, replace(WELL, files=(FileMode("/l/x", 0o602),)), ["error"], "0602"),
        (checks.check_files, replace(WELL, files=(FileMode("/l/x", 0o644, True),)), ["ok"], "closed"),
        (checks.check_files, replace(WELL, files=()), [], ""),
        (checks.check_ledger, WELL, ["ok", "ok"], "can be read and written"),
        (
            checks.check_ledger,
            ledger(error="It is read-only.", last_report=NOW),
            ["error", "ok"],
            "read-only",
        ),
        (checks.check_ledger, ledger(error="It is of a newer gpuspawner."), ["error", "unknown"], "newer"),
        (checks.check_ledger, ledger(), ["ok", "error"], "never reported"),
        (
            checks.check_ledger,
            ledger(last_report=NOW - timedelta(seconds=95)),
            ["ok", "error"],
            "gpuspawner agent --ledger /l/ledger.sqlite",
        ),
        (checks.check_ledger, replace(WELL, ledger=None), ["unknown"], "--ledger PATH"),
    ],
)
def test_check(check: Check, facts: Facts, levels: list[str], says: str) -> None:
    found = list(check(facts))
    assert [finding.level.value for finding in found] == levels
    assert says in " ".join(f"{f.what} {f.why} {f.fix}" for f in found)
    for finding in found:
        assert finding.what
        if finding.level.value in ("warning", "error"):
            assert finding.why
            assert finding.fix


def test_a_well_host_has_only_good_findings() -> None:
    assert {finding.level.value for finding in check_all(WELL)} == {"ok"}


def test_a_host_of_which_nothing_is_known_breaks_no_check() -> None:
    assert "ok" not in {finding.level.value for finding in check_all(Facts(now=NOW))}


def test_every_check_runs() -> None:
    assert set(checks.CHECKS) == {f for name, f in vars(checks).items() if name.startswith("check_")} - {
        check_all
    }


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.1.5+ds1", (1, 1, 5)),
        ("v1.4.3", (1, 4, 3)),
        ("580.95.05", (580, 95, 5)),
        ("28.2", (28, 2)),
        ("?", ()),
    ],
)
def test_parse_version(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_text_and_json_tell_the_same() -> None:
    found = check_all(engine(default_runtime="nvidia"))
    text = render(found)
    assert "ERROR    default-runtime: Docker's default runtime is nvidia." in text
    assert 'fix: Remove "default-runtime"' in text
    assert "1 error" in text.splitlines()[-1]
    data = to_json(found, "host")
    assert (data["schema"], data["healthy"], len(data["findings"])) == (1, False, len(found))  # type: ignore[arg-type]
    assert set(data["findings"][0]) == {"check", "level", "what", "why", "fix"}  # type: ignore[index]
    assert to_json(check_all(WELL), "host")["healthy"] is True


@pytest.mark.parametrize(
    ("runs", "in_line", "level", "says"),
    [
        (True, 3, Level.OK, "The controller runs; 3 in line"),
        (False, 2, Level.ERROR, "No controller runs, and 2 in line wait for it."),
        (False, 0, None, ""),
        (None, 2, None, ""),
    ],
)
def test_controller(runs: bool | None, in_line: int, level: Level | None, says: str) -> None:
    fresh = NOW - timedelta(seconds=2)
    facts = replace(WELL, ledger=LedgerFacts("/l", last_report=fresh, in_line=in_line, controller_runs=runs))
    found = [(one.level, one.what) for one in check_all(facts) if one.check == "controller"]
    assert found == ([(level, says)] if level else [])


@pytest.mark.parametrize(
    ("runs", "door", "level"),
    [
        (True, DoorFacts("http://10.0.0.1:8082/api/session"), Level.OK),
        (True, DoorFacts("http://10.0.0.1:8082/api/session", "Connection refused"), Level.ERROR),
        (False, DoorFacts("http://10.0.0.1:8082/api/session", "Connection refused"), None),
        (True, None, None),
    ],
)
def test_door_of_the_controller(runs: bool, door: DoorFacts | None, level: Level | None) -> None:
    ledger = LedgerFacts("/l", last_report=NOW, controller_runs=runs)
    found = [one for one in check_all(replace(WELL, ledger=ledger, door=door)) if one.check == "session-door"]
    assert [one.level for one in found] == ([level] if level else [])
    if level is Level.ERROR:
        assert "http://10.0.0.1:8082/api/session: Connection refused" in found[0].what
        assert "controller.port" in found[0].fix
