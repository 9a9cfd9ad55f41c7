"""Processes that end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpuspawner.demo import processes
from gpuspawner.demo.processes import Process, ProcessFailed, end, require_alive, start, wait_until

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(code: str, **environment: str) -> Process:
        command = [sys.executable, "-S", "-c", code]
        started.append(start("thing", command, log_dir=tmp_path, environment=environment))
        return started[-1]

    yield run
    for process in started:
        process.popen.kill()
        process.popen.wait()


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_last_words(run: Callable[..., Process]) -> None:
    process = run("for n in range(40): print('line', n)\nraise SystemExit(3)")
    process.popen.wait()
    with pytest.raises(ProcessFailed) as caught:
        require_alive([process])
    text = str(caught.value)
    assert f"The thing ended with code 3. Its log is {process.log}" in text
    assert "line 39" in text
    assert "line 24" not in text


def test_living_processes_are_fine(run: Callable[..., Process]) -> None:
    require_alive([run(SLEEP)])


def test_environment_and_terminal(run: Callable[..., Process]) -> None:
    process = run("import os; print(os.environ['X'], os.getsid(0) == os.getpid())", X="y")
    process.popen.wait()
    assert process.last_words == "y True\n"


def test_log_is_continued(run: Callable[..., Process]) -> None:
    for word in ("one", "two"):
        run(f"print('{word}')").popen.wait()
    assert run("pass").last_words == "one\ntwo\n"


def test_log_that_is_no_text(run: Callable[..., Process]) -> None:
    process = run("import os; os.write(1, b'\\xff\\n')")
    process.popen.wait()
    assert process.last_words == "\ufffd\n"


def test_end(run: Callable[..., Process]) -> None:
    process = run(SLEEP)
    end(process)
    assert process.popen.returncode == -signal.SIGTERM
    end(process)  # one that has ended stays so


def test_end_of_a_stubborn_one(run: Callable[..., Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    process = run(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
        "time.sleep(60)"
    )
    assert wait_for(lambda: process.last_words == "up\n")
    end(process)
    assert process.popen.returncode == -signal.SIGKILL


def test_wait_until(run: Callable[..., Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    process = run(SLEEP)
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), [process], what="It", seconds=5)
    with pytest.raises(ProcessFailed, match="It did not happen within 0 s"):
        wait_until(lambda: False, [process], what="It", seconds=0)
    process.popen.kill()
    process.popen.wait()
    with pytest.raises(ProcessFailed, match="ended with code -9"):
        wait_until(lambda: False, [process], what="It", seconds=60)


PARENT = """
import sys, time
from pathlib import Path
from gpuspawner.demo.processes import start
process = start("child", [sys.executable, "-S", "-c", "import time; time.sleep(60)"],
                log_dir=Path(sys.argv[1]), environment={})
print(process.popen.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_for(lambda: not is_running(child))
