"""What the gateway of SSH refuses, and what ends what is open: real clients, hostile servers."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gpuspawner.core.model import LeaseState
from support.client import text_of
from support.installation import Installation, wait_for
from support.ssh import Laptop
from support.ssh_site import BANNER, POLICY, answers, copied, door_of, gate, set_up

pytestmark = [pytest.mark.docker, pytest.mark.ssh]


def test_the_gateway_has_no_shell_no_command_and_no_files(ada: Laptop) -> None:
    for words in (("gpu-gateway", "id"), ("-tt", "gpu-gateway"), ("-s", "gpu-gateway", "sftp")):
        done = ada.run(*words)
        assert done.returncode != 0
        assert "uid=" not in done.stdout
        assert done.stdout.strip() == ""


def test_another_s_server_is_not_reached(site: Installation, ada: Laptop, grace: Laptop) -> None:
    assert grace.run("gpu", "true").returncode == 0
    container = site.container("grace")["NetworkSettings"]["Networks"][site.network]["IPAddress"]
    for target in (f"{door_of(site, 'grace')}:2200", f"{container}:2222", f"{container}:8888"):
        done = gate(ada, "-W", target)
        assert done.returncode != 0
        assert "administratively prohibited" in done.stderr, f"{target}: {done.stderr}"
    # Not through the own server either: containers do not reach each other, nor the doors.
    for target, port in ((container, 2222), ("127.64.0.1", 2200)):
        inside = ada.run("gpu", f"timeout 3 bash -c '</dev/tcp/{target}/{port}'")
        assert inside.returncode != 0
    # Not even what a key of theirs would open at the right address.
    config, known = copied(site, "grace")
    ada.write(config, known)
    try:
        assert ada.run("gpu", "true").returncode == 255
    finally:
        ada.write(*copied(site, "ada"))


@pytest.mark.parametrize("target", ["127.0.0.1:{hub}", "127.0.0.1:22", "localhost:2200", "127.0.0.1:2200"])
def test_no_port_of_the_host_is_reached(site: Installation, ada: Laptop, target: str) -> None:
    hub = site.url.rpartition(":")[2]
    done = gate(ada, "-W", target.format(hub=hub))
    assert "administratively prohibited" in done.stderr
    socket_path = gate(ada, "-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:80")
    assert socket_path.returncode == 255


def test_agent_and_x11_are_not_forwarded(ada: Laptop) -> None:
    with agent() as path:
        done = ada.run(
            "-A", "-o", f"IdentityAgent={path}", "-o", "ForwardAgent=yes", "gpu", "echo [$SSH_AUTH_SOCK]"
        )
    assert done.stdout == "[]\n"
    done = ada.run("-X", "gpu", "echo [$DISPLAY]", env={**os.environ, "DISPLAY": ":7"})
    assert done.stdout == "[]\n"


@contextmanager
def agent() -> Iterator[str]:
    path = f"/tmp/agent.{os.urandom(4).hex()}"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: Path(path).exists(), "the agent")
        yield path
    finally:
        process.terminate()
        process.wait()


def test_a_key_that_nobody_has_added_opens_nothing(site: Installation, tmp_path: Path) -> None:
    stranger = Laptop(tmp_path / "stranger")
    stranger.write(*copied(site, "ada"))
    done = stranger.run("gpu", "true")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr
    assert BANNER in done.stderr, "the one thing that a client shows says where to look"


def test_other_accounts_do_not_exist_at_the_gateway(ada: Laptop) -> None:
    for account in ("root", "jovyan", "ada"):
        done = ada.run("-l", account, "gpu-gateway", "true")
        assert "Permission denied" in done.stderr


def test_a_removed_key_ends_what_is_open_within_a_minute(site: Installation, tmp_path: Path) -> None:
    laptop = set_up(site, "grace", tmp_path)
    client = laptop.open("gpu", "echo here; sleep 600")
    assert client.stdout
    assert client.stdout.readline() == "here\n"
    (key,) = [
        one for one in site.client("grace").gpu("GET", "/keys").json()["keys"] if one["key"] in laptop.public
    ]
    assert site.client("grace").gpu("DELETE", f"/keys/{key['id']}").status_code == 200
    began = time.monotonic()
    assert client.wait(60) == 255
    assert time.monotonic() - began < 60
    assert laptop.run("gpu", "true").returncode == 255
    inside = site.exec("grace", "cat /opt/gpuspawner/ssh/authorized_keys")
    assert key["key"] not in inside


def test_a_right_that_is_withdrawn_ends_what_is_open(site: Installation, grace: Laptop) -> None:
    client = grace.open("gpu", "echo here; sleep 600")
    assert client.stdout
    assert client.stdout.readline() == "here\n"
    policy = Path(site.settings["policy"])
    policy.write_text(POLICY + "people:\n  grace: {ssh: false}\n")
    try:
        assert client.wait(60) == 255
        assert grace.run("gpu", "true").returncode == 255
        page = text_of(site.client("grace").page("/services/gpu/ssh").text)
        assert "SSH is not allowed for you (person `grace`). Ask the administrator." in page
    finally:
        policy.write_text(POLICY)
    wait_for(lambda: grace.run("gpu", "true").returncode == 0, "that she may again", 30)


def test_without_the_controller_nobody_new_comes_in_and_who_is_in_stays(
    site: Installation, ada: Laptop
) -> None:
    client = ada.open("gpu", "while read line; do echo [$line]; done")
    assert client.stdin
    assert client.stdout
    client.stdin.write("one\n")
    client.stdin.flush()
    assert client.stdout.readline() == "[one]\n"
    site.kill("controller")
    try:
        assert ada.run("gpu", "true").returncode == 255
        time.sleep(12)  # longer than from one report to the next
        client.stdin.write("two\n")
        client.stdin.flush()
        assert client.stdout.readline() == "[two]\n"
    finally:
        site.start("controller")
        site.wait_controller()
    wait_for(lambda: ada.run("gpu", "true").returncode == 0, "that the gateway finds it again", 30)
    client.stdin.close()
    assert client.wait(30) == 0


def test_a_flood_of_connections_keeps_nobody_out_for_long(site: Installation, ada: Laptop) -> None:
    assert site.ssh_port
    open_already = ada.open("gpu", "while read line; do echo [$line]; done")
    assert open_already.stdin
    assert open_already.stdout
    open_already.stdin.write("one\n")
    open_already.stdin.flush()
    assert open_already.stdout.readline() == "[one]\n"
    flood = []
    for _ in range(300):
        one = socket.socket()
        one.settimeout(5)
        one.connect(("127.0.0.1", site.ssh_port))
        flood.append(one)
    try:
        open_already.stdin.write("still\n")
        open_already.stdin.flush()
        assert open_already.stdout.readline() == "[still]\n"
    finally:
        for one in flood:
            one.close()
    wait_for(lambda: ada.run("gpu", "true").returncode == 0, "the next connection", 60)
    open_already.stdin.close()
    open_already.wait(20)


def test_a_stopped_server_is_closed_and_the_next_of_its_name_is_another(
    site: Installation, tmp_path: Path
) -> None:
    laptop = set_up(site, "edsger", tmp_path)
    edsger = site.client("edsger")
    client = laptop.open("gpu", "echo here; sleep 600")
    assert client.stdout
    assert client.stdout.readline() == "here\n"
    laptop.run("gpu", "echo before > /tmp/mark")
    name = site.container("edsger")["Name"]
    edsger.stop()
    assert client.wait(60) == 255
    wait_for(lambda: site.lease_of("edsger").state is not LeaseState.ACTIVE, "the end of the session")
    done = laptop.run("gpu", "true")
    assert done.returncode == 255
    page = text_of(edsger.page("/services/gpu/ssh").text)
    assert "No server of yours runs. Start one in the browser, then connect again." in page
    assert edsger.spawn({"gpus": 0}).ready
    assert site.container("edsger")["Name"] == name, "the same name"
    # The same host key, the same configuration, and nothing of the container before.
    assert laptop.run("gpu", "cat /tmp/mark").returncode == 1


def test_a_container_of_the_same_name_that_is_not_the_server_is_not_reached(
    site: Installation, tmp_path: Path
) -> None:
    laptop = set_up(site, "edsger", tmp_path)
    assert laptop.run("gpu", "true").returncode == 0
    real = site.container("edsger")
    name = real["Name"].lstrip("/")
    site.engine.rename(real["Id"], f"{name}-moved")
    image = real["Image"]
    host = site.engine.create_host_config(network_mode=site.network)
    other = site.engine.create_container(image, ["sleep", "600"], name=name, host_config=host)
    try:
        site.engine.start(other["Id"])
        done = laptop.run("gpu", "hostname")
        assert done.stdout.strip() == real["Config"]["Hostname"]
    finally:
        site.engine.remove_container(other["Id"], force=True)
        site.engine.rename(real["Id"], name)


HOSTILE = r"""
import socket, sys, threading, time
def serve(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n" + b"\xff" * 100_000)
    try:
        while connection.recv(65536):
            connection.sendall(b"\0" * 65536)
    except OSError:
        pass
listener = socket.create_server(("0.0.0.0", 2222))
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def test_a_server_whose_sshd_was_replaced_harms_nobody_but_its_person(
    site: Installation, ada: Laptop, tmp_path: Path
) -> None:
    laptop = set_up(site, "edsger", tmp_path)
    script = shlex.quote(HOSTILE)
    site.exec("edsger", f"pkill sshd; sleep 1; (python3 -c {script} >/tmp/hostile 2>&1 &)")
    wait_for(lambda: "up" in site.exec("edsger", "cat /tmp/hostile"), "the hostile server")
    done = laptop.run("gpu", "true")
    assert done.returncode == 255, "the client notices"
    clients = [laptop.open("-N", "gpu") for _ in range(10)]
    assert ada.run("gpu", "echo fine").stdout == "fine\n", "others are not held up"
    for client in clients:
        client.terminate()
        client.communicate(timeout=20)


def test_sshd_that_was_ended_is_told_on_the_page_and_started_again(
    site: Installation, tmp_path: Path
) -> None:
    edsger = site.client("edsger")
    edsger.stop()
    wait_for(lambda: site.lease_of("edsger").state is not LeaseState.ACTIVE, "the end of the session")
    assert edsger.spawn({"gpus": 0}).ready
    laptop = set_up(site, "edsger", tmp_path)
    assert laptop.run("gpu", "true").returncode == 0

    def is_refused() -> bool:
        site.exec("edsger", "pkill sshd")
        return laptop.run("gpu", "true").returncode == 255

    wait_for(is_refused, "a connection before it is started again")
    page = text_of(edsger.page("/services/gpu/ssh").text)
    assert "Nothing answers by SSH in this server" in page
    wait_for(lambda: laptop.run("gpu", "true").returncode == 0, "it to be started again")


def test_a_gateway_that_is_killed_leaves_nothing_open(site: Installation, ada: Laptop) -> None:
    client = ada.open("gpu", "echo here; sleep 600")
    assert client.stdout
    assert client.stdout.readline() == "here\n"
    site.kill("gateway")
    assert client.wait(60) == 255
    assert site.ssh_port
    wait_for(lambda: not answers(site.ssh_port or 0), "the end of its sshd")
    site.start("gateway")
    wait_for(lambda: ada.run("gpu", "true").returncode == 0, "the next gateway", 30)

    def nothing_left() -> bool:
        with site.ledger.read() as unit:
            return not [one for one in unit.open_ssh_sessions("ada") if one.ended_at is None]

    wait_for(nothing_left, "the end of what it had open, in the ledger", 30)
