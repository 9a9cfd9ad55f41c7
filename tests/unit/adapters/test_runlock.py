from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuspawner.adapters import runlock
from gpuspawner.adapters.ownership import open_shared
from gpuspawner.adapters.runlock import RunLock, find_dead_runs, is_held
from gpuspawner.core.errors import RunLockHeld

HOLDER = """
import sys, time
from pathlib import Path
from gpuspawner.adapters.runlock import RunLock
print(RunLock(Path(sys.argv[1]), "hub").run_id, flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runlock, "_PATIENCE_SECONDS", 0.1)
    return tmp_path / "hub.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_until_the_first_is_killed(path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout
    alive = holder.stdout.readline().strip()
    with pytest.raises(RunLockHeld, match="Another hub already works on this ledger"):
        RunLock(path, "hub")
    assert find_dead_runs(path, {alive, "before"}) == {"before"}
    holder.kill()
    holder.wait()
    assert find_dead_runs(path, {alive, "before"}) == {alive, "before"}
    mine = RunLock(path, "hub")
    assert find_dead_runs(path, {alive, mine.run_id}) == {alive}
    mine.release()


def test_each_run_has_a_name_of_its_own(path: Path) -> None:
    first = RunLock(path, "hub")
    first.release()
    second = RunLock(path, "hub")
    assert first.run_id != second.run_id
    assert find_dead_runs(path, {first.run_id, second.run_id}) == {first.run_id}
    second.release()
    assert find_dead_runs(path, {second.run_id}) == {second.run_id}


def test_what_cannot_be_told_is_nobodys_death(path: Path) -> None:
    assert find_dead_runs(path, {"a"}) == frozenset()
    path.mkdir()
    assert find_dead_runs(path / "x", {"a"}) == frozenset()


def test_a_run_that_has_not_written_its_name_yet(path: Path) -> None:
    lock = RunLock(path, "hub")
    path.write_text("")
    assert find_dead_runs(path, {"a"}) == frozenset()
    lock.release()


def test_a_look_at_the_lock_does_not_refuse_a_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415
    import os  # noqa: PLC0415

    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(runlock, "_PATIENCE_SECONDS", 5)
    monkeypatch.setattr(runlock.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    RunLock(path, "hub").release()
    os.close(looking)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        RunLock(tmp_path / "no" / "hub.lock", "hub")


def test_whether_a_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert is_held(path) is False
    lock = RunLock(path, "agent")
    assert is_held(path) is True
    lock.release()
    assert is_held(path) is False
    assert is_held(path / "below") is None


def test_what_root_makes_beside_the_ledger_is_for_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, given = "ledger.db.check.lock", list[tuple[int, int]]()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda file, uid, gid: given.append((uid, gid)))
    before = os.umask(0o077)
    try:
        os.close(open_shared(tmp_path / named))
    finally:
        os.umask(before)
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)]
    assert stat.S_IMODE((tmp_path / named).stat().st_mode) == 0o660
    os.close(open_shared(tmp_path / named))
    assert len(given) == 1, "what is there stays whose it is"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_a_service_takes_the_lock_that_root_has_made(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    RunLock(tmp_path / "ledger.db.check.lock", "image check").release()
    found = (tmp_path / "ledger.db.check.lock").stat()
    assert (found.st_uid, found.st_gid) == (4711, 4711)
