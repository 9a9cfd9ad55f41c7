"""A person with a browser, or with a program that uses the REST API."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True, slots=True)
class Started:
    """How a start ended."""

    ready: bool
    status: int
    """Of the answer to the request itself: 201 at once, 202 under way, 4xx and 5xx refused."""
    message: str
    """What the person is told if it is not ready."""


class Client:
    """A session with cookies.

    Args:
        url: The installation's.
        user: The login.
        password: Its password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user, self._password = url, user, password
        self.session = requests.Session()

    @property
    def xsrf(self) -> str:
        # There is one for /hub/ and, once a server was visited, one for /user/….
        return next(c.value or "" for c in self.session.cookies if c.name == "_xsrf" and c.path == "/hub/")

    def login(self) -> None:
        self.session.get(f"{self.url}/hub/login", timeout=30)
        answer = self.session.post(
            f"{self.url}/hub/login",
            params={"_xsrf": self.xsrf},
            data={"username": self.user, "password": self._password},
            allow_redirects=False,
            timeout=30,
        )
        assert answer.status_code == 302, f"login of {self.user}: {answer.status_code} {answer.text[-500:]}"
        self.session.get(f"{self.url}/hub/home", timeout=30)  # for the _xsrf cookie of this login

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the Hub's REST API; ``path`` begins after ``/hub/api``. A 403 for an old cookie is retried."""
        options.setdefault("timeout", 120)
        return self.session.request(
            method,
            f"{self.url}/hub/api{path}",
            params={"_xsrf": self.xsrf, **options.pop("params", {})},
            **options,
        )

    def page(self, path: str, **options: Any) -> requests.Response:
        """Get a page; ``path`` begins with ``/hub`` or ``/user``."""
        options.setdefault("timeout", 60)
        return _utf8(self.session.get(f"{self.url}{path}", **options))

    def post_form(self, fields: Mapping[str, str], server: str = "", **options: Any) -> requests.Response:
        """Press Start on the start page."""
        path = f"/hub/spawn/{self.user}/{server}" if server else f"/hub/spawn/{self.user}"
        options.setdefault("timeout", 120)
        answer = self.session.post(
            f"{self.url}{path}",
            params={"_xsrf": self.xsrf},
            data=dict(fields),
            allow_redirects=False,
            **options,
        )
        return _utf8(answer)

    # -- the controller -------------------------------------------------------------------------------------

    def log_in_to_controller(self) -> requests.Response:
        """Visit the controller's page as a browser does: there and back by way of the Hub."""
        return self.page("/services/gpu/queue")

    def gpu(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the controller's API as a script of its own page does; ``path`` begins after ``/api``."""
        found = [c.value for c in self.session.cookies if (c.name, c.path) == ("_xsrf", "/services/gpu/")]
        options.setdefault("timeout", 30)
        return self.session.request(
            method,
            f"{self.url}/services/gpu/api{path}",
            params={**({"_xsrf": found[0]} if found else {}), **options.pop("params", {})},
            **options,
        )

    # -- servers --------------------------------------------------------------------------------------------

    def server_path(self, server: str = "") -> str:
        return f"/users/{self.user}/servers/{server}" if server else f"/users/{self.user}/server"

    def model(self, server: str = "") -> dict[str, Any] | None:
        """The Hub's record of a server; None when there is none that runs, starts or stops."""
        answer = self.api("GET", f"/users/{self.user}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] | None = answer.json()["servers"].get(server)
        return found

    def ask(self, options: Any = None, server: str = "") -> requests.Response:
        """Ask for a start through the API, and wait for no more than the answer."""
        return self.api("POST", self.server_path(server), json=options)

    def spawn(self, options: Any = None, server: str = "", seconds: float = 90) -> Started:
        """Ask for a start through the API, and wait until it is ready or has failed."""
        answer = self.ask(options, server)
        if answer.status_code not in (201, 202):
            return Started(False, answer.status_code, _message(answer))
        return self.wait_ready(server, seconds, answer.status_code)

    def wait_ready(self, server: str = "", seconds: float = 90, status: int = 202) -> Started:
        """Wait until a start that is under way is ready or has failed."""
        deadline = time.monotonic() + seconds
        while (model := self.model(server)) and not model["ready"]:
            if not model["pending"]:
                break
            assert time.monotonic() < deadline, f"the server of {self.user} is not ready within {seconds} s"
            time.sleep(0.1)
        if model and model["ready"]:
            return Started(True, status, "")
        return Started(False, status, self.progress(server))

    def progress(self, server: str = "") -> str:
        """The last message of the progress stream, which is what the pending page shows."""
        answer = self.api("GET", f"{self.server_path(server)}/progress")
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        return str(json.loads(lines[-1]).get("message", "")) if lines else _message(answer)

    def stop(self, server: str = "", seconds: float = 60) -> None:
        """Stop a server and wait until the Hub says that it has."""
        answer = self.api("DELETE", self.server_path(server))
        assert answer.status_code in (202, 204), f"stop of {self.user}: {answer.status_code} {answer.text}"
        deadline = time.monotonic() + seconds
        while self.model(server) is not None:
            assert time.monotonic() < deadline, f"the server of {self.user} did not stop within {seconds} s"
            time.sleep(0.1)


def _utf8(page: requests.Response) -> requests.Response:
    """The Hub's pages say their encoding in themselves, where browsers look."""
    page.encoding = "utf-8"
    return page


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text


def text_of(page: str) -> str:
    """The words of an HTML page, without scripts, styles and tags."""
    bare = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", page)
    return " ".join(html.unescape(bare).split())
