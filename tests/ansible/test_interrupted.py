"""Runs that are killed on the way, and started again. Slow: ``make test-ansible``."""

from __future__ import annotations

import json

import pytest
from support.client import Client
from support.fresh_server import FreshServer
from support.kills import choose, kill_at, list_tasks
from support.playing import OURS, SETTINGS, must_change_nothing, must_play, play

pytestmark = [pytest.mark.docker, pytest.mark.server]

SEED, KILLS = 20301117, 4
"""With the one in the first installation (conftest.py) there are five."""


def test_a_run_that_is_killed_and_started_again_converges(server: FreshServer, ada: Client) -> None:
    code, printed = play(server, "site")
    assert code == 0, printed[-6000:]
    for number, task in enumerate(choose(list_tasks(printed), KILLS, SEED)):
        # Other settings each time, and another release where releases are made and switched to.
        if number in (1, 2):
            server.shell(f"echo '# release {number}' >>spawner/gpuspawner/__init__.py")
        server.shell(f"sed -i 's/pids: .*/pids: {5000 + number}/' {SETTINGS}")
        server.shell(f"grep -q pids: {SETTINGS} || sed -i 's/    memory: .*/&\\n    pids: 5000/' {SETTINGS}")
        kill_at(server, task)
        must_play(server, "site")
        assert f"pids: {5000 + number}" in server.must("cat", "/etc/gpuspawner/gpuspawner.yml")
        require_what_was_asked_for(server)
        model = ada.model()
        assert model is not None
        assert model["ready"]
    before = server.started()
    must_change_nothing(server)
    assert server.started() == before


def require_what_was_asked_for(server: FreshServer) -> None:
    """Each unit runs, and from the release that ``current`` names: the newest, of which there is no half."""
    units = server.must("systemctl", "is-active", *OURS).split()
    assert units == ["active"] * len(OURS)
    release = server.must("readlink", "/opt/gpuspawner/current").strip()
    for name in ("agent", "hub", "controller"):
        assert server.must("cat", f"/run/gpuspawner-{name}/inputs").split()[1] == release
    releases = server.must("ls", "-t", "/opt/gpuspawner/releases").split()
    assert f"releases/{releases[0]}" == release
    assert not any(name.endswith(".partial") for name in releases)
    assert json.loads(server.must("gpuspawner", "status", "--json"))["stale"] is False
