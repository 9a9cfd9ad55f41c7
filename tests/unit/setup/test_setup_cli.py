"""What the preparation refuses before it begins, and how it ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuspawner.setup import cli
from gpuspawner.setup.cli import handle_signals, require_free_ports
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.paths import Paths
from support.side_by_side import free_port


@pytest.fixture
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_free_ports_are_taken_for_free() -> None:
    require_free_ports(free_port(neighbours=(1,)))


@pytest.mark.parametrize("above", [0, 1])
def test_a_port_that_is_taken_is_told_with_a_command_that_helps(above: int) -> None:
    port = free_port(neighbours=(1,))
    with (
        socket.create_server(("127.0.0.1", port + above)),
        pytest.raises(SetupError, match=rf"Port {port + above} .*make demo PORT=9000"),
    ):
        require_free_ports(port)


@pytest.mark.parametrize("port", [0, 80, 65001, 99999])
def test_what_is_no_port_for_a_demo_is_told(port: int) -> None:
    with pytest.raises(SetupError, match="1024 to 65000"):
        require_free_ports(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("signals")
def test_a_closed_terminal_ends_in_order_as_a_request_does(number: signal.Signals) -> None:
    handle_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    # The second one, while things are cleared away.
    os.kill(os.getpid(), number)


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    script = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "from gpuspawner.setup.cli import handle_signals; handle_signals(); "
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_disk_that_fills_up_anywhere_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(paths: Paths) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/file")

    (tmp_path / "Makefile").touch()
    monkeypatch.setattr(cli, "Paths", lambda: Paths(tmp_path))
    monkeypatch.setitem(cli.COMMANDS, "lock", ("", full))
    monkeypatch.setattr(sys, "argv", ["gpuspawner.setup", "lock"])
    monkeypatch.setattr(cli, "handle_signals", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert "The disk is full" in told
    assert "/somewhere/file" in told
