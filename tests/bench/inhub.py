"""What the hubs under measurement are configured with, beside the settings of any installation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import jupyterhub.utils
from dockerspawner import DockerSpawner


def configure(c: Any, *, token: str, calls_log: str) -> None:
    """For both sides: an API token, an answer to a start only when it is ready, a log of Docker calls."""
    c.JupyterHub.services = [{"name": "bench", "api_token": token}]
    c.JupyterHub.load_roles = [
        {"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}
    ]
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 300, "slow_stop_timeout": 300}
    _record_docker_calls(Path(calls_log))
    _look_often()


def use_stock(
    c: Any, *, options: dict[str, dict[str, Any]], home: str, devices: dict[str, str], limits: dict[str, Any]
) -> None:
    """DockerSpawner as it comes, with the container options that GPUSpawner gives.

    Nothing of gpuspawner is imported: this hub's memory is compared.

    Args:
        c: JupyterHub's configuration.
        options: Class → what the other side has set too.
        home: Volume of a person's home, a template of DockerSpawner.
        devices: User → UUID of the card.
        limits: More of ``extra_host_config``.
    """
    for name, values in options.items():
        c[name].update(values)
    c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
    c.JupyterHub.authenticator_class = "dummy"
    stock = c.DockerSpawner
    stock.remove = True
    stock.mounts = [{"type": "volume", "source": home, "target": "/home/jovyan"}]
    stock.environment = {"NVIDIA_VISIBLE_DEVICES": "void"}
    stock.extra_create_kwargs = {
        "user": "1000:1000",
        "labels": {f"bench.label-{number}": "as many as GPUSpawner sets" for number in range(5)},
    }

    def host_config(spawner: Any) -> dict[str, object]:
        card = f"nvidia.com/gpu={devices[spawner.user.name]}"
        return {
            **limits,
            "auto_remove": False,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,
            "device_requests": [{"Driver": "cdi", "DeviceIDs": [card]}],
        }

    stock.extra_host_config = host_config


def _record_docker_calls(path: Path) -> None:
    """Write a line per call: method, begin and end. Both spawners make their calls in this method."""
    original = DockerSpawner._docker
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def recorded(spawner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        begin = time.time()
        try:
            return original(spawner, method, *args, **kwargs)
        finally:
            os.write(log, f"{method} {begin:.4f} {time.time():.4f}\n".encode())

    DockerSpawner._docker = recorded


def _look_often() -> None:
    """Let JupyterHub ask a new server every 50 ms at most whether it answers.

    By itself it waits for random times of up to 5 s in between, in which any difference would drown.
    """
    original = jupyterhub.utils.exponential_backoff

    async def often(*args: Any, **kwargs: Any) -> Any:
        return await original(*args, **{**kwargs, "start_wait": 0.025, "max_wait": 0.05})

    jupyterhub.utils.exponential_backoff = often
