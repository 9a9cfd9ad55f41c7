"""A fresh server becomes a hub by the commands of docs/install.md. Slow: ``make test-ansible``."""

from __future__ import annotations

import json
import re

import pytest
from support.client import Client
from support.fresh_server import HOME, FreshServer
from support.playing import OURS, SETTINGS, must_change_nothing, must_play, must_refuse

pytestmark = [pytest.mark.docker, pytest.mark.server]


def test_a_second_run_changes_nothing_and_restarts_nothing(server: FreshServer) -> None:
    before = server.started()
    assert set(OURS) <= set(before)
    must_change_nothing(server)
    assert server.started() == before


def test_somebody_logs_in_through_tls_and_has_the_card_that_the_ledger_says(
    server: FreshServer, ada: Client
) -> None:
    # The hub knows that browsers come through TLS: then it keeps logins from going without.
    secure = {cookie.name: cookie.secure for cookie in ada.session.cookies}
    assert secure["jupyterhub-hub-login"]
    assert secure["jupyterhub-session-id"]
    started = ada.spawn({"gpus": 1}, seconds=300)
    assert started.ready, started.message
    devices = json.loads(server.must("gpuspawner", "status", "--json"))["devices"]
    held = [device["uuid"] for device in devices if device["holder"]]
    container = server.must("docker", "ps", "--quiet", "--filter", "label=gpuspawner.ledger").strip()
    seen = re.findall(r"UUID: (GPU-[-0-9a-f]+)", server.must("docker", "exec", container, "nvidia-smi", "-L"))
    assert seen == held
    assert len(held) == 1


EXTENSIONS = f"{HOME}/ansible/inventory/mine/jupyterhub_config.d"


def test_other_settings_restart_hub_and_controller_and_nobodys_server(
    server: FreshServer, ada: Client
) -> None:
    before = server.started()
    server.shell(f"sed -i 's/memory: 2G/memory: 3G/' {SETTINGS}")
    server.shell(
        f"mkdir {EXTENSIONS} && echo 'c.JupyterHub.active_server_limit = 77' >{EXTENSIONS}/10-limit.py"
    )
    must_play(server, "site")
    after = server.started()
    restarted = {name for name in before if before[name] != after[name]}
    assert restarted == {"gpuspawner-hub", "gpuspawner-controller"}
    model = ada.model()
    assert model is not None
    assert model["ready"]
    # What the hub has no setting for is in a file of one's own, which its user reads.
    asked = "runuser -u gpuspawner -- grep -c 77 /etc/gpuspawner/jupyterhub_config.d/10-limit.py"
    assert server.shell(asked).strip() == "1"


def test_what_is_not_wanted_any_more_goes_and_all_is_well(server: FreshServer) -> None:
    server.shell(f"sed -i 's/^  limits:/  controller: {{enabled: false}}\\n  limits:/' {SETTINGS}")
    server.shell(f"rm -r {EXTENSIONS}")
    must_play(server, "site")
    units = server.must("systemctl", "list-unit-files", "--no-legend", "gpuspawner-*")
    assert "gpuspawner-hub" in units
    assert "gpuspawner-controller" not in units
    server.must("test", "!", "-e", "/etc/gpuspawner/jupyterhub_config.d/10-limit.py")
    must_play(server, "verify")
    server.shell(f"sed -i '/controller: {{enabled/d' {SETTINGS}")
    must_play(server, "site")
    must_play(server, "verify")


def test_an_engine_with_somebody_elses_container_is_left_alone(server: FreshServer) -> None:
    image = server.shell("docker image ls --format '{{.ID}}' gpuspawner/minimal | head -1").strip()
    server.must("docker", "create", "--name", "foreign", image)
    try:
        must_refuse(server, "has containers that are not this hub's: foreign. They may hold cards.")
    finally:
        server.must("docker", "rm", "foreign")


def test_an_engine_with_people_on_it_is_not_restarted_unless_told(server: FreshServer, ada: Client) -> None:
    server.shell(f"echo 'docker_log_files: 4' >>{SETTINGS}")
    must_refuse(
        server, "Run again when nobody works, or set docker_allow_restart to true (live-restore is on"
    )
    before = server.started()
    must_play(server, "site", "-e", '{"docker_allow_restart": true}')
    written = json.loads(server.must("cat", "/etc/docker/daemon.json"))
    assert written["log-opts"]["max-file"] == "4", "what the role wrote follows its variables"
    after = server.started()
    people = {name for name in before if name.startswith("/")}
    assert people
    assert {name for name in before if before[name] != after[name]} == {"docker"}
    server.shell(f"sed -i '/docker_log_files/d' {SETTINGS}")
    written["log-opts"]["max-file"], written["debug"] = "7", True
    server.shell(f"echo '{json.dumps(written)}' >/etc/docker/daemon.json")
    must_play(server, "site", "-e", '{"docker_allow_restart": true}')
    written = json.loads(server.must("cat", "/etc/docker/daemon.json"))
    assert written["log-opts"] == {"max-file": "7", "max-size": "10m"}, "what somebody wrote there stays"
    assert written["debug"]
