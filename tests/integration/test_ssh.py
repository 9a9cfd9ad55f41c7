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
from copy import copy
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
import requests
from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.core.activity import SshUse
from support.client import text_of
from support.debian import files_of
from support.images import training_images
from support.installation import CHECKOUT, HOST, Installation, wait_for
from support.side_by_side import free_port
from support.ssh import Laptop
from support.ssh_site import BANNER, answers, copied, forwarding, keys_of, make_token, with_client
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = [pytest.mark.docker, pytest.mark.ssh]

SIZE = 200 * 1024 * 1024


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


def test_a_named_server_has_a_name_and_a_way_of_its_own(site: Installation, ada: Laptop) -> None:
    assert site.client("ada").spawn({"gpus": 0}, "second-one").ready
    try:
        ada.write(*copied(site, "ada"))
        first, second = (ada.run(host, "hostname").stdout.strip() for host in ("gpu", "gpu-second-one"))
        assert first == site.container("ada")["Config"]["Hostname"]
        assert second == site.container("ada", "second-one")["Config"]["Hostname"]
    finally:
        site.client("ada").stop("second-one")
    done = ada.run("gpu-second-one", "true")
    assert done.returncode == 255
    page = text_of(site.client("ada").page("/services/gpu/ssh").text)
    assert "The server second-one does not run." in page


def test_a_warning_is_seen_in_a_terminal_by_ssh(site: Installation, ada: Laptop) -> None:
    client = ada.open("-tt", "gpu", "echo here; sleep 600")
    assert client.stdout
    assert client.stdout.readline().strip() == "here"
    DockerEngine().write_to_terminals(site.container("ada")["Id"], "Your session is stopped in 15 min.")
    lines = [client.stdout.readline().strip() for _ in range(3)]
    assert "Your session is stopped in 15 min." in lines
    client.terminate()
    client.communicate(timeout=20)


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


# TensorBoard itself is in the images of PyTorch only; to a forward, a page is a page.
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
        assert "minimal" in fetch_by_socks(socks, "127.0.0.1", 6006, "/image.json")


SCALAR = (
    "from tensorboard.summary import Writer; w = Writer('runs/one'); w.add_scalar('loss', 0.5, 1); w.close()"
)


def test_tensorboard_is_reached_by_a_forward(site: Installation, ada: Laptop) -> None:
    image = next(iter(training_images()), None)
    if image is None:
        pytest.skip("needs an image with TensorBoard: make images")
    assert site.client("ada").spawn({"gpus": 0, "image": image}, "training").ready
    try:
        ada.write(*copied(site, "ada"))
        assert ada.run("gpu-training", f"python -c {shlex.quote(SCALAR)}").returncode == 0
        board = ada.open("gpu-training", "exec tensorboard --logdir runs --port 6006 --load_fast=false")
        here = free_port()
        with forwarding(ada, "-L", f"{here}:127.0.0.1:6006", host="gpu-training"):
            wait_for(lambda: runs_of(here) == ["one"], "the runs in TensorBoard", 120)
            assert "TensorBoard" in requests.get(f"http://127.0.0.1:{here}/", timeout=10).text
        board.terminate()
        board.communicate(timeout=20)
    finally:
        site.client("ada").stop("training")


def runs_of(port: int) -> object:
    """What TensorBoard lists, once it is there."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/data/runs", timeout=10).json()
    except requests.RequestException:
        return None


def fetch_by_socks(socks: int, host: str, port: int, path: str) -> str:
    """Ask for a page through a SOCKS5 proxy here, which is given the host's name (RFC 1928)."""
    with socket.create_connection(("127.0.0.1", socks), timeout=30) as proxy, proxy.makefile("rb") as said:
        proxy.sendall(b"\x05\x01\x00")
        assert said.read(2) == b"\x05\x00"
        name = host.encode()
        proxy.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        assert said.read(10)[:4] == b"\x05\x00\x00\x01"
        proxy.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        return said.read().decode()


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


TMUX = ("./usr/bin/tmux", *(f"./usr/lib/*/lib{name}*" for name in ("event_core", "utempter", "jemalloc")))
"""Not in the small images."""
COUNT = "i=0; while :; do i=$((i+1)); echo $i >~/counted; sleep 0.2; done"


def test_tmux_and_what_runs_in_it_survive_a_lost_connection(site: Installation, ada: Laptop) -> None:
    site.engine.put_archive(site.container("ada")["Id"], "/", files_of("tmux", *TMUX))
    window = {**os.environ, "TERM": "xterm"}
    terminal = ada.open("-tt", "gpu", "tmux new-session -s work", env=window)
    assert terminal.stdin
    terminal.stdin.write(f"nvidia-smi -L >~/cards; {COUNT}\n")
    terminal.stdin.flush()
    wait_for(lambda: counted(site) > 3, "what was typed into tmux")
    terminal.kill()  # as when the network goes: nobody says goodbye
    terminal.communicate(timeout=20)
    wait_for(lambda: keys_of(site).recent("ada", 1)[0].ended_at is not None, "the end in the ledger", 40)
    before = counted(site)
    wait_for(lambda: counted(site) > before + 3, "it to go on")
    again = ada.open("-tt", "gpu", "tmux attach-session -t work", env=window)
    wait_for(lambda: "work" in site.exec("ada", "tmux list-clients"), "it to be attached again")
    assert again.stdin
    again.stdin.write("\x03echo in the s''ame one; exit\n")
    again.stdin.flush()
    assert again.wait(60) == 0
    assert again.stdout
    assert "in the same one" in again.stdout.read()
    assert re.findall(r"UUID: ([\w-]+)", site.exec("ada", "cat ~/cards")) == list(
        site.lease_of("ada").devices
    )


def counted(site: Installation) -> int:
    return int(site.exec("ada", "cat ~/counted 2>/dev/null").strip() or 0)


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


def through_443(site: Installation, laptop: Laptop, folder: Path, token: str) -> Laptop:
    """The same machine in a network that lets out nothing but the web."""
    html = site.client("ada").page("/services/gpu/ssh").text
    found = dict(re.findall(r'(?s)<textarea[^>]* id="([\w-]+)"[^>]*>(.*?)</textarea>', html))
    config, known_hosts = copied(site, "ada")
    through = with_client(unescape(found["through"]), folder, token)
    assert f"{site.url}/services/gpu/ssh/way" in through
    away = copy(laptop)
    away.folder = folder
    blocked = config.replace(f"Port {site.ssh_port}", "Port 1")
    assert blocked != config, "its own port leads nowhere"
    away.write(blocked + through, known_hosts)
    return away


def test_through_port_443_alone_all_is_the_same(
    site: Installation, ada: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT / "images" / "session"))
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    made = make_token(site, "ada", "custom:gpu:ssh")
    away = through_443(site, ada, tmp_path, made["token"])
    done = away.run("gpu", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n"), done.stderr
    assert BANNER in done.stderr
    big = tmp_path / "big"
    big.write_bytes(os.urandom(20 * 1024 * 1024))
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    assert away.run(str(big), "gpu:by443", program="scp").returncode == 0
    assert away.run("gpu", "sha256sum by443").stdout.split()[0] == digest
    assert away.run("gpu:by443", f"{big}.back", program="scp").returncode == 0
    assert hashlib.sha256(Path(f"{big}.back").read_bytes()).hexdigest() == digest
    away.run("gpu", "rm by443")
    assert keys_of(site).recent("ada", 1)[0].source == "127.0.0.1 (443)"
    # A token that was revoked opens nothing, and what it had opened ends.
    open_still = away.open("gpu", "echo here; sleep 600")
    assert open_still.stdout
    assert open_still.stdout.readline() == "here\n"
    assert site.client("ada").api("DELETE", f"/users/ada/tokens/{made['id']}").status_code == 204
    assert open_still.wait(60) == 255
    assert open_still.stderr
    assert "The hub has ended it: The token is wrong, was revoked" in open_still.stderr.read()
    done = away.run("gpu", "true")
    assert done.returncode == 255
    assert f"Make a new one on {site.url}/services/gpu/ssh" in done.stderr


def test_a_token_that_can_do_more_does_not_open_port_443(
    site: Installation, ada: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT / "images" / "session"))
    made = make_token(site, "ada", "custom:gpu:ssh", "custom:gpu:read")
    done = through_443(site, ada, tmp_path, made["token"]).run("gpu", "true")
    assert done.returncode == 255
    assert "The token must have the scope custom:gpu:ssh and no other." in done.stderr
