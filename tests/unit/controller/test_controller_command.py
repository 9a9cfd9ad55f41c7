"""The command: what keeps it from starting, one tick, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.controller.command import controller
from support.side_by_side import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        data = {
            "state_dir": str(tmp_path),
            "images": {"base": "demo/base:1"},
            "host": "gpu1",
            "controller": {"enabled": True, "port": free_port(), "tick": 0.1},
            "network": {"hub_address": "127.0.0.1"},
        }
        file = tmp_path / "gpuspawner.yml"
        file.write_text(yaml.safe_dump(data | changes))
        return file

    return write


def run(file: Path, *more: str) -> Result:
    return CliRunner().invoke(controller, ["--settings", str(file), *more])


def test_one_tick(settings: Callable[..., Path], tmp_path: Path) -> None:
    result = run(settings(), "--once")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "controller_token").exists()


def test_one_tick_that_fails(settings: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("This is no ledger. " * 100)
    result = run(settings(), "--once")
    assert result.exit_code == 1
    assert "Error: The ledger" in result.output
    assert "Traceback" not in result.output


def test_where_there_is_none(settings: Callable[..., Path], tmp_path: Path) -> None:
    result = run(settings(controller={"enabled": False}))
    assert result.exit_code == 1
    assert "has no controller. Write this there" in result.output
    assert not (tmp_path / "controller_token").exists()


def test_a_second_one_is_refused(
    settings: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuspawner.adapters.runlock._PATIENCE_SECONDS", 0)
    lock = RunLock(tmp_path / "ledger.sqlite.controller.lock", "controller")
    result = run(settings())
    assert result.exit_code == 1
    assert "Another controller already works on this ledger" in result.output
    lock.release()
    assert run(settings(), "--once").exit_code == 0


def test_a_secret_that_others_may_read(settings: Callable[..., Path], tmp_path: Path) -> None:
    secret = tmp_path / "controller_token"
    secret.write_text("a" * 64)
    secret.chmod(0o644)
    result = run(settings())
    assert result.exit_code == 1
    assert "run: chmod 600" in result.output


def test_a_port_that_is_taken(settings: Callable[..., Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(settings(controller={"enabled": True, "port": port}))
    assert result.exit_code == 1
    assert f"Port {port} is not free on 127.0.0.1" in result.output
    assert "set controller.port" in result.output


def test_an_address_that_this_host_does_not_have(settings: Callable[..., Path]) -> None:
    result = run(settings(network={"hub_address": "192.0.2.77"}))
    assert result.exit_code == 1
    assert "This host has no address 192.0.2.77. Start Docker first" in result.output


def test_a_state_directory_that_does_not_exist(settings: Callable[..., Path], tmp_path: Path) -> None:
    result = run(settings(state_dir=str(tmp_path / "no")))
    assert result.exit_code == 1
    assert "No such file or directory" in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_under_the_hub_s_own_path(
    settings: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    port = free_port()
    file = settings(
        controller={"enabled": True, "port": port, "tick": 0.1},
        network={"bind_url": "http://127.0.0.1:8000/lab/", "hub_address": "127.0.0.2"},
    )
    code = "from gpuspawner.controller.command import controller; controller()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--settings", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JUPYTERHUB_API_TOKEN": "x", "JUPYTERHUB_SERVICE_PREFIX": "/elsewhere/"},
    )
    url = f"http://127.0.0.1:{port}/lab/services/gpu"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            answer = requests.get(f"{url}/health", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.05)
    assert answer.json() == {"healthy": True}
    away = requests.get(f"{url}/queue", timeout=5, allow_redirects=False)
    assert away.headers["Location"].startswith("/lab/hub/api/oauth2/authorize")
    assert "Path=/lab/services/gpu/" in away.headers["Set-Cookie"]
    hub_is_away = requests.get(f"{url}/api/me", headers={"Authorization": "token t"}, timeout=30)
    assert hub_is_away.status_code == 503
    inside = f"http://127.0.0.2:{port}/lab/services/gpu"
    assert requests.get(f"{inside}/api/session", timeout=5).status_code == 401
    assert requests.get(f"{inside}/health", timeout=5).status_code == 404
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    assert "Traceback" not in told
    with Ledger(tmp_path / "ledger.sqlite").read() as unit:
        assert unit.ledger_id()
