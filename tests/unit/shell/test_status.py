"""``gpuspawner status``."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.activity import begin_activity
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Limits
from gpuspawner.core.model import Device, DeviceRecord, Health, Lease, LeaseState, Sample
from gpuspawner.core.words import describe_duration
from gpuspawner.shell.status import Row, build_rows, render, to_json

NOW = datetime(2026, 1, 21, 12, 0, tzinfo=UTC)
STALE = timedelta(seconds=30)
MIB = 1024 * 1024
A = "GPU-8de13fdf-4f55-58bc-855e-699ea6f6a5c9"
B = "GPU-4ea38e2d-cada-5412-9abb-cef3d9bff04f"
SAMPLE = Sample(NOW, 42, 1500 * MIB, 61, 90_000, ())
CARD = DeviceRecord(Device("host", A, "NVIDIA L40S", 46068 * MIB, 0), Health.OK, "", NOW, sample=SAMPLE)
LEASE = Lease(
    "l1", "host", "ana", "", (A,), LeaseState.ACTIVE, "runs", "run", NOW, NOW, container_id="c" * 64
)


def row(record: DeviceRecord = CARD, lease: Lease | None = None, now: datetime = NOW) -> Row:
    (found,) = build_rows([record], [lease] if lease else [], now=now, stale_after=STALE)
    return found


@pytest.mark.parametrize(
    ("record", "lease", "state", "reason"),
    [
        (CARD, None, "free", ""),
        (CARD, LEASE, "held", ""),
        (CARD, replace(LEASE, state=LeaseState.RESERVED), "held", ""),
        (CARD, replace(LEASE, state=LeaseState.RELEASING), "releasing", ""),
        (
            CARD,
            replace(LEASE, state=LeaseState.QUARANTINED, evidence="process 7"),
            "quarantined",
            "process 7",
        ),
        (CARD, replace(LEASE, devices=(B,)), "free", ""),
        (replace(CARD, occupied_by="process 7 on the host"), None, "occupied", "process 7 on the host"),
        (replace(CARD, health=Health.FAULTY, health_reason="XID 79"), None, "faulty", "XID 79"),
        (replace(CARD, health=Health.FAULTY, health_reason="XID 79"), LEASE, "held", "XID 79"),
        (replace(CARD, health=Health.UNKNOWN, health_reason="it hangs"), None, "unknown", "it hangs"),
    ],
)
def test_state(record: DeviceRecord, lease: Lease | None, state: str, reason: str) -> None:
    found = row(record, lease)
    assert found.state == state
    assert reason in found.reason
    assert bool(found.reason) == bool(reason)
    assert found.holder == ("ana" if lease and A in lease.devices else None)


DRAIN = Drain(A, "fan is replaced", "root", NOW, NOW + timedelta(hours=6))
PIN = Pin(A, Holder("group", "vision"), "their grant paid it", "root", NOW)


@pytest.mark.parametrize(
    ("record", "lease", "drains", "pins", "state", "reason"),
    [
        (CARD, None, [DRAIN], [], "drained", "drained by root until 18:00 UTC: fan is replaced"),
        (CARD, None, [], [PIN], "kept", "kept for group `vision` by root: their grant paid it"),
        (
            replace(CARD, health=Health.FAULTY, health_reason="XID 79"),
            None,
            [DRAIN],
            [],
            "drained",
            "XID 79; drained by root until 18:00 UTC: fan is replaced",
        ),
        (CARD, LEASE, [DRAIN], [], "held", "drained by root until 18:00 UTC: fan is replaced"),
        (replace(CARD, occupied_by="p"), None, [], [PIN], "occupied", "in use by others: p; kept for group"),
        (CARD, None, [replace(DRAIN, until=NOW)], [], "free", ""),
        (CARD, None, [replace(DRAIN, device=B)], [replace(PIN, device=B)], "free", ""),
    ],
)
def test_what_an_administrator_said(*, record, lease, drains, pins, state: str, reason: str) -> None:
    (found,) = build_rows(
        [record], [lease] if lease else [], now=NOW, stale_after=STALE, drains=drains, pins=pins
    )
    assert found.state == state
    assert found.reason.startswith(reason)


def test_what_an_administrator_said_in_the_table_and_for_programs() -> None:
    other = replace(CARD, device=replace(CARD.device, uuid=B, index=1))
    rows = build_rows(
        [CARD, other], [], now=NOW, stale_after=STALE, drains=[DRAIN], pins=[replace(PIN, device=B)]
    )
    table = render(rows, now=NOW, stale_after=STALE)
    assert " drained " in table
    assert " kept for group `vision` " in table
    first, second = to_json(rows, "host", now=NOW, stale_after=STALE)["devices"]  # type: ignore[misc]
    assert (first["state"], first["drained_until"]) == ("drained", "2026-01-21T18:00:00+00:00")
    assert first["drained"] == "drained by root until 18:00 UTC: fan is replaced"
    assert (second["state"], second["kept_for"], second["drained"]) == ("kept", "group `vision`", None)


def test_a_server_that_does_not_answer() -> None:
    watch = Watch("l1", Limits(), begin_activity(NOW), deaf_since=NOW - timedelta(hours=1))
    (found,) = build_rows([CARD], [LEASE], now=NOW, stale_after=STALE, watches={"l1": watch})
    assert found.reason == "does nothing, and the server has hardly answered, if at all, since 11:00 UTC"
    assert found.reason in render([found], now=NOW, stale_after=STALE)


def test_an_old_report_is_not_the_state_now() -> None:
    found = row(now=NOW + timedelta(seconds=95))
    assert (found.state, found.health, found.reason) == ("unknown", "unknown", "last report 95 s ago")
    assert (found.utilization_percent, found.memory_used_bytes, found.temperature_celsius) == (
        None,
        None,
        None,
    )
    assert row(lease=LEASE, now=NOW + timedelta(seconds=95)).state == "held"


def test_an_old_sample_in_a_new_report_is_not_shown() -> None:
    assert (
        row(replace(CARD, sample=replace(SAMPLE, at=NOW - timedelta(seconds=31)))).utilization_percent is None
    )


def test_table() -> None:
    other = replace(
        CARD,
        device=replace(CARD.device, uuid=B, index=1),
        sample=Sample(NOW, None, None, 40),
        health=Health.FAULTY,
        health_reason="XID 79",
    )
    rows = build_rows([CARD, other], [replace(LEASE, server="big")], now=NOW, stale_after=STALE)
    assert render(rows, now=NOW, stale_after=STALE) == (
        "GPU  MODEL        UUID          UTIL %   MEMORY MiB       TEMP °C  HEALTH  STATE   HOLDER   "
        "SINCE (UTC)       CONTAINER\n"
        "0    NVIDIA L40S  GPU-8de13fdf  42       1500 / 46068     61       ok      held    ana/big  "
        "2026-01-21 12:00  cccccccccccc\n"
        "1    NVIDIA L40S  GPU-4ea38e2d  unknown  unknown / 46068  40       faulty  faulty  -        "
        "-                 -\n"
        "GPU 1 (GPU-4ea38e2d): XID 79"
    )


def test_table_says_that_all_of_it_is_old() -> None:
    later = NOW + timedelta(seconds=95)
    rows = build_rows([CARD], [], now=later, stale_after=STALE)
    text = render(rows, now=later, stale_after=STALE)
    assert "State not known: last report 95 s ago" in text
    assert "42" not in text


def test_no_card() -> None:
    assert "No GPU is known" in render([], now=NOW, stale_after=STALE)


def test_names_cannot_move_the_cursor() -> None:
    text = render(
        build_rows([CARD], [replace(LEASE, owner="a\x1b[2Jb")], now=NOW, stale_after=STALE),
        now=NOW,
        stale_after=STALE,
    )
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (95, "95 s"),
        (179, "179 s"),
        (180, "3 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_age(seconds: int, words: str) -> None:
    assert describe_duration(timedelta(seconds=seconds)) == words


def test_json() -> None:
    data = to_json(
        build_rows([CARD], [LEASE], now=NOW, stale_after=STALE), "host", now=NOW, stale_after=STALE
    )
    json.dumps(data)
    assert (data["schema"], data["stale"], data["last_report"]) == (1, False, NOW.isoformat())
    (device,) = data["devices"]  # type: ignore[misc]
    assert (device["uuid"], device["state"], device["holder"]) == (A, "held", "ana")
    assert to_json((), "host", now=NOW, stale_after=STALE)["stale"] is True


# -- the commands -------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    book = Ledger(path)
    with book.write() as unit:
        unit.put_device(replace(CARD, standing_fault="XID 79", health=Health.FAULTY, health_reason="XID 79"))
    book.close()
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_status_command(ledger: Path) -> None:
    code, out, _ = run("status", "--ledger", str(ledger), "--host", "host", "--json")
    assert code == 0
    assert json.loads(out)["devices"][0]["uuid"] == A


def test_status_from_the_environment(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSPAWNER_LEDGER", str(ledger))
    assert "State not known" in run("status", "--host", "host")[1]


def test_status_without_a_ledger_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUSPAWNER_LEDGER", raising=False)
    code, _, err = run("status")
    assert code == 1
    assert "--ledger PATH" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
