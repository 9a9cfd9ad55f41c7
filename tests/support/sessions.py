"""A container of an image as a session runs it: read-only root, not root, no capabilities, a home."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import docker
import requests
from gpuspawner.setup.images import ImageEntry
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

HOME = "/home/jovyan"
ALARMING = re.compile(r"^\[[WEC] |WARNING|Warning|ERROR|CRITICAL|Traceback", re.M)
"""What must not be in a server's log."""
SHM = 96 * 2**20
TOKEN = secrets.token_hex(16)
LAB = ("jupyter", "lab", "--ServerApp.ip=0.0.0.0", "--no-browser", "--ServerApp.base_url=/user/ada/")
ENTRYPOINT = "gpuspawner-entrypoint"


def engine() -> docker.DockerClient:
    """The Engine of this machine."""
    return docker.from_env(timeout=120)


class Home:
    """A volume that outlives containers. Use it as a context manager."""

    def __init__(self) -> None:
        self.name = f"gpuspawner-test-home-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        engine().volumes.create(self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        engine().volumes.get(self.name).remove(force=True)

    def mount(self) -> dict[str, Any]:
        """For ``Session``: this home."""
        return {"volumes": {self.name: {"bind": HOME}}}


def empty_home(uid: int) -> dict[str, Any]:
    """For ``Session``: a home that is gone with the container."""
    return {"tmpfs": {"/tmp": "exec", HOME: f"uid={uid},mode=700"}}


def run(image: ImageEntry | str, *command: str, **more: Any) -> str:
    """What a command prints in a container of its own.

    Raises:
        docker.errors.ContainerError: It failed.
    """
    reference = image if isinstance(image, str) else image.reference
    options = {**_hardened(), "network_mode": "none", "remove": True, "stderr": True, **more}
    return str(engine().containers.run(reference, [*command], **options).decode())


def _hardened() -> dict[str, Any]:
    return {
        "read_only": True,
        "tmpfs": {"/tmp": "exec"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "shm_size": SHM,
    }


async def run_in_kernel(socket: Any, code: str) -> str:
    """What a cell prints in the kernel at the other end of a websocket. Raises: AssertionError: It raised."""
    header = {
        "msg_id": uuid4().hex,
        "msg_type": "execute_request",
        "session": "s",
        "username": "",
        "version": "5",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    ask = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    await socket.write_message(json.dumps(ask))
    printed, reply, idle = "", {}, False
    # Two channels, each in its own order: the reply may overtake what was printed.
    while not (reply and idle):
        message = json.loads(await asyncio.wait_for(socket.read_message(), 120))
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            printed += str(content["text"])
        elif message["msg_type"] == "status":
            idle = content["execution_state"] == "idle"
        elif message["msg_type"] == "execute_reply":
            reply = content
    socket.close()
    assert reply["status"] == "ok", reply
    return printed


class Session:
    """A running JupyterLab. Use it as a context manager.

    Args:
        image: What to run.
        command: In it; the image's own command when empty.
        uid: As whom; the image's own user unless given.
        more: More arguments of docker-py's ``containers.run``.
    """

    def __init__(
        self, image: ImageEntry, command: Sequence[str] = LAB, *, uid: int | None = None, **more: Any
    ) -> None:
        user = {} if uid is None else {"user": f"{uid}:{uid}"}
        environment = {"JUPYTER_TOKEN": TOKEN, "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"}
        environment |= more.pop("environment", {})
        self.started = time.monotonic()
        self.container = engine().containers.run(
            image.reference,
            [*command],
            detach=True,
            environment=environment,
            **{**_hardened(), **user, **more},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.container.remove(force=True, v=True)

    @property
    def log(self) -> str:
        """What the server printed so far."""
        return str(self.container.logs().decode())

    def health(self, seconds: float = 60) -> str:
        """What the Engine says of the image's own health check, once it has made up its mind."""
        deadline = time.monotonic() + seconds
        while True:
            self.container.reload()
            health = str(self.container.attrs["State"]["Health"]["Status"])
            if health != "starting" or time.monotonic() > deadline or self.container.status != "running":
                return health
            time.sleep(0.2)

    def exec(self, *command: str) -> str:
        """What a command prints in the container, started as the server was.

        Raises:
            AssertionError: It failed; with what it printed.
        """
        code, output = self.container.exec_run([ENTRYPOINT, *command])
        text = str(output.decode(errors="replace"))
        assert code == 0, f"{command}: {code}: {text}"
        return text

    def get(self, path: str, **more: Any) -> requests.Response:
        """A page below the server's own address."""
        return requests.get(self.url(path), headers={"Authorization": f"token {TOKEN}"}, timeout=60, **more)

    def post(self, path: str, body: object) -> Any:
        """Make something through the server's API; what it says of it."""
        answer = requests.post(
            self.url(path), json=body, headers={"Authorization": f"token {TOKEN}"}, timeout=60
        )
        assert answer.ok, answer.text
        return answer.json()

    def url(self, path: str, scheme: str = "http") -> str:
        """An address in this server."""
        self.container.reload()
        address = self.container.attrs["NetworkSettings"]["IPAddress"]
        return f"{scheme}://{address}:8888/user/ada/{path}"

    def run_cell(self, code: str) -> str:
        """What a cell prints in a new kernel. Raises: AssertionError: It raised."""
        kernel = self.post("api/kernels", {"name": "python3"})
        return asyncio.run(self._run_cell(kernel["id"], code))

    async def _run_cell(self, kernel: str, code: str) -> str:
        socket = await self._connect(f"api/kernels/{kernel}/channels?session_id={uuid4().hex}")
        return await run_in_kernel(socket, code)

    def type_in_terminal(self, line: str, until: str) -> str:
        """What a terminal shows after a line was typed, until a certain text is there."""
        name = self.post("api/terminals", {})["name"]
        return asyncio.run(self._type(name, line, until))

    async def _type(self, name: str, line: str, until: str) -> str:
        socket = await self._connect(f"terminals/websocket/{name}")
        await socket.write_message(json.dumps(["stdin", f"{line}\r"]))
        shown = ""
        while until not in shown:
            kind, *rest = json.loads(await asyncio.wait_for(socket.read_message(), 30))
            shown += rest[0] if kind == "stdout" else ""
        socket.close()
        return shown

    async def _connect(self, path: str) -> Any:
        headers = {"Authorization": f"token {TOKEN}"}
        return await websocket_connect(HTTPRequest(self.url(path, "ws"), headers=headers))
