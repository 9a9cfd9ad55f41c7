"""VS Code in the browser, in the images that stand on the layer for it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from html import unescape
from importlib.resources import files
from typing import Any

import pytest
import requests
from gpuspawner.setup.images import ImageEntry
from gpuspawner.setup.paths import Paths
from support.sessions import TOKEN, Home, Session
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = pytest.mark.docker
CODE = "/opt/vscode/node_modules/code-server/lib"
MODULES = "node-pty @parcel/watcher @vscode/spdlog @vscode/native-watchdog @vscode/sqlite3"
"""Those with parts that were compiled."""


def open_editor(session: Session) -> str:
    """Its page."""
    found = session.get("vscode/")
    assert found.status_code == 200, found.text
    return found.text


def read_activity(session: Session) -> Any:
    """When the server was last active, as it says itself."""
    return session.get("api/status?no_track_activity=1").json()["last_activity"]


def test_it_answers_through_the_server_and_only_there(session: Session) -> None:
    page = open_editor(session)
    assert "vscode-workbench-web-configuration" in page
    assert '"enableTelemetry":false' in unescape(page)
    stranger = requests.get(session.url("vscode/"), timeout=10, allow_redirects=False)
    assert stranger.status_code in (302, 403), "only for whoever may use the server"
    listening = session.exec("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A '")
    assert listening.strip() == "1", "Jupyter alone"


def test_its_page_is_whole(session: Session) -> None:
    page = open_editor(session)
    (script,) = (word.split('"')[1] for word in page.split() if "workbench/workbench.js" in word)
    assert len(session.get(f"vscode/{script}").content) > 10**6


def test_its_compiled_parts_load(session: Session) -> None:
    for module in MODULES.split():
        session.exec("sh", "-c", f"cd {CODE}/vscode && ../node -e 'require(\"{module}\")'")
    found = session.exec(
        f"{CODE}/vscode/node_modules/@vscode/ripgrep-universal/bin/linux-x64/rg", "--version"
    )
    assert "ripgrep" in found


def test_its_packages_and_its_node_are_told_with_their_hashes(session: Session) -> None:
    source = (files("gpuspawner.passport") / "inside.py").read_text()
    told = json.loads(session.exec("python3", "-I", "-c", source))["others"]
    locked = json.loads((Paths().images / "editor/package-lock.json").read_text())["packages"]
    said = locked["node_modules/code-server"]["integrity"]
    found = {(one["kind"], one["name"]): one for one in told}
    assert found["npm", "code-server"]["hash"] == f"sha512:{b64decode(said.removeprefix('sha512-')).hex()}"
    hashed = session.exec("sha256sum", f"{CODE}/node").split()[0]
    assert found["generic", "node"]["hash"] == f"sha256:{hashed}"
    assert session.exec(f"{CODE}/node", "--version").strip() == f"v{found['generic', 'node']['version']}"
    assert all(one["hash"] for one in told)


def test_an_open_editor_is_no_activity(image: ImageEntry) -> None:
    # In a server of its own: a page that is closed while VS Code says something is an error in Jupyter's log.
    with Home() as home, Session(image, **home.mount()) as session:
        assert session.health() == "healthy", session.log
        session.get("api/kernels")
        before = read_activity(session)
        commit = open_editor(session).partition("stable-")[2][:40]
        asyncio.run(send_hello(session, commit))
        assert read_activity(session) == before


async def send_hello(session: Session, commit: str) -> None:
    """Open the connection that its page keeps, and hear something."""
    query = (
        "reconnectionToken=00000000-0000-0000-0000-000000000001&reconnection=false&skipWebSocketFrames=false"
    )
    address = session.url(f"vscode/stable-{commit}?{query}", "ws")
    host = address.partition("//")[2].partition("/")[0]
    headers = {"Authorization": f"token {TOKEN}", "Origin": f"http://{host}"}
    socket = await websocket_connect(HTTPRequest(address, headers=headers))
    body = b'{"type":"auth","auth":"00000000000000000000","data":""}'
    # Its own frame: kind 2 is control, then id, acknowledgement and length.
    await socket.write_message(bytes([2]) + bytes(8) + len(body).to_bytes(4, "big") + body, binary=True)
    said = await asyncio.wait_for(socket.read_message(), 30)
    assert said, "it was hung up"
    assert b'"type":"sign"' in bytes(said)
    socket.close()


def test_its_extensions_are_in_the_home(session: Session) -> None:
    assert "ERROR" not in session.exec("code-server", "--list-extensions")
    open_editor(session)
    session.exec("sh", "-c", "test -d $HOME/.local/share/code-server/extensions")
