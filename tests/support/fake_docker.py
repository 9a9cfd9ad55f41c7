"""docker-py's ``APIClient`` over a dictionary: it refuses, hangs and loses answers where it is told to."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import HostConfig

POINTS = (
    "create_container",
    "start",
    "stop",
    "inspect_container",
    "remove_container",
    "inspect_image",
    "logs",
    "port",
    "exec_create",
)
CDI_REFUSAL = (
    "failed to create shim task: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu={}"
)


def api_error(status: int, text: str) -> APIError:
    """What docker-py raises for an answer of the Engine."""
    response = requests.Response()
    response.status_code = status
    kind = NotFound if status == 404 else APIError
    return kind(f"{status} for url: http+docker://localhost/v1.45/containers", response, text)


def timed_out() -> requests.exceptions.ReadTimeout:
    """What docker-py raises for no answer."""
    return requests.exceptions.ReadTimeout("UnixHTTPConnectionPool(host='localhost'): Read timed out.")


def image_id(content: str) -> str:
    """The id of an image with such a content; a name stands for what it meant at first."""
    return f"sha256:{sha256(content.encode()).hexdigest()}"


@dataclass
class FakeContainer:
    id: str
    name: str
    settings: dict[str, Any]
    """The whole create call."""
    status: str = "created"
    exit_code: int = 0
    oom_killed: bool = False
    starts: int = 0

    @property
    def labels(self) -> dict[str, str]:
        return self.settings.get("labels") or {}

    @property
    def devices(self) -> list[str]:
        requests_ = self.settings["host_config"].get("DeviceRequests") or []
        return [name for request in requests_ for name in request.get("DeviceIDs") or []]


@dataclass
class Gate:
    """Where a call hangs."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        self.opened.set()


class FakeDocker:
    """Implements what DockerSpawner calls; the other methods are what tests, people and the kernel do.

    Attributes:
        containers: By id.
        calls: (method, container) in the order in which they began.
    """

    base_url = "http+docker://localhost"

    def __init__(self, images: tuple[str, ...] = (), devices: tuple[str, ...] = ()) -> None:
        self.images = {name: image_id(name) for name in images}
        """By name, the id of what it means now."""
        self.stored = set(self.images.values())
        """Ids of all images that are there, also of those without a name."""
        self.cdi = {f"nvidia.com/gpu={uuid}" for uuid in devices}
        self.containers: dict[str, FakeContainer] = {}
        self.calls: list[tuple[str, str]] = []
        self.network = "bridge"
        self._lock = threading.RLock()
        self._failures: dict[str, list[Exception]] = {}
        self._gates: dict[str, Gate] = {}

    # -- what is done to it ---------------------------------------------------------------------------------

    def move(self, name: str, content: str) -> None:
        """Give a name to another image; the one before stays, without it."""
        self.images[name] = image_id(content)
        self.stored.add(image_id(content))

    def fail(self, point: str, error: Exception | None = None, *, times: int = 1_000_000) -> None:
        """Fail at a point, or ``after`` it: the deed is done and its answer is lost."""
        _require_point(point)
        self._failures[point] = [error or api_error(500, "internal error")] * times

    def recover(self) -> None:
        self._failures.clear()

    def hang(self, point: str) -> Gate:
        """Hold calls at a point, or ``after`` it, until the gate is opened."""
        _require_point(point)
        return self._gates.setdefault(point, Gate())

    def open_all(self) -> None:
        for gate in self._gates.values():
            gate.open()

    def end(self, name: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        container = self.named(name)
        container.status, container.exit_code, container.oom_killed = "exited", exit_code, oom_killed

    def named(self, name: str) -> FakeContainer:
        return next(c for c in self.containers.values() if c.name == name)

    @property
    def running(self) -> list[str]:
        return sorted(c.name for c in self.containers.values() if c.status == "running")

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    # -- docker-py ------------------------------------------------------------------------------------------

    def create_host_config(self, **kwargs: Any) -> HostConfig:
        return HostConfig(version="1.45", **kwargs)

    def inspect_image(self, image: str) -> dict[str, Any]:
        with self._at("inspect_image", image):
            digest = self._find_image(image)
            if digest is None:
                raise ImageNotFound(f"no such image: {image}", _response(404), "no such image")
            return {"Id": digest, "Config": {"Cmd": ["start"]}}

    def _find_image(self, name: str) -> str | None:
        return name if name in self.stored else self.images.get(name)

    def create_container(self, **settings: Any) -> dict[str, Any]:
        name = settings["name"]
        with self._at("create_container", name):
            if self._find_image(settings["image"]) is None:
                raise ImageNotFound("no such image", _response(404), f"No such image: {settings['image']}")
            if any(c.name == name for c in self.containers.values()):
                raise api_error(409, f'Conflict. The container name "/{name}" is already in use')
            container = FakeContainer(secrets.token_hex(32), name, settings)
            self.containers[container.id] = container
            return {"Id": container.id, "Warnings": []}

    def start(self, container: str) -> None:
        found = self._find(container)
        with self._at("start", found.name):
            unknown = [d for d in found.devices if d not in self.cdi]
            if unknown:
                raise api_error(500, CDI_REFUSAL.format(unknown[0]))
            found.status, found.starts = "running", found.starts + 1

    def stop(self, container: str) -> None:
        found = self._find(container)
        with self._at("stop", found.name):
            if found.status == "running":
                found.status, found.exit_code = "exited", 143

    def remove_container(self, container: str, v: bool = False, force: bool = False) -> None:
        found = self._find(container)
        with self._at("remove_container", found.name):
            if found.status == "removing":
                raise api_error(409, f"removal of container {found.id} is already in progress")
            if found.status == "running" and not force:
                raise api_error(409, f'cannot remove container "/{found.name}": container is running')
            del self.containers[found.id]

    def inspect_container(self, container: str) -> dict[str, Any]:
        with self._at("inspect_container", container):
            found = self._find(container)
            running = found.status == "running"
            networks = {self.network: {"IPAddress": "172.18.0.7" if running else ""}}
            return {
                "Id": found.id,
                "Name": f"/{found.name}",
                "State": {
                    "Status": found.status,
                    "Running": running,
                    "ExitCode": found.exit_code,
                    "OOMKilled": found.oom_killed,
                    "Error": "",
                    "FinishedAt": "2030-05-17T12:00:00Z",
                },
                "Config": {
                    "Labels": found.labels,
                    "Env": [f"{k}={v}" for k, v in found.settings["environment"].items()],
                },
                "Mounts": [_describe_mount(m) for m in found.settings["host_config"].get("Mounts") or []],
                "NetworkSettings": {"Networks": networks},
            }

    def port(self, container: str, private_port: int) -> list[dict[str, str]]:
        with self._at("port", container):
            self._find(container)
            return [{"HostIp": "127.0.0.1", "HostPort": "32768"}]

    def logs(self, container: str, **kwargs: Any) -> bytes:
        with self._at("logs", container):
            self._find(container)
            return b""

    def _find(self, container: str) -> FakeContainer:
        with self._lock:
            for found in self.containers.values():
                if container in (found.id, found.name):
                    return found
        raise api_error(404, f"No such container: {container}")

    @contextmanager
    def _at(self, point: str, container: str) -> Iterator[None]:
        with self._lock:
            self.calls.append((point, container))
        self._stumble(point)
        with self._lock:
            yield
        self._stumble(f"after {point}")

    def _stumble(self, point: str) -> None:
        gate = self._gates.get(point)
        if gate is not None:
            gate.reached.set()
            if not gate.opened.wait(20):
                raise timed_out()
        with self._lock:
            errors = self._failures.get(point)
            if errors:
                raise errors.pop()


def _require_point(point: str) -> None:
    if point.removeprefix("after ") not in POINTS:
        raise LookupError(f"the fake Engine has no point {point!r}")


def _response(status: int) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    return response


def _describe_mount(mount: dict[str, Any]) -> dict[str, Any]:
    found = {"Type": mount["Type"], "Destination": mount["Target"], "Source": mount["Source"]}
    if mount["Type"] == "volume":
        found |= {"Name": mount["Source"], "Source": f"/var/lib/docker/volumes/{mount['Source']}/_data"}
    return found
