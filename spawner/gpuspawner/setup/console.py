"""Telling the person who waits what is being done, and keeping long output in files."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from .causes import LAST_LINES as KEPT_LINES
from .causes import find_cause
from .errors import SetupError
from .private import mask_logins

HEARTBEAT_SECONDS = 10.0
LAST_LINES = 20


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def tail(log: Path, count: int = LAST_LINES, *, without: str | None = None) -> str:
    """The last lines of a file, indented; those that contain a certain text can be left out."""
    try:
        with log.open(errors="replace") as lines:
            kept = (line for line in lines if without is None or without not in line)
            return "".join(f"    {line.rstrip()}\n" for line in deque(kept, count))
    except OSError:
        return ""


def run_step(
    title: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | None = None,
    fix: str = "",
) -> None:
    """Run one long command: its title and its time on the console, its output in a log file.

    Args:
        title: What is being done.
        command: Program and arguments.
        log: File for its output; it is appended to, with passwords in addresses masked.
        environment: Variables on top of this process's own.
        cwd: Where to run it.
        stdout: Where its standard output goes instead of the log.
        fix: What to do if it fails, as a sentence.

    Raises:
        SetupError: It failed; with the log's path and last lines.
    """
    say(f"==> {title}")
    started, last = time.monotonic(), deque[str](maxlen=KEPT_LINES)
    with _open_log(log) as output:
        _write(output, f"\n## {title}\n## {' '.join(command)}\n")
        process = _spawn(command, stdout, environment, cwd)
        source = process.stderr if stdout else process.stdout
        copying = threading.Thread(target=_copy_masked, args=(source, output, last), daemon=True)
        copying.start()
        try:
            code = _wait(process, last, started)
        except BaseException:
            _end(process)
            raise
        finally:
            # A process that the command left behind may hold the pipe open.
            copying.join(5)
    if code != 0:
        hint = "".join(f" {text}" for text in (find_cause(last), fix) if text)
        end = "".join(f"    {line}\n" for line in list(last)[-LAST_LINES:])
        raise SetupError(f"{title}: failed (exit code {code}).{hint}\nThe log is {log}; it ends with:\n{end}")
    say(f"    done in {time.monotonic() - started:.0f} s")


def _open_log(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # Nothing is held back: on a full disk there would be no end of trying to write it.
        return log.open("ab", buffering=0)
    except OSError as error:
        raise SetupError(f"The log {log} cannot be written: {error.strerror}.") from error


def _write(log: IO[bytes], text: str) -> None:
    # A log that is closed, because the command left a process behind, takes no more; nor does a full disk.
    with suppress(ValueError, OSError):
        log.write(mask_logins(text).encode())


def _spawn(
    command: Sequence[str],
    stdout: IO[bytes] | None,
    environment: Mapping[str, str] | None,
    cwd: Path | None,
) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C reaches only this process, which then ends the command in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE if stdout else subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise SetupError(
            f"{command[0]} cannot be run: {error.strerror}. Install it, then run again."
        ) from error


def _copy_masked(source: IO[bytes], log: IO[bytes], last: deque[str]) -> None:
    with source:
        for line in source:
            text = line.decode(errors="replace")
            last.append(mask_logins(text).rstrip())
            _write(log, text)


def _wait(process: subprocess.Popen[bytes], last: deque[str], started: float) -> int:
    while True:
        try:
            return process.wait(HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            shown = last[-1].strip()[:100] if last else ""
            say(f"    {time.monotonic() - started:4.0f} s  {shown}")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def capture(
    command: Sequence[str], *, seconds: float = 30, environment: Mapping[str, str] | None = None
) -> str | None:
    """Output of a short command, or None if it is missing, fails, or takes too long."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None
