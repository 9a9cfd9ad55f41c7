"""A fresh server becomes a hub by the commands of docs/install.md. Slow: ``make test-ansible``."""

from __future__ import annotations

import json
import re

import pytest
from support.client import Client
from support.fresh_server import HOME, FreshServer
from support.playing import OURS, SETTINGS, address, must_change_nothing, must_play, must_refuse

pytestmark = [pytest.mark.docker, pytest.mark.server]

KNOCK = (
    "import socket, sys\n"
    "for where in sys.argv[1:]:\n"
    "    host, port = where.rsplit(':', 1)\n"
    "    try: socket.create_connection((host, int(port)), 5).close(); print(where, 'open')\n"
    "    except OSError: print(where, 'closed')\n"
)
"""Run in a server: which of these addresses can be reached."""


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


def test_from_a_server_only_what_is_promised_can_be_reached(server: FreshServer, ada: Client) -> None:
    server.shell(
        "systemctl is-active port-of-others || systemd-run --unit port-of-others python3 -m http.server 9999"
    )
    networks = server.must("ip", "-4", "route", "show", "default").split()
    outside, here = networks[2], address(server)
    container = server.must("docker", "ps", "--quiet", "--filter", "label=gpuspawner.ledger").strip()
    expected = {
        "10.201.0.1:8081": "open",  # the hub's API
        "10.201.0.1:8082": "open",  # the controller's
        "deb.debian.org:80": "open",
        "10.201.0.1:9999": "closed",
        "10.201.0.1:443": "closed",
        "10.200.0.1:9999": "closed",  # Docker's own bridge
        f"{here}:443": "closed",
        f"{here}:9999": "closed",
        f"{outside}:22": "closed",
        "169.254.169.254:80": "closed",
    }
    seen = server.must("docker", "exec", container, "python3", "-c", KNOCK, *expected)
    assert dict(line.rsplit(" ", 1) for line in seen.splitlines()) == expected
    assert server.must("python3", "-c", KNOCK, f"{here}:9999").split()[1] == "open"  # somebody does listen


def test_other_settings_restart_hub_and_controller_and_nobodys_server(
    server: FreshServer, ada: Client
) -> None:
    before = server.started()
    server.shell(f"sed -i 's/memory: 2G/memory: 3G/' {SETTINGS}")
    must_play(server, "site")
    after = server.started()
    restarted = {name for name in before if before[name] != after[name]}
    assert restarted == {"gpuspawner-hub", "gpuspawner-controller"}
    model = ada.model()
    assert model is not None
    assert model["ready"]


def test_the_next_release_and_the_way_back_leave_servers_and_connections(
    server: FreshServer, ada: Client
) -> None:
    before, first = server.started(), server.must("readlink", "/opt/gpuspawner/current")
    server.shell("echo '# another release' >>spawner/gpuspawner/__init__.py")
    must_play(server, "site")
    second, upgraded = server.must("readlink", "/opt/gpuspawner/current"), server.started()
    assert second != first
    follow = {"gpuspawner-agent", "gpuspawner-hub", "gpuspawner-controller"}
    assert {name for name in before if before[name] != upgraded[name]} == follow
    must_play(server, "rollback")
    assert server.must("readlink", "/opt/gpuspawner/current") == first
    back = server.started()
    assert {name for name in before if upgraded[name] != back[name]} == follow
    model = ada.model()
    assert model is not None
    assert model["ready"]
    # The playbook knows that what runs is not what it would bring.
    must_play(server, "site")
    assert server.must("readlink", "/opt/gpuspawner/current") == second
    assert {name for name in before if back[name] != server.started()[name]} == follow


def test_without_a_controller_its_unit_goes_and_all_is_well(server: FreshServer) -> None:
    server.shell(f"sed -i 's/^  limits:/  controller: {{enabled: false}}\\n  limits:/' {SETTINGS}")
    must_play(server, "site")
    units = server.must("systemctl", "list-unit-files", "--no-legend", "gpuspawner-*")
    assert "gpuspawner-hub" in units
    assert "gpuspawner-controller" not in units
    must_play(server, "verify")
    server.shell(f"sed -i '/controller: {{enabled/d' {SETTINGS}")
    must_play(server, "site")
    must_play(server, "verify")


def test_what_the_hub_has_not_is_set_in_a_file_of_ones_own(server: FreshServer) -> None:
    folder = f"{HOME}/ansible/inventory/mine/jupyterhub_config.d"
    server.shell(f"mkdir {folder} && echo 'c.JupyterHub.active_server_limit = 77' >{folder}/10-limit.py")
    must_play(server, "site")
    asked = "runuser -u gpuspawner -- grep -c 77 /etc/gpuspawner/jupyterhub_config.d/10-limit.py"
    assert server.shell(asked).strip() == "1"
    broken = f"echo 'c.JupyterHub.active_server_limit = (' >{folder}/10-limit.py"
    server.shell(f"{broken}; rm -r {folder}")
    must_play(server, "site")
    server.must("test", "!", "-e", "/etc/gpuspawner/jupyterhub_config.d/10-limit.py")


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
