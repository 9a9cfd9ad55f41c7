"""Where the demo keeps its things, and its settings file."""

from __future__ import annotations

import os
import pwd
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpuspawner.policy.settings import Settings, load_settings

LOGINS = {"ada": False, "grace": False, "teacher": False, "admin": True}
"""Login → whether it is an administrator."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The demo's paths, all below one directory."""

    root: Path

    @property
    def state(self) -> Path:
        """Everything that a second start finds again."""
        return self.root / "demo"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.state / "gpuspawner.yml"

    @property
    def policy(self) -> Path:
        """The policy, to be played with."""
        return self.state / "policy.yml"

    @property
    def proxy_token(self) -> Path:
        """The secret that hub and proxy share."""
        return self.state / "proxy_token"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.state / "logs"

    @property
    def passports(self) -> Path:
        """The images' passports, which `make images` puts there."""
        return self.root / "passports"

    @property
    def sim(self) -> Path:
        """The simulated GPUs."""
        return self.state / "sim"

    def make(self) -> None:
        """Make the directory, or close one that is there, to everybody else: it holds the passwords."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)


def write_settings(
    layout: Layout,
    *,
    images: dict[str, str],
    statuses: Mapping[str, Any] | None = None,
    gateway: str,
    host_name: str,
    port: int,
    network: str,
    prefix: str,
    ssh_port: int | None = None,
) -> Settings:
    """Write the demo's settings file, keeping the passwords of an earlier start, and read it back.

    Args:
        ssh_port: Where the gateway of SSH listens; None for no gateway.

    Raises:
        SettingsError: The file that is there is damaged.
    """
    known = load_settings(layout.settings).demo_users if layout.settings.exists() else {}
    users = {
        name: {
            "password": known[name].password if name in known else secrets.token_urlsafe(9),
            "admin": admin,
        }
        for name, admin in LOGINS.items()
    }
    data = {
        "state_dir": str(layout.state),
        "host": host_name,
        "images": images,
        **(statuses or {}),
        "policy": str(layout.policy),
        "passports": str(layout.passports),
        "container_prefix": prefix,
        "limits": {"gpus_per_server": 2, "gpus_per_person": 2, "memory": "2G", "shm": "256M"},
        "homes": {"kind": "bind", "directory": str(layout.state / "homes")},
        "network": {
            "bind_url": f"http://127.0.0.1:{port}",
            "proxy_api_url": f"http://127.0.0.1:{port + 1}",
            "docker_network": network,
            "hub_address": gateway,
            "hub_port": port + 81,
        },
        "controller": {"enabled": True, "port": port + 82},
        "ssh": _write_ssh(ssh_port),
        "demo_users": users,
    }
    if not layout.policy.exists():
        _write_private(layout.policy, _write_policy(next(iter(images))))
    _write_private(layout.settings, yaml.safe_dump(data, sort_keys=False))
    return load_settings(layout.settings)


def _write_ssh(port: int | None) -> dict[str, Any]:
    """The gateway of SSH, on this machine alone; whoever is not root can let in only themselves."""
    if port is None:
        return {"enabled": False}
    account = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    return {"enabled": True, "address": "127.0.0.1", "port": port, "account": account}


def _write_policy(image: str) -> str:
    """A policy with a course in it; who edits the file keeps their own from then on."""
    rules = {
        "groups": {
            "default": {"gpus_per_person": 2, "gpus_per_server": 2, "longest_session": "8 h"},
            "students": None,
        },
        "people": {
            "ada": {"groups": ["students"]},
            "grace": {"groups": ["students"]},
            "teacher": {"gpu_hours_per_week": 40},
        },
        "courses": {"intro": {"group": "students", "teachers": ["teacher"], "image": image, "seats": 20}},
    }
    head = (
        "# The demo's policy (docs/policy.md). A change holds from the next start of a server on;\n"
        "# delete this file to get it back as it was.\n"
    )
    return head + yaml.safe_dump(rules, sort_keys=False)


def ensure_proxy_token(layout: Layout) -> str:
    """The secret that hub and proxy share, made at the first start."""
    if not layout.proxy_token.exists():
        _write_private(layout.proxy_token, secrets.token_hex(32))
    return layout.proxy_token.read_text()


def _write_private(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
