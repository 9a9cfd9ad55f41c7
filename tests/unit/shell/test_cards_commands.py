"""``gpuspawner drain``, ``undrain``, ``assign`` and ``clear``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.claims import Holder
from gpuspawner.core.drains import NOW_GRACE
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Health, LeaseState, Party
from gpuspawner.shell.cards import find_device, read_end, read_holder
from support.build import HOST, NOW, device, lease, record

A = "GPU-8de13fdf-4f55-58bc-855e-699ea6f6a5c9"
B = "GPU-4ea38e2d-cada-5412-9abb-cef3d9bff04f"
C = "GPU-4ea00000-cada-5412-9abb-cef3d9bff04f"
OLD = "GPU-0ld00000-cada-5412-9abb-cef3d9bff04f"
S1, S2 = "MIG-11111111", "MIG-22222222"
FLEET = [
    record(A, index=0),
    record(B, index=1),
    record(device=device(S1, index=2, parent=C)),
    record(device=device(S2, index=2, parent=C)),
]
GONE = [record(OLD, index=0)]


# -- what is typed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "uuid"),
    [
        ("0", A),
        (A, A),
        ("GPU-8d", A),
        ("GPU-4ea3", B),
        ("2", C),
        (C, C),
        ("GPU-4ea0", C),
        (S1, S1),
        ("MIG-2", S2),
        (OLD, OLD),
        ("GPU-0ld", OLD),
    ],
)
def test_find_device(card: str, uuid: str) -> None:
    assert find_device(card, FLEET, GONE) == uuid


@pytest.mark.parametrize(
    ("card", "why"), [("GPU-4ea", "several"), ("MIG-", "several"), ("7", "no card"), ("", "no card")]
)
def test_find_device_says_what_there_is(card: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"means .*{why}.*; there are 0: {A}"):
        find_device(card, FLEET, GONE)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is in Berlin: NOW is 14:00 there."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("until", "length", "end"),
    [
        (None, None, None),
        ("18:00", None, NOW + timedelta(hours=4)),
        ("13:00", None, NOW + timedelta(hours=23)),
        ("2030-05-17T18:00", None, NOW + timedelta(hours=4)),
        (" 2030-05-17 18:00 ", None, NOW + timedelta(hours=4)),
        ("2030-05-17T18:00+00:00", None, NOW + timedelta(hours=6)),
        ("2030-12-17T18:00", None, datetime(2030, 12, 17, 17, 0, tzinfo=UTC)),
        (None, "2h", NOW + timedelta(hours=2)),
        (None, "1 h 30 min", NOW + timedelta(minutes=90)),
    ],
)
def test_read_end(until: str | None, length: str | None, end: datetime | None) -> None:
    assert read_end(until, length, NOW) == end


@pytest.mark.parametrize(
    ("until", "length", "why"),
    [
        ("18:00", "2h", "not both"),
        ("soon", None, "--until 'soon': write a time such as"),
        ("25:00", None, "write a time"),
        ("2030-13-01", None, "write a time"),
        (None, "2", "--for '2': write a time with its unit"),
        (None, "-2h", "write a time with its unit"),
    ],
)
def test_an_end_that_is_none(until: str | None, length: str | None, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_end(until, length, NOW)


@pytest.mark.parametrize(
    ("text", "holder"),
    [
        ("ada", Holder("person", "ada")),
        ("group:vision", Holder("group", "vision")),
        ("course:ml:2", Holder("course", "ml:2")),
        ("robot:r2", Holder("person", "robot:r2")),
        ("group:", Holder("group", "")),
    ],
)
def test_read_holder(text: str, holder: Holder) -> None:
    assert read_holder(text) == holder


# -- the commands -------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    book = Ledger(path)
    with book.write() as unit:
        for one in FLEET:
            unit.put_device(one)
        held = lease(LeaseState.ACTIVE, A, id="l1", owner="ana", server="big", party=Party(("vision",)))
        unit.add_lease(held)
        unit.add_lease(lease(LeaseState.QUARANTINED, B, id="l2", owner="bob"))
    book.close()
    return path


class Shell:
    def __init__(self, ledger: Path) -> None:
        self._where = ("--ledger", str(ledger), "--host", HOST)

    def __call__(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out

    def json(self, *arguments: str) -> Any:
        data = json.loads(self(*arguments, "--json"))
        assert data["schema"] == 1
        return data

    def run(self, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(main, [*arguments, *self._where])
        return result.exit_code, result.stdout, result.stderr

    def state(self, uuid: str) -> str:
        return next(str(d["state"]) for d in self.json("status")["devices"] if d["uuid"] == uuid)


@pytest.fixture
def shell(ledger: Path) -> Shell:
    return Shell(ledger)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuspawner.shell.cards.actor", lambda: "root")


WHY = ("--reason", "fan is replaced")


@pytest.mark.usefixtures("root")
def test_drain_and_undrain(shell: Shell) -> None:
    assert shell("drain", "0", *WHY) == (
        f"{A} is drained by root: fan is replaced\n  The session of ana/big goes on.\n"
    )
    assert shell("drain", "1", *WHY) == (
        f"{B} is drained by root: fan is replaced\n"
        "  The session of bob has ended, and its release is under way (quarantined).\n"
    )
    assert shell("drain", "2", *WHY) == f"{C} is drained by root: fan is replaced\n"
    assert (shell.state(S1), shell.state(S2)) == ("drained", "drained")
    assert shell("undrain", "2", *WHY) == f"{C} is in use again; it was drained by root: fan is replaced\n"
    assert shell.run("undrain", "2", *WHY)[2] == f"Error: {C} is not drained; nothing was changed.\n"


@pytest.mark.usefixtures("root")
def test_drain_now_says_when_sessions_end_and_that_it_changed(shell: Shell) -> None:
    shell("drain", "0", *WHY)
    out = shell("drain", "0", *WHY, "--now", "--for", "2 d")
    assert out.startswith(f"Changed: it was drained already. {A} is drained by root until ")
    assert "  The session of ana/big ends at " in out


@pytest.mark.usefixtures("root")
def test_drain_for_programs(shell: Shell) -> None:
    first = shell.json("drain", "0", *WHY)
    assert (first["device"], first["before"], first["leases"][0]["ends_at"]) == (A, None, None)
    until = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0).isoformat()
    data = shell.json("drain", "0", *WHY, "--until", until, "--now")
    assert data["before"] == first["drain"]
    since = data["drain"]["since"]
    assert data["drain"] == {
        "reason": "fan is replaced",
        "actor": "root",
        "since": since,
        "until": until,
        "now": True,
    }
    assert data["leases"][0] | {"ends_at": ""} == {
        "id": "l1",
        "owner": "ana",
        "server": "big",
        "state": "active",
        "ends_at": "",
        "end_reason": "card is drained by root: fan is replaced",
    }
    ends_at = datetime.fromisoformat(data["leases"][0]["ends_at"])
    assert timedelta(0) < ends_at - datetime.now(UTC) <= NOW_GRACE
    assert shell.json("undrain", "0", *WHY) == {"schema": 1, "device": A, "was": data["drain"]}


@pytest.mark.usefixtures("root")
def test_assign(shell: Shell) -> None:
    assert shell("assign", "0", "--to", "group:vision", *WHY) == f"{A} is kept for group `vision`.\n"
    assert shell("assign", "0", "--to", "eve", *WHY) == (
        f"{A} is kept for eve, and no more for group `vision`.\n  The session of ana/big goes on.\n"
    )
    shell("assign", S1, "--to", "course:ml", *WHY)
    assert (shell.state(S1), shell.state(S2)) == ("kept", "free")
    assert shell("assign", "0", "--nobody", *WHY) == f"{A} is for everybody again; it was kept for eve.\n"


@pytest.mark.usefixtures("root")
def test_assign_for_programs(shell: Shell) -> None:
    pin = shell.json("assign", "2", "--to", "course:ml", *WHY)["pin"]
    assert pin | {"since": ""} == {
        "kind": "course",
        "name": "ml",
        "reason": "fan is replaced",
        "actor": "root",
        "since": "",
    }
    assert shell.json("assign", "2", "--to", "ana", *WHY)["before"] == pin
    assert shell.json("assign", "2", "--nobody", *WHY)["was"]["name"] == "ana"


@pytest.mark.parametrize("choice", [(), ("--to", "ana", "--nobody")])
def test_assign_needs_one_of_both(shell: Shell, choice: tuple[str, ...]) -> None:
    code, _, err = shell.run("assign", "0", *choice, *WHY)
    assert code == 2
    assert "Give --to WHO, or --nobody." in err


@pytest.mark.parametrize(
    "command", [("drain", "0"), ("undrain", "0"), ("assign", "0", "--to", "ana"), ("clear", "0")]
)
def test_every_command_needs_a_reason(shell: Shell, command: tuple[str, ...]) -> None:
    assert shell.run(*command)[0] == 2
    code, _, err = shell.run(*command, "--reason", " ")
    assert code == 1
    assert "Give a reason" in err


def test_what_people_named_cannot_move_the_cursor(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuspawner.shell.cards.actor", lambda: "a\x1b[2Jb")
    assert "\x1b" not in shell("drain", "0", *WHY)
    assert "\x1b" not in shell("status")


# -- clear --------------------------------------------------------------------------------------------------


def put_faults(ledger: Path, *uuids: str) -> None:
    book = Ledger(ledger)
    with book.write() as unit:
        for one in FLEET:
            if one.device.uuid in uuids:
                wrong = {"standing_fault": "XID 79", "health": Health.FAULTY, "health_reason": "XID 79"}
                unit.put_device(replace(one, **wrong))
    book.close()


@pytest.mark.usefixtures("root")
def test_clear_once_with_a_line_in_the_audit_trail(shell: Shell, ledger: Path) -> None:
    put_faults(ledger, A)
    arguments = ("clear", "0", "--reason", "seated anew")
    assert shell(*arguments) == f"Cleared {A}: XID 79\n"
    book = Ledger(ledger)
    with book.read() as unit:
        found = unit.inventory(HOST)[0]
        (event,) = unit.recent_events(5)
    book.close()
    assert (found.standing_fault, found.health) == (None, Health.FAULTY)
    assert (event.kind, event.reason, event.actor, event.device, event.data) == (
        "device.cleared",
        "seated anew",
        "root",
        A,
        {"fault": "XID 79"},
    )
    code, _, err = shell.run(*arguments)
    assert code == 1
    assert "no standing fault; nothing was changed. It is faulty: XID 79." in err


def test_clear_of_a_card_clears_its_slices(shell: Shell, ledger: Path) -> None:
    put_faults(ledger, S1, S2)
    faults = [{"device": uuid, "fault": "XID 79"} for uuid in (S1, S2)]
    assert shell.json("clear", "2", *WHY) == {"schema": 1, "cleared": faults}
