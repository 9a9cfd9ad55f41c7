"""The whole configuration that settings become."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpuspawner import hubconfig
from gpuspawner.controller.identity import make_auth
from gpuspawner.core.errors import SettingsError
from gpuspawner.hubconfig import DemoAuthenticator
from gpuspawner.policy.settings import Settings
from gpuspawner.spawner import GPUSpawner
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.scopes import scope_definitions
from traitlets.config import Config

STATE = Path("/srv/gpuspawner")


def settings(**more: Any) -> Settings:
    return Settings.model_validate({"state_dir": STATE, "images": {"base": "demo/base:1"}} | more)


def applied(settings: Settings) -> dict[str, Any]:
    config = Config()
    hubconfig.apply(config, settings)
    return {name: dict(section) for name, section in config.items()}


HUB = {
    "spawner_class": "gpu",
    "bind_url": "http://127.0.0.1:8000",
    "hub_ip": "172.17.0.1",
    "hub_port": 8081,
    "db_url": "sqlite:////srv/gpuspawner/jupyterhub.sqlite",
    "cookie_secret_file": "/srv/gpuspawner/cookie_secret",
    "cleanup_servers": False,
    "cleanup_proxy": False,
    "init_spawners_timeout": -1,
    "template_paths": [str(hubconfig.HUB_TEMPLATES)],
    "jinja_environment_options": {"extensions": ["gpuspawner.language.hubpages.HubWords"]},
    "token_expires_in_max_seconds": 365 * 86_400,
    "allow_named_servers": True,
    "named_server_limit_per_user": 4,
}
PROXY = {"should_start": False, "api_url": "http://127.0.0.1:8001"}
SPAWNER = {
    "ledger": "/srv/gpuspawner/ledger.sqlite",
    "passports": "/srv/gpuspawner/passports",
    "allowed_images": {"base": "demo/base:1"},
    "image": "demo/base:1",
    "prefix": "jupyter",
    "network_name": "gpuspawner",
    "start_timeout": 120,
    "http_timeout": 120,
    "gpus_per_server": 1,
    "gpus_per_person": 1,
    "pids_limit": 4096,
    "shm_size": "1G",
    "home_kind": "volume",
    "home_base": "homes",
}


def test_least_settings() -> None:
    assert applied(settings()) == {
        "JupyterHub": HUB,
        "ConfigurableHTTPProxy": PROXY,
        "GPUSpawner": SPAWNER,
    }


def test_all_settings() -> None:
    found = applied(
        settings(
            images={"torch": "lab/torch:2", "base": "lab/base:1"},
            ledger="/var/lib/ledger.sqlite",
            host="gpu7",
            container_prefix="lab",
            start_timeout=300,
            limits={
                "gpus_per_server": 2,
                "gpus_per_person": 4,
                "memory": "32G",
                "cpus": 8,
                "pids": 512,
                "shm": "4G",
            },
            homes={"kind": "bind", "directory": "/homes"},
            network={
                "bind_url": "http://:80",
                "proxy_api_url": "http://127.0.0.1:9001",
                "docker_network": "lab",
                "hub_address": "172.20.0.1",
                "hub_port": 9081,
            },
            demo_users={"ada": {"password": "secret-1"}, "root": {"password": "secret-2", "admin": True}},
        )
    )
    passwords = {"ada": "secret-1", "root": "secret-2"}
    assert found == {
        "JupyterHub": HUB
        | {
            "bind_url": "http://:80",
            "hub_ip": "172.20.0.1",
            "hub_port": 9081,
            "authenticator_class": DemoAuthenticator,
        },
        "ConfigurableHTTPProxy": PROXY | {"api_url": "http://127.0.0.1:9001"},
        "GPUSpawner": SPAWNER
        | {
            "ledger": "/var/lib/ledger.sqlite",
            "host": "gpu7",
            "allowed_images": {"torch": "lab/torch:2", "base": "lab/base:1"},
            "image": "lab/torch:2",
            "prefix": "lab",
            "network_name": "lab",
            "start_timeout": 300,
            "http_timeout": 300,
            "gpus_per_server": 2,
            "gpus_per_person": 4,
            "mem_limit": "32G",
            "cpu_limit": 8.0,
            "pids_limit": 512,
            "shm_size": "4G",
            "home_kind": "bind",
            "home_base": "/homes",
        },
        "DemoAuthenticator": {
            "passwords": passwords,
            "allowed_users": {"ada", "root"},
            "admin_users": {"root"},
        },
    }


def test_servers_are_reached_by_ssh_only_where_that_is_switched_on() -> None:
    controller = {"enabled": True}
    on = settings(controller=controller, ssh={"enabled": True})
    assert applied(on)["GPUSpawner"]["ssh_dir"] == "/srv/gpuspawner/ssh"
    assert "ssh_dir" not in applied(settings(controller=controller))["GPUSpawner"]
    with pytest.raises(ValueError, match="ssh needs the controller"):
        settings(ssh={"enabled": True})


def test_policy() -> None:
    found = applied(settings(policy="/etc/gpuspawner/policy.yml"))
    assert found["GPUSpawner"] == SPAWNER | {"policy": "/etc/gpuspawner/policy.yml"}


def test_a_controller_is_a_service_with_as_few_rights_as_it_needs() -> None:
    with_controller = settings(
        controller={"enabled": True, "port": 9182}, network={"bind_url": "http://127.0.0.1:8000/lab"}
    )
    config = Config()
    hubconfig.apply(config, with_controller, "s" * 64)
    hub = config.JupyterHub
    (service,) = hub.services
    assert service == {
        "name": "gpu",
        "url": "http://127.0.0.1:9182",
        "api_token": "s" * 64,
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": [
            "access:services!service=gpu",
            "admin-ui",
            "custom:gpu:keys",
            "custom:gpu:manage",
            "custom:gpu:read",
            "custom:gpu:reserve",
        ],
    }
    assert hub.extra_user_scopes == {
        "access:services!service=gpu",
        "custom:gpu:keys",
        "custom:gpu:read",
        "custom:gpu:session",
        "custom:gpu:ssh",
    }
    role, server = hub.load_roles
    assert server == {
        "name": "server",
        "scopes": [
            "users:activity!user", "access:servers!server", "access:services!service=gpu",
            "custom:gpu:session!server",
        ],
    }  # fmt: skip
    assert config.GPUSpawner.session_url == "http://172.17.0.1:9182/lab/services/gpu/api/session"
    assert role["services"] == ["gpu"]
    assert set(role["scopes"]) <= set(scope_definitions), "JupyterHub knows all of them"
    assert not any(scope.startswith(("admin", "access", "tokens")) for scope in role["scopes"])
    assert config.GPUSpawner.queue_url == "/lab/services/gpu/queue"
    assert set(hub) <= set(JupyterHub.class_traits(config=True))
    assert GPUSpawner.class_traits(config=True)["queue_url"].default_value == "", "else nobody queues"


def test_the_secret_is_made_where_there_is_a_controller(tmp_path: Path) -> None:
    assert hubconfig.read_controller_token(settings(state_dir=tmp_path)) == ""
    assert list(tmp_path.iterdir()) == []
    enabled = settings(state_dir=tmp_path, controller={"enabled": True})
    token = hubconfig.read_controller_token(enabled)
    assert len(token) == 64
    assert hubconfig.read_controller_token(enabled) == token


def test_a_broken_policy_stops_the_hub(tmp_path: Path) -> None:
    hubconfig.require_policy(settings())
    file = tmp_path / "policy.yml"
    file.write_text("groups: {default: {images: [base]}}")
    hubconfig.require_policy(settings(policy=file))
    file.write_text("groups: {default: {images: [jax]}}")
    with pytest.raises(SettingsError, match="there is no image 'jax'"):
        hubconfig.require_policy(settings(policy=file))


def test_every_name_is_a_trait() -> None:
    """traitlets ignores a misspelt name without a word."""
    config = applied(
        settings(host="h", policy="p", demo_users={"ada": {"password": "secret-1"}}, limits={"cpus": 1})
    )
    for cls in (JupyterHub, ConfigurableHTTPProxy, GPUSpawner, DemoAuthenticator):
        known = cls.class_traits(config=True)
        assert set(config.pop(cls.__name__)) <= set(known)
    assert config == {}


def test_values_are_accepted() -> None:
    config = Config()
    hubconfig.apply(config, settings(limits={"memory": "2G", "cpus": 1.5, "shm": "256M"}))
    spawner = GPUSpawner(config=config, user=SimpleNamespace(name="ada"))
    assert (spawner.shm_size, spawner.mem_limit, spawner.cpu_limit) == (256 * 1024**2, 2 * 1024**3, 1.5)


@pytest.mark.parametrize(
    ("name", "password", "user"),
    [
        ("ada", "secret-1", "ada"),
        ("ada", "secret-2", None),
        ("ada", "", None),
        ("eve", "", None),
        ("eve", "secret-1", None),
        ("ada", "secret-1 ", None),
        ("ada", "pässword", None),
    ],
)
async def test_demo_login(name: str, password: str, user: str | None) -> None:
    authenticator = DemoAuthenticator(passwords={"ada": "secret-1"})
    assert await authenticator.authenticate(None, {"username": name, "password": password}) == user


def test_peoples_servers_are_at_names_of_their_own_and_the_controller_is_not() -> None:
    hub = applied(settings(network={"subdomain_host": "https://hub.example.org:8443"}))["JupyterHub"]
    assert hub["subdomain_host"] == "https://hub.example.org:8443"
    name = hub["subdomain_hook"]
    assert name("ada", "hub.example.org", "user") == "ada.hub.example.org"
    assert name("Ada L.", "hub.example.org", "user").endswith(".hub.example.org")
    assert name("gpu", "hub.example.org", "service") == "hub.example.org"


@pytest.mark.parametrize(
    "text", ["hub.example.org", "https://hub.example.org/", "https://", "ftp://a", "https://a b"]
)
def test_what_is_no_address_of_a_hub_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="subdomain_host"):
        settings(network={"subdomain_host": text})


@pytest.mark.parametrize("host", [None, "https://hub.example.org"])
def test_hub_and_controller_agree_where_logins_come_back(host: str | None) -> None:
    auth = make_auth(settings(network={"subdomain_host": host}), "0" * 64)
    # What the hub makes of a service's address (jupyterhub.services.service).
    assert auth.oauth_redirect_uri == f"{host or ''}/services/gpu/oauth_callback"
    assert auth.hub_prefix == "/hub/"
