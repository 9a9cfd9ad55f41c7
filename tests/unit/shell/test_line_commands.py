"""``gpuspawner queue`` and ``gpuspawner lease``, over a real ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.claims import TicketState
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.model import SpawnRequest
from support.build import GIB, HOST, lease, record, ticket


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    path = tmp_path / "ledger.db"
    monkeypatch.setenv("GPUSPAWNER_LEDGER", str(path))
    monkeypatch.setenv("LOGNAME", "root-of-all")
    now = datetime.now(UTC)
    made = Ledger(path)
    with made.write() as unit:
        unit.put_device(record("GPU-0", seen_at=now + timedelta(minutes=5)))
        unit.add_lease(lease(S.ACTIVE, "GPU-0", ends_at=now + timedelta(hours=2), end_reason="enough"))
        unit.add_ticket(ticket(SpawnRequest(1, "A100", session=timedelta(hours=8)), id="first"))
        unit.add_ticket(ticket(SpawnRequest(1, slice_bytes=10 * GIB), id="second", server="lab"))
    yield made
    made.close()


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, color=True)  # as on a terminal, where codes are not taken out


def test_queue(ledger: Ledger) -> None:
    found = run("queue", "--host", HOST)
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[0].split()[:3] == ["PLACE", "TICKET", "PERSON"]
    assert lines[1].startswith("1      first")
    assert "1 x A100, 8 h" in lines[1]
    assert "0 of 1 GPU is free now (1 in use)" in lines[1]
    assert "slice ≥ 10 GiB" in lines[2]
    assert "second/lab" in lines[2]


def test_queue_for_programs(ledger: Ledger) -> None:
    found = json.loads(run("queue", "--host", HOST, "--json").output)
    assert [(one["id"], one["position"], one["ahead"]) for one in found["places"]] == [
        ("first", 1, 0),
        ("second", 2, 1),
    ]
    assert found["places"][0]["estimate"]["basis"] == "the announced ends of the sessions that run"
    assert found["places"][1]["estimate"] is None


def test_nobody_in_line(ledger: Ledger) -> None:
    found = run("queue", "--host", "elsewhere")
    assert found.stdout == "Nobody is in line.\n"
    assert found.stderr == "note: this ledger knows no card of host elsewhere. Give --host gpu1.\n"


def test_take_somebody_out_of_the_line(ledger: Ledger) -> None:
    assert run("queue", "remove", "first", "--reason", " ", "--host", HOST).exit_code == 1
    found = run("queue", "remove", "first", "--reason", "left the lab", "--host", HOST)
    assert found.output == "Removed first of first.\n"
    with ledger.read() as unit:
        gone = unit.ticket("first")
        event = unit.recent_events(1)[0]
    assert gone is not None
    assert (gone.state, gone.reason) == (TicketState.ENDED, "left the lab")
    assert (event.kind, event.actor, event.reason) == ("ticket.ended", "root-of-all", "left the lab")
    again = run("queue", "remove", "first", "--reason", "x", "--host", HOST)
    assert again.exit_code == 1
    assert "There is no place 'first' in line" in again.output


def test_lease(ledger: Ledger) -> None:
    lines = run("lease", "--host", HOST).output.splitlines()
    assert lines[1].split()[:4] == ["lease1", "ada", "GPU-0", "active"]
    found = json.loads(run("lease", "--host", HOST, "--json").output)
    assert found["leases"][0]["end_reason"] == "enough"
    assert run("lease", "--host", "elsewhere").stdout == "No session runs.\n"
    assert "Ends because: enough" in run("lease", "show", "lease1", "--host", HOST).output
    assert run("lease", "show", "none", "--host", HOST).exit_code == 1


def test_the_beginning_of_an_id_is_enough(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.add_lease(lease(S.QUARANTINED, "GPU-1", id="later"))
    assert "Ends because" in run("lease", "show", "lea", "--host", HOST).output
    found = run("lease", "show", "l", "--host", HOST)
    assert found.exit_code == 1
    assert "'l' means several sessions: " in found.output
    gone = run("queue", "remove", "fir", "--reason", "left", "--host", HOST)
    assert gone.output == "Removed first of first.\n"


def test_names_cannot_move_the_cursor(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.add_lease(lease(S.ACTIVE, "GPU-1", id="hostile", owner="eve\x1b[2J\nx", evidence="\x07"))
    shown = [
        run("lease", "show", "hostile", "--host", HOST),
        run("lease", "message", "hostile", "hello", "--host", HOST),
        run("lease", "stop", "hostile", "--reason", "x", "--host", HOST),
    ]
    assert [one.exit_code for one in shown] == [0, 0, 0]
    assert shown[1].output == "Left for eve?[2J?x.\n"
    assert all(c.isprintable() or c == "\n" for one in shown for c in one.output)


def test_extend(ledger: Ledger) -> None:
    found = run("lease", "extend", "lease1", "--for", "3h", "--reason", "deadline", "--host", HOST)
    assert found.exit_code == 0, found.output
    with ledger.read() as unit:
        kept = unit.lease("lease1")
        told = unit.messages_for("ada")
    assert kept is not None
    assert kept.ends_at is not None
    assert timedelta(hours=2, minutes=59) < kept.ends_at - datetime.now(UTC) < timedelta(hours=3)
    assert "deadline" in told[0].text
    assert run("lease", "extend", "lease1", "--reason", "x", "--host", HOST).exit_code == 2


def test_shorten(ledger: Ledger) -> None:
    found = run("lease", "shorten", "lease1", "--for", "20min", "--reason", "new disks", "--host", HOST)
    with ledger.read() as unit:
        lease, texts = unit.lease("lease1"), [one.text for one in unit.messages_for("ada")]
    assert lease is not None
    assert lease.ends_at is not None
    assert timedelta(minutes=19) < lease.ends_at - datetime.now(UTC) <= timedelta(minutes=20)
    assert found.output == f"lease1 of ada ends at {lease.ends_at:%Y-%m-%d %H:%M} UTC.\n"
    assert texts == [f"Your session will end at {lease.ends_at:%Y-%m-%d %H:%M} UTC: new disks"]
    later = run("lease", "shorten", "lease1", "--for", "5h", "--reason", "x", "--host", HOST)
    assert later.output == found.output
    assert run("lease", "shorten", "lease1", "--reason", "x", "--host", HOST).exit_code == 2


def test_message_and_stop(ledger: Ledger) -> None:
    assert run("lease", "message", "lease1", "The room is hot.", "--host", HOST).output == "Left for ada.\n"
    found = run("lease", "stop", "lease1", "--reason", "fan broke", "--host", HOST)
    assert found.output == "lease1 of ada is being ended.\n"
    with ledger.read() as unit:
        over = unit.lease("lease1")
        texts = [one.text for one in unit.messages_for("ada")]
    assert over is not None
    assert (over.state, over.reason) == (S.RELEASING, "root-of-all: fan broke")
    assert texts == ["root-of-all stopped your session: fan broke", "The room is hot."]
    assert run("lease", "stop", "lease1", "--reason", "again", "--host", HOST).exit_code == 1
    assert os.environ["LOGNAME"] == "root-of-all"
