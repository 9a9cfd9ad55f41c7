"""What the server of a session has in its launcher, from what is on the PATH: stand-ins here."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

FINISH = Path(__file__).parents[3] / "images" / "finish"
VSCODE = FINISH / "vscode.sh"
STAND_IN = """#!/bin/sh
printf '%s\\n' "$@"
"""


def read_config() -> Any:
    """The settings of a session's server on this PATH."""
    config = Config()
    exec((FINISH / "jupyter_server_config.py").read_text(), {"get_config": lambda: config})
    return config


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str) -> None:
    """Put a program there."""
    (folder / name).write_text(STAND_IN)
    (folder / name).chmod(0o755)


def test_nothing_is_offered_that_is_not_there(programs: Path) -> None:
    assert "servers" not in read_config().ServerProxy


def test_what_is_there_is_offered(programs: Path) -> None:
    put(programs, "tensorboard")
    assert set(read_config().ServerProxy.servers) == {"tensorboard"}
    put(programs, "code-server")
    assert set(read_config().ServerProxy.servers) == {"tensorboard", "vscode"}


def test_an_open_editor_is_no_activity_and_listens_on_no_port(programs: Path) -> None:
    put(programs, "code-server")
    entry = read_config().ServerProxy.servers["vscode"]
    assert entry["update_last_activity"] is False
    assert entry["unix_socket"] is True
    assert "{port}" not in entry["command"]


def start_vscode(tmp_path: Path) -> list[str]:
    """What code-server would be started with."""
    put(tmp_path, "code-server")
    environment = {
        "PATH": f"{tmp_path}:{os.defpath}",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path),
        "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/gpu/",
    }
    command = ["sh", str(VSCODE), "/run/socket"]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_vscode_is_at_that_socket_for_this_user_alone_and_tells_nobody(tmp_path: Path) -> None:
    words = start_vscode(tmp_path)
    assert words[-1] == str(tmp_path / "home")
    following = dict(pairwise(words))
    assert following["--auth"] == "none", "Jupyter's own is before it"
    assert (following["--socket"], following["--socket-mode"]) == ("/run/socket", "600")
    assert following["--abs-proxy-base-path"] == "/user/ada/gpu/vscode"
    assert {"--disable-telemetry", "--disable-update-check"} <= set(words)


def test_two_servers_with_one_home_do_not_meet(tmp_path: Path) -> None:
    one, other = ({*start_vscode(tmp_path)} for _ in range(2))
    own = {word for word in one if word.endswith("/session")}
    assert own
    assert not own & other
