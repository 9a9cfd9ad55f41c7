"""Terminals and editors on people's own machines: real OpenSSH clients, a real gateway, real containers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
import requests
from gpuspawner.allocator.ssh import SshKeys
from gpuspawner.core.activity import SshUse
from gpuspawner.core.model import LeaseState
from support.client import text_of
from support.installation import HOST, Installation, wait_for
from support.side_by_side import free_port
from support.ssh import Laptop
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = [pytest.mark.docker, pytest.mark.ssh]

POLICY = """
groups:
  default: {gpus_per_person: 2, gpus_per_server: 1}
"""
BANNER = "This way leads to your own server and nowhere else. If you are refused, http"
SIZE = 200 * 1024 * 1024


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    environment = 'c.GPUSpawner.environment = {"COURSE_DATA": "/data/a \\"b\\" #c", "COURSE_TOKEN": "hidden"}'
    with Installation(
        users=("ada", "grace", "edsger"),
        layout="2xa100-40gb,1xl40s",
        config=environment,
        settings={
            "policy": str(policy),
            "controller": {"enabled": True, "port": free_port(), "tick": 0.5, "look": "5 s"},
        },
        ssh=True,
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
            assert installation.client(user).spawn({"gpus": 1} if user != "edsger" else {"gpus": 0}).ready
        yield installation


def set_up(site: Installation, user: str, folder: Path) -> Laptop:
    """A machine whose key was added, with what the page says."""
    made = Laptop(folder / f"{user}@laptop")
    answer = site.client(user).gpu("POST", "/keys", json={"key": made.public})
    assert answer.status_code == 201, answer.text
    made.write(*copied(site, user))
    return made


def copied(site: Installation, user: str) -> tuple[str, str]:
    """What the page has to be copied: for ``config``, and for ``known_hosts``."""
    html = site.client(user).page("/services/gpu/ssh").text
    found = dict(re.findall(r'(?s)<textarea[^>]* id="([\w-]+)"[^>]*>(.*?)</textarea>', html))
    return unescape(found["config"]), unescape(found["known-hosts"])


@pytest.fixture(scope="module")
def ada(site: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return set_up(site, "ada", tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def grace(site: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return set_up(site, "grace", tmp_path_factory.mktemp("machines"))


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def forwarding(laptop: Laptop, *options: str, host: str = "gpu") -> Iterator[subprocess.Popen[str]]:
    """A client that only forwards."""
    client = laptop.open("-N", "-o", "ExitOnForwardFailure=yes", *options, host)
    try:
        yield client
    finally:
        client.terminate()
        client.communicate(timeout=20)


# -- what works ---------------------------------------------------------------------------------------------


def test_a_command_runs_in_one_s_own_server_with_its_cards(site: Installation, ada: Laptop) -> None:
    done = ada.run("gpu", "nvidia-smi -L; echo out; echo err >&2; exit 7")
    assert done.returncode == 7, done.stderr
    uuids = re.findall(r"UUID: ([\w-]+)", done.stdout)
    assert tuple(uuids) == site.lease_of("ada").devices
    assert "err" in done.stderr
    assert BANNER in done.stderr
    assert ada.run("gpu", "cat", input="typed").stdout == "typed"


def test_a_terminal_is_one(ada: Laptop) -> None:
    done = ada.run("-tt", "gpu", "tty; stty size; exit 3")
    assert done.returncode == 3
    assert "/dev/pts/" in done.stdout


SHOW = "python3 -c 'import json,os; print(chr(10)+json.dumps(dict(os.environ)))'"
OF_SSH = {"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "MAIL", "LOGNAME", "USER"}
OF_JUPYTER = re.compile(r"JUPYTER_SERVER_|JPY_|JUPYTERHUB_API_TOKEN|COURSE_TOKEN$")
OF_TERMINALS = {
    "TERM",
    "SHLVL",
    "_",
    "PWD",
    "OLDPWD",
    "LINES",
    "COLUMNS",
    "HOSTNAME",
    "PS1",
    "PYXTERM_DIMENSIONS",
}


def test_the_environment_is_that_of_a_terminal_in_jupyterlab(site: Installation, ada: Laptop) -> None:
    in_lab = read_terminal(site, "ada")
    by_ssh = read_json(ada.run("-tt", "gpu", f"bash -lic {shlex.quote(SHOW)}").stdout)
    kept = {k: v for k, v in in_lab.items() if k not in OF_TERMINALS and not OF_JUPYTER.match(k)}
    found = {k: v for k, v in by_ssh.items() if k not in OF_TERMINALS | OF_SSH}
    assert found == {k: v for k, v in kept.items() if k not in OF_SSH}
    assert by_ssh["COURSE_DATA"] == '/data/a "b" #c'
    assert by_ssh["GPUSPAWNER_DEVICES"] == ",".join(site.lease_of("ada").devices)
    assert "JUPYTERHUB_API_TOKEN" in in_lab
    assert not {"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "COURSE_TOKEN"} & by_ssh.keys()
    plain = read_json(ada.run("gpu", SHOW).stdout)
    assert plain["PATH"].split(":")[0] == by_ssh["PATH"].split(":")[0] == "/opt/jupyter/bin"


def read_json(text: str) -> dict[str, str]:
    (line,) = [one for one in text.splitlines() if one.startswith("{")]
    found: dict[str, str] = json.loads(line)
    return found


def read_terminal(site: Installation, user: str) -> dict[str, str]:
    """The environment in a terminal of JupyterLab, asked of its own API."""
    address = site.container(user)["NetworkSettings"]["Networks"][site.network]["IPAddress"]
    headers = {"Authorization": f"token {site.exec(user, 'printf %s $JUPYTERHUB_API_TOKEN')}"}
    base = f"{address}:8888/user/{user}"
    answer = requests.post(f"http://{base}/api/terminals", headers=headers, timeout=30)
    where = HTTPRequest(f"ws://{base}/terminals/websocket/{answer.json()['name']}", headers=headers)
    asyncio.run(type_line(where, f"{SHOW} > environment.json; echo do''ne", "done"))
    return read_json(site.exec(user, "cat /home/jovyan/environment.json"))


async def type_line(where: HTTPRequest, line: str, until: str) -> None:
    """Type into a terminal, and wait until it shows something."""
    terminal = await websocket_connect(where)
    await terminal.write_message(json.dumps(["stdin", f"{line}\r"]))
    shown = ""
    while until not in shown:
        kind, *rest = json.loads(await asyncio.wait_for(terminal.read_message(), 30) or "[]")
        shown += rest[0] if kind == "stdout" else ""
    terminal.close()


def test_files_go_there_and_back_unchanged(ada: Laptop) -> None:
    big = ada.folder / "big"
    with big.open("wb") as file:
        for _ in range(SIZE // (1024 * 1024)):
            file.write(os.urandom(1024 * 1024))
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    done = ada.run("-b", "-", "gpu", program="sftp", input=f"put {big} big\nget big {big}.back\n")
    assert done.returncode == 0, done.stderr
    assert ada.run("gpu", "sha256sum big").stdout.split()[0] == digest
    assert hashlib.sha256(Path(f"{big}.back").read_bytes()).hexdigest() == digest
    assert ada.run(str(big), "gpu:copied", program="scp").returncode == 0
    assert ada.run("gpu", "cmp big copied && rm copied").returncode == 0


def test_rsync_carries_what_has_changed(ada: Laptop) -> None:
    tree = ada.folder / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "one").write_text("1")
    words = ["rsync", "-a", "-e", shlex.join(ada.command()), f"{tree}/", "gpu:tree/"]
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    (tree / "below" / "one").write_text("22")
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    assert ada.run("gpu", "cat tree/below/one").stdout == "22"


WEB = "python3 -m http.server {port} --bind 127.0.0.1 --directory /opt/gpuspawner >/dev/null 2>&1"


@contextmanager
def web(ada: Laptop, port: int) -> Iterator[None]:
    """A page that only the server itself reaches, as TensorBoard is one."""
    server = ada.open("-tt", "gpu", WEB.format(port=port))
    try:
        wait_for(lambda: ada.run("gpu", f"</dev/tcp/127.0.0.1/{port}").returncode == 0, "the page inside")
        yield
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_a_page_inside_is_reached_by_a_forward_and_by_socks(ada: Laptop) -> None:
    here, socks = free_port(), free_port()
    with web(ada, 6006), forwarding(ada, "-L", f"{here}:127.0.0.1:6006", "-D", f"127.0.0.1:{socks}"):
        wait_for(lambda: answers(here) and answers(socks), "the forwards")
        assert "minimal" in requests.get(f"http://127.0.0.1:{here}/image.json", timeout=10).text
        shown = subprocess.run(
            ["curl", "-s", "--socks5-hostname", f"127.0.0.1:{socks}", "http://127.0.0.1:6006/image.json"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        assert "minimal" in shown


VSCODE = """
set -e
mkdir -p ~/.vscode-server/bin
cat > ~/.vscode-server/bin/server <<'END'
import http.server, os, sys
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
open(os.path.expanduser("~/.vscode-server/port"), "w").write(str(server.server_port))
os.chdir("/opt/gpuspawner")
server.serve_forever()
END
rm -f ~/.vscode-server/port
nohup python3 ~/.vscode-server/bin/server >/dev/null 2>&1 </dev/null &
while ! [ -s ~/.vscode-server/port ]; do sleep 0.1; done
echo "listening==$(cat ~/.vscode-server/port)=="
"""
"""What its extension does: a script on stdin starts a process that stays, and says on which port."""


def test_what_vs_code_does_works_and_its_process_outlives_the_connection(ada: Laptop) -> None:
    done = ada.run("-T", "gpu", "bash", input=VSCODE)
    (port,) = re.findall(r"listening==(\d+)==", done.stdout)
    here = free_port()
    for _ in range(2):  # the window is closed and opened again
        with forwarding(ada, "-L", f"{here}:127.0.0.1:{port}"):
            wait_for(lambda: answers(here), "the forward")
            assert "minimal" in requests.get(f"http://127.0.0.1:{here}/image.json", timeout=10).text
    ada.run("gpu", "pkill -f vscode-server/bin/server")


def test_who_connected_is_known_with_key_and_bytes(site: Installation, ada: Laptop) -> None:
    ada.run("gpu", "head -c 1000000 /dev/zero | tr '\\0' x")

    def ended() -> bool:
        newest = keys_of(site).recent("ada", 1)[0]
        return newest.ended_at is not None and newest.received > 1_000_000

    wait_for(ended, "the end in the ledger", 40)
    newest = keys_of(site).recent("ada", 1)[0]
    assert (newest.key_name, newest.source, newest.server) == ("ada@laptop", "127.0.0.1", "")
    assert newest.lease_id == site.lease_of("ada").id
    assert site.events("ssh.ended")[0].startswith("a connection by SSH has ended: ")
    assert f"{newest.id} ends: " in site.logs("gateway")


def test_what_is_typed_is_seen_and_an_open_connection_is_no_typing(site: Installation, ada: Laptop) -> None:
    lease = site.lease_of("ada")

    def seen() -> SshUse | None:
        with site.ledger.read() as unit:
            watch = unit.watches().get(lease.id)
        look = watch.activity.look if watch else None
        return look.ssh if look else None

    with forwarding(ada, "-o", "ServerAliveInterval=1"):
        wait_for(lambda: seen() == SshUse(1, seen().typed_at if seen() else None), "the connection", 40)  # type: ignore[union-attr]
        before = seen()
        assert before
        time.sleep(12)
        assert seen() == before, "nothing was typed meanwhile"
    terminal = ada.open("-tt", "gpu")
    assert terminal.stdin
    began = datetime.now(UTC)
    typing = iter(range(1000))

    def typed() -> bool:
        assert terminal.stdin
        terminal.stdin.write(f"echo {next(typing)}\n")
        terminal.stdin.flush()
        use = seen()
        return use is not None and use.typed_at is not None and use.typed_at > began - timedelta(seconds=9)

    wait_for(typed, "what was typed", 40)
    dry_run = site.run(
        "gpuspawner", "cull", "--dry-run", "--host", HOST, "--json", "--ledger", str(site.ledger.path)
    )
    assert "last typed at" in dry_run
    terminal.terminate()
    terminal.communicate(timeout=20)


def keys_of(site: Installation) -> SshKeys:
    return SshKeys(site.ledger)


# -- what is refused ----------------------------------------------------------------------------------------


def door_of(site: Installation, user: str) -> str:
    return str(keys_of(site).doors(user, [""])[0].address)


def gate(laptop: Laptop, *words: str) -> subprocess.CompletedProcess[str]:
    return laptop.run(*words, "gpu-gateway")


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


# -- servers that stop, and servers that lie ----------------------------------------------------------------


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
    # One whose SSH server is gone is told so.
    site.exec("edsger", "pkill -f 2222; pkill -f hostile; pkill python3 -f 'import socket'")
    assert site.client("edsger").model()


def test_sshd_that_was_ended_is_told_on_the_page(site: Installation, tmp_path: Path) -> None:
    edsger = site.client("edsger")
    edsger.stop()
    wait_for(lambda: site.lease_of("edsger").state is not LeaseState.ACTIVE, "the end of the session")
    assert edsger.spawn({"gpus": 0}).ready
    laptop = set_up(site, "edsger", tmp_path)
    assert laptop.run("gpu", "true").returncode == 0
    site.exec("edsger", "pkill sshd")
    assert laptop.run("gpu", "true").returncode == 255
    page = text_of(edsger.page("/services/gpu/ssh").text)
    assert "Nothing answers by SSH in this server" in page


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
