"""From settings to JupyterHub's configuration: one pure function, so that tests read what it sets."""

from __future__ import annotations

from hmac import compare_digest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.auth import Authenticator
from traitlets import Dict

from .policy.policy import load_policy
from .policy.settings import DemoUser, Settings

HUB_TEMPLATES = Path(__file__).parent / "spawner" / "templates" / "hub"


NAMED_SERVERS = 4
"""Servers that a person may have beside the default one: enough to compare, too few to flood a host."""


def apply(c: Any, settings: Settings) -> None:
    """Configure a hub.

    Args:
        c: JupyterHub's configuration object.
        settings: The checked settings.
    """
    _apply_hub(c, settings)
    _apply_spawner(c, settings)
    if settings.demo_users:
        _apply_demo_login(c, settings.demo_users)


def require_policy(settings: Settings) -> None:
    """Stop a hub that starts with a broken policy: later a broken file keeps the old one in force.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    if settings.policy:
        load_policy(settings.policy, images=settings.images)


def _apply_hub(c: Any, settings: Settings) -> None:
    hub, network = c.JupyterHub, settings.network
    hub.spawner_class = "gpu"
    hub.bind_url = network.bind_url
    hub.hub_ip = network.hub_address
    hub.hub_port = network.hub_port
    hub.db_url = f"sqlite:///{quote(str(settings.state_dir / 'jupyterhub.sqlite'), safe='/ ')}"
    hub.cookie_secret_file = str(settings.state_dir / "cookie_secret")
    # Servers and their connections outlive a restart of the hub: the proxy is a process of its own.
    hub.cleanup_servers = False
    hub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = network.proxy_api_url
    # A hub that gives up waiting for its spawners forgets servers that run.
    hub.init_spawners_timeout = -1
    hub.template_paths = [str(HUB_TEMPLATES)]
    hub.allow_named_servers = True
    hub.named_server_limit_per_user = NAMED_SERVERS


def _apply_spawner(c: Any, settings: Settings) -> None:
    spawner, limits = c.GPUSpawner, settings.limits
    spawner.ledger = str(settings.ledger_path)
    if settings.host:
        spawner.host = settings.host
    if settings.policy:
        spawner.policy = str(settings.policy)
    spawner.allowed_images = dict(settings.images)
    spawner.image = next(iter(settings.images.values()))
    spawner.prefix = settings.container_prefix
    spawner.network_name = settings.network.docker_network
    spawner.start_timeout = settings.start_timeout
    spawner.http_timeout = settings.start_timeout
    spawner.gpus_per_server = limits.gpus_per_server
    spawner.gpus_per_person = limits.gpus_per_person
    if limits.memory is not None:
        spawner.mem_limit = limits.memory
    if limits.cpus is not None:
        spawner.cpu_limit = limits.cpus
    spawner.pids_limit = limits.pids
    spawner.shm_size = limits.shm
    spawner.home_kind = settings.homes.kind
    spawner.home_base = str(settings.homes.directory)


def _apply_demo_login(c: Any, users: dict[str, DemoUser]) -> None:
    c.JupyterHub.authenticator_class = DemoAuthenticator
    c.DemoAuthenticator.passwords = {name: user.password for name, user in users.items()}
    c.DemoAuthenticator.allowed_users = set(users)
    c.DemoAuthenticator.admin_users = {name for name, user in users.items() if user.admin}


class DemoAuthenticator(Authenticator):
    """Passwords from the settings file: for trying things out on one's own machine, and for nothing else."""

    passwords = Dict(help="Password of each login.").tag(config=True)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The user name if the password is right, else None."""
        known = self.passwords.get(data["username"], "")
        right = compare_digest(known.encode(), data["password"].encode())
        return data["username"] if known and right else None
