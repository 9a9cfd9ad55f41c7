"""The demo's settings file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import resolve_allowance
from gpuspawner.demo.installation import LOGINS, Layout, ensure_proxy_token, write_settings
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import Settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.state.mkdir()
    return layout


def write(layout: Layout, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "images": {"Base": "demo/base:1"},
        "gateway": "172.20.0.1",
        "host_name": "laptop",
        "port": 8000,
        "network": "gpuspawner-demo",
        "prefix": "demo-c0ffee",
    }
    return write_settings(layout, **values | changes)


def test_settings(layout: Layout) -> None:
    settings = write(layout)
    assert set(settings.demo_users) == set(LOGINS)
    assert {name for name, user in settings.demo_users.items() if user.admin} == {"admin"}
    assert settings.ledger_path == layout.state / "ledger.sqlite"
    assert settings.network.model_dump() == {
        "bind_url": "http://127.0.0.1:8000",
        "proxy_api_url": "http://127.0.0.1:8001",
        "docker_network": "gpuspawner-demo",
        "hub_address": "172.20.0.1",
        "hub_port": 8081,
        "subdomain_host": None,
    }
    assert (settings.homes.kind, settings.homes.directory) == ("bind", layout.state / "homes")
    assert (settings.host, settings.container_prefix) == ("laptop", "demo-c0ffee")


def test_passwords_stay(layout: Layout) -> None:
    before = write(layout).demo_users
    after = write(layout, port=9000)
    assert after.demo_users == before
    assert after.network.hub_port == 9081
    assert len({user.password for user in before.values()}) == len(LOGINS)


def test_nobody_else_reads_passwords(layout: Layout) -> None:
    write(layout)
    ensure_proxy_token(layout)
    for path in (layout.settings, layout.proxy_token):
        assert path.stat().st_mode & 0o077 == 0
    assert list(layout.state.glob("*.partial")) == []


def test_token_stays(layout: Layout) -> None:
    token = ensure_proxy_token(layout)
    assert len(token) == 64
    assert ensure_proxy_token(layout) == token


def test_damaged_file_is_not_overwritten(layout: Layout) -> None:
    layout.settings.write_text("state_dir: [")
    with pytest.raises(SettingsError, match="is not YAML"):
        write(layout)
    assert layout.settings.read_text() == "state_dir: ["


@pytest.mark.parametrize("mode", [None, 0o755])
def test_nobody_else_looks_in(tmp_path: Path, mode: int | None) -> None:
    layout = Layout(tmp_path / "new")
    if mode is not None:
        layout.state.mkdir(parents=True)
        layout.state.chmod(mode)
    layout.make()
    assert layout.state.stat().st_mode & 0o777 == 0o700


def test_the_policy_is_right_and_stays_as_it_was_edited(layout: Layout) -> None:
    settings = write(layout)
    assert settings.policy == layout.policy
    policy = load_policy(layout.policy, images=settings.images)
    assert set(policy.people) < set(LOGINS)
    assert resolve_allowance(policy, "ada", ()).longest_session.value == timedelta(hours=8)
    layout.policy.write_text("groups: {}")
    write(layout)
    assert layout.policy.read_text() == "groups: {}"
