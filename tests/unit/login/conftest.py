"""A service, and a hub's way to log in at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from gpuspawner import hubconfig
from gpuspawner.login.recognised import Recognised
from gpuspawner.policy.settings import Settings
from support.provider import CLIENT, SECRET, Service
from traitlets.config import Config


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    found = Service()
    found.start()
    yield found
    await found.stop()


MakeLogin = Callable[..., Recognised]


@pytest.fixture
def make_login(tmp_path: Path, service: Service) -> MakeLogin:
    """An authenticator as the settings file would make it."""

    def make(provider: str = "oidc", **login: Any) -> Recognised:
        secret = tmp_path / "secret"
        secret.write_text(f"{SECRET}\n")
        secret.chmod(0o600)
        section = {
            "provider": provider,
            "issuer": service.url,
            "client_id": CLIENT,
            "client_secret_file": secret,
            "callback_url": "http://127.0.0.1:8000/hub/oauth_callback",
            "allow": {"everybody": True},
            **login,
        }
        return make_way(tmp_path, section)

    return make


def make_way(folder: Path, section: Any) -> Any:
    """The authenticator that JupyterHub would make from a section ``login``."""
    settings = Settings.model_validate(
        {"state_dir": folder, "images": {"base": "demo/base:1"}, "login": section}
    )
    config = Config()
    hubconfig.apply(config, settings)
    module, _, name = config.JupyterHub.authenticator_class.rpartition(".")
    return getattr(import_module(module), name)(config=config)
