"""Watching the Engine's events for a device that is in two running containers at once."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import docker


class DeviceWatch:
    """From its making to its close, of one installation.

    Args:
        engine: ``DOCKER_HOST``; the machine's own unless given.
        prefix: Beginning of the containers' names.

    Attributes:
        clashes: (UUID, container that had it, container that got it too).
        starts: Names of containers, each as often as it was started.
    """

    def __init__(self, engine: str | None, prefix: str) -> None:
        self.clashes: list[tuple[str, str, str]] = []
        self.starts: list[str] = []
        self._prefix = prefix
        self._running: dict[str, dict[str, str]] = {}
        self._client = docker.APIClient(
            version="auto", timeout=None, **({"base_url": engine} if engine else {})
        )
        self._events = self._client.events(decode=True, filters={"type": "container"})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(Exception):
            for event in self._events:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        about = event["Actor"]["Attributes"]
        if not about.get("name", "").startswith(self._prefix):
            return
        id_ = event["Actor"]["ID"]
        devices = [uuid for uuid in about.get("gpuspawner.devices", "").split(",") if uuid]
        if event["Action"] == "start":
            self.starts.append(about["name"])
            for uuid in devices:
                others = self._running.setdefault(uuid, {})
                self.clashes += [
                    (uuid, name, about["name"]) for other, name in others.items() if other != id_
                ]
                others[id_] = about["name"]
        elif event["Action"] == "die":
            for uuid in devices:
                self._running.get(uuid, {}).pop(id_, None)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._events.close()
        self._thread.join(2)
