"""The ledger over real files, and what people read when the file or its disk is not as it should be."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.ledger.schema import metadata
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.faults import Cause, Fault
from gpuspawner.core.model import Event, Health, Home, HomeKind, Outcome
from gpuspawner.core.model import LeaseState as S
from support.build import HOST, MIB, NOW, ago, busy, device, lease, record, sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    made = Ledger(path)
    yield made
    made.close()


def run(code: str, path: Path, **options) -> subprocess.Popen[str]:
    """Another process with a ledger on the same file."""
    prelude = (
        "import os, sys, time; from pathlib import Path; from gpuspawner.adapters.ledger import Ledger\n"
        "from gpuspawner.core.model import Event; from datetime import datetime, UTC\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


# -- what goes in comes out ---------------------------------------------------------------------------------


def test_devices(ledger: Ledger) -> None:
    full = record(
        device=device("MIG-1", index=3, compute_capability=(8, 0), parent="GPU-0"),
        health=Health.FAULTY,
        health_reason="XID 79",
        standing_fault="XID 79",
        occupied_by="process 7 on the host",
        sample=busy(7, container_id="c"),
        fault=Fault(Cause.XID, "XID 79", "read", since=ago(9), check_since=None),
    )
    bare = record("GPU-1", device=device("GPU-1", index=None), baseline_bytes=None, sample=None)
    checked = Fault(Cause.SILENT, "it hangs", "read", since=ago(9), check_since=NOW)
    partial = sample(processes=None, memory_used_bytes=None)
    unknown = record("GPU-2", index=4, sample=partial, fault=checked)
    with ledger.write() as unit:
        for one in (full, bare, unknown):
            unit.put_device(one)
    with ledger.read() as unit:
        assert unit.inventory(HOST) == (bare, full, unknown)
        assert unit.inventory("elsewhere") == ()
    with ledger.write() as unit:
        unit.drop_devices(HOST, ["MIG-1"])
    with ledger.read() as unit:
        assert unit.inventory(HOST) == (full,)
        assert unit.absent_devices(HOST) == (bare, unknown)
    with ledger.write() as unit:
        unit.put_device(bare)
    with ledger.read() as unit:
        assert unit.inventory(HOST) == (bare, full)


def test_leases(ledger: Ledger) -> None:
    first = lease(S.ACTIVE, "GPU-1", "GPU-0", container_id="c", evidence="e", image="base")
    outcome = Outcome(137, oom_killed=True, memory_limit_bytes=MIB, finished_at=NOW, log_tail="x", error="y")
    second = lease(S.RELEASING, id="l2", devices=(), created_at=ago(5), outcome=outcome, server="s")
    with ledger.write() as unit:
        unit.add_lease(second)
        unit.add_lease(first)
    with ledger.read() as unit:
        assert unit.live_leases(HOST) == (first, second)
        assert unit.lease("l2") == second
        assert unit.lease("none") is None
        assert unit.last_lease("ada", "s") == second
        assert unit.last_lease("ada", "none") is None
        assert unit.released_among(["lease1", "l2"]) == frozenset()
    over = replace(first, state=S.RELEASED)
    with ledger.write() as unit:
        unit.update_lease(over)
        unit.add_lease(lease(S.RESERVED, "GPU-0", id="l3", created_at=ago(1)))
    with ledger.read() as unit:
        assert [one.id for one in unit.live_leases(HOST)] == ["l2", "l3"]
        assert unit.lease("lease1") == over
        assert unit.released_among(["lease1", "l2", "none"]) == {"lease1"}
        assert unit.last_lease("ada", "").id == "l3"


def test_homes_and_events(ledger: Ledger) -> None:
    home = Home("ada", HomeKind.BIND, "/homes/ada")
    events = [Event(NOW, f"k{n}", "why", "ada", "lease1", "GPU-0", {"n": [n, None]}) for n in range(3)]
    with ledger.write() as unit:
        unit.put_home(home, NOW)
        for event in events:
            unit.add_event(event)
    with ledger.read() as unit:
        assert unit.home_of("ada") == home
        assert unit.home_of("bob") is None
        assert unit.recent_events(2) == [events[2], events[1]]


def test_events_of_one_kind_between_two_times(ledger: Ledger) -> None:
    events = [Event(ago(-n), kind, "why") for n in range(4) for kind in ("a.b", "a.bc")]
    with ledger.write() as unit:
        for event in events:
            unit.add_event(event)
    with ledger.read() as unit:
        assert unit.events_between("a.b", ago(-1), ago(-3)) == [events[2], events[4]]
        assert unit.events_between("a.b", ago(-3), ago(-1)) == []


def test_times_come_back_in_utc_and_naive_ones_are_refused(ledger: Ledger) -> None:
    abroad = NOW.astimezone(timezone(timedelta(hours=5)))
    with ledger.write() as unit:
        unit.put_device(record(seen_at=abroad))
    with ledger.read() as unit:
        assert str(unit.inventory(HOST)[0].seen_at) == str(NOW)
    with pytest.raises(LedgerError, match="without a time zone"), ledger.write() as unit:
        unit.put_device(record(seen_at=datetime(2030, 1, 1)))


def test_one_card_has_one_owner(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.add_lease(lease(S.QUARANTINED))

    def grant_twice() -> None:
        with ledger.write() as unit:
            unit.add_event(Event(NOW, "k", "why"))
            unit.add_lease(lease(S.RESERVED, "GPU-1", "GPU-0", id="l2"))

    with pytest.raises(LedgerError, match="UNIQUE"):
        grant_twice()
    with ledger.read() as unit:
        assert [one.id for one in unit.live_leases(HOST)] == ["lease1"]
        assert unit.recent_events(9) == []
    with ledger.write() as unit:
        unit.update_lease(lease(S.RELEASED))
        unit.add_lease(lease(S.RESERVED, id="l2"))
        unit.add_lease(lease(S.RESERVED, id="l3", host="elsewhere"))


def test_rollup(ledger: Ledger) -> None:
    hour = NOW - timedelta(hours=2)
    found = [
        ("GPU-0", sample(at=hour, utilization_percent=0, power_milliwatts=100, temperature_celsius=30)),
        ("GPU-0", sample(at=hour + timedelta(minutes=20), utilization_percent=50, power_milliwatts=300)),
        ("GPU-0", busy(1, at=hour + timedelta(minutes=59, seconds=59.5), utilization_percent=100)),
        ("GPU-0", sample(at=hour + timedelta(minutes=30), utilization_percent=None)),
        ("GPU-0", sample(at=hour + timedelta(hours=1), utilization_percent=10)),
        ("GPU-1", sample(at=hour, utilization_percent=None, memory_used_bytes=None)),
        ("GPU-0", sample(at=NOW, utilization_percent=10)),
    ]
    with ledger.write() as unit:
        unit.add_samples(HOST, found)
        unit.add_samples(HOST, found[:1])
        unit.add_samples(HOST, [])
    with ledger.write() as unit:
        assert unit.roll_up_samples(NOW + timedelta(minutes=59)) == 6
        assert unit.roll_up_samples(NOW + timedelta(minutes=59)) == 0
    with ledger.read() as unit:
        assert [s.at for s in unit.recent_samples(HOST, "GPU-0", hour)] == [NOW]
    with closing(sqlite3.connect(ledger.path)) as db:
        rows = db.execute("SELECT * FROM sample_hours ORDER BY device, hour").fetchall()
    start = "2030-05-17 10:00:00.000000"
    assert rows[0] == (HOST, "GPU-0", start, 4, 3, 2, 50.0, busy(1).memory_used_bytes, 30, 200.0)
    assert rows[1][2:7] == ("2030-05-17 11:00:00.000000", 1, 1, 1, 10.0)
    assert rows[2] == (HOST, "GPU-1", start, 1, 0, 0, None, None, None, None)


# -- the file -----------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_migrations(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415

    with ledger.read() as unit:
        assert compare_metadata(MigrationContext.configure(unit._db), metadata) == []


def test_nothing_is_made_before_the_first_transaction(ledger: Ledger, path: Path) -> None:
    assert not path.exists()
    with ledger.read() as unit:
        assert len(unit.ledger_id()) == 16


def test_it_is_in_wal_mode_and_readers_do_not_wait_for_writers(ledger: Ledger, path: Path) -> None:
    with ledger.write() as writer:
        writer.add_event(Event(NOW, "k", "why"))
        other = Ledger(path)
        with other.read() as reader:
            assert reader.recent_events(1) == []
        other.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_exception_inside_rolls_back(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.write() as unit:
            unit.add_event(Event(NOW, "k", "why"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with ledger.read() as unit:
        assert unit.recent_events(1) == []


def test_many_threads(ledger: Ledger) -> None:
    def work(n: int) -> None:
        for _ in range(5):
            with ledger.write() as unit:
                unit.add_event(Event(NOW, f"k{n}", "why"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as unit:
        assert len(unit.recent_events(1000)) == 100


def test_processes_that_migrate_at_once(path: Path) -> None:
    code = "with ledger.read() as unit: print(unit.ledger_id())"
    processes = [run(code, path) for _ in range(4)]
    told = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4, told
    assert len(told) == 1


def test_a_process_killed_in_a_transaction(ledger: Ledger, path: Path) -> None:
    with ledger.write() as unit:
        unit.add_event(Event(NOW, "before", "why"))
    process = run(
        "with ledger.write() as unit:\n"
        "    unit.add_event(Event(datetime.now(UTC), 'half', 'why'))\n"
        "    print('in', flush=True); time.sleep(60)",
        path,
    )
    assert process.stdout
    assert process.stdout.readline() == "in\n"
    process.kill()
    process.communicate()
    with ledger.write() as unit:
        assert [e.kind for e in unit.recent_events(9)] == ["before"]
        unit.add_event(Event(NOW, "after", "why"))


def test_a_writer_that_holds_it_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuspawner.adapters.ledger.ledger.BUSY_TIMEOUT_SECONDS", 0.1)
    first, second = Ledger(path), Ledger(path)
    with first.write(), pytest.raises(LedgerError, match="was busy for more than"), second.write():
        pass
    with second.write():
        pass
    first.close()
    second.close()


# -- what may be wrong with it ------------------------------------------------------------------------------


def refusal(ledger: Ledger) -> str:
    with pytest.raises(LedgerError) as caught, ledger.write() as unit:
        unit.add_event(Event(NOW, "k", "x" * 1000))
    assert str(ledger.path) in str(caught.value) or "directory" in str(caught.value)
    return str(caught.value)


def test_no_directory(tmp_path: Path) -> None:
    assert "does not exist; create it" in refusal(Ledger(tmp_path / "no" / "ledger.db"))


def test_not_a_database(path: Path) -> None:
    path.write_text("something else " * 100)
    before = path.read_bytes()
    assert "the file is something else" in refusal(Ledger(path))
    assert path.read_bytes() == before


def test_damaged(ledger: Ledger, path: Path) -> None:
    with ledger.write() as unit:
        for n in range(50):
            unit.add_event(Event(NOW, "k", "why" * 100, data={"n": n}))
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert "is damaged. Restore it from the backup." in refusal(Ledger(path))


def test_of_a_newer_version(ledger: Ledger, path: Path) -> None:
    with ledger.read():
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
    for one in (ledger, Ledger(path)):
        assert "is of a newer gpuspawner (its version is 9999)" in refusal(one)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)


def test_replaced_while_it_was_open(ledger: Ledger, path: Path) -> None:
    with ledger.read():
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE alembic_version")
    assert "was replaced while it was open; restart this process" in refusal(ledger)


def as_nobody(code: str, path: Path) -> str:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody who may not write")
    # What is imported at the first use is imported while it still may be read.
    warm = (
        "other = Ledger(Path(sys.argv[1] + '.other'))\n"
        "try:\n    with other.write() as unit: unit._db.exec_driver_sql('no SQL')\n"
        "except Exception: pass\n"
    )
    process = run(f"{warm}os.setuid(65534)\ntry:\n    {code}\nexcept Exception as error: print(error)", path)
    return process.communicate()[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody may enter: what is above tmp_path is closed again whenever some pytest starts."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_read_only(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    write = "with ledger.write() as unit: unit.add_event(Event(datetime.now(UTC), 'k', 'why'))"
    read = "with ledger.read() as unit: print(unit.recent_events(1)[0].kind)"
    with closing(Ledger(path)) as ledger:
        with ledger.write() as unit:
            unit.add_event(Event(NOW, "k", "why"))
        for file in open_folder.iterdir():
            file.chmod(0o644)
        assert "is read-only. Give this process the right to write it" in as_nobody(write, path)
        assert as_nobody(read, path) == "k\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    ledger = Ledger(small_disk / "ledger.db")
    kept = 0
    told = ""
    while not told:
        try:
            with ledger.write() as unit:
                unit.add_event(Event(NOW, "k", "x" * 4000))
            kept += 1
        except LedgerError as error:
            told = str(error)
    assert "disk" in told
    assert "full" in told
    with ledger.read() as unit:
        assert len(unit.recent_events(10_000)) == kept
    with pytest.raises(LedgerError), ledger.write() as unit:
        unit.add_event(Event(NOW, "k", "x" * 4000))
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    with ledger.write() as unit:
        unit.add_event(Event(NOW, "after", "why"))
    ledger.close()


@pytest.mark.parametrize("folder", ["a space", "que?stion", "per%20cent", "ha#sh", "ümlaut", "a&b=c"])
def test_any_directory_will_do(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "ledger.sqlite"
    path.parent.mkdir()
    ledger = Ledger(path)
    with ledger.write() as unit:
        unit.add_event(Event(NOW, "k", "why"))
    ledger.close()
    assert path.stat().st_size > 0
    assert [entry.name for entry in tmp_path.iterdir()] == [folder]


def test_who_only_looks_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    sqlite3.connect(path).close()
    with pytest.raises(LedgerError, match="older version"), Ledger(path, migrate=False).read():
        pass
    assert path.stat().st_size in (0, 4096)
