"""A notebook's kernel, reached as a browser reaches it: through TLS, the proxy and its websocket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from .client import Client
from .sessions import run_in_kernel


@dataclass(frozen=True, slots=True)
class Kernel:
    """One that runs in the default server of a person."""

    url: str
    """Of the server, without a slash behind."""
    id: str
    token: str
    authority: str
    """The file with the certificate to trust."""

    def run(self, code: str) -> str:
        """Run code in it; what it prints."""
        return asyncio.run(asyncio.wait_for(self._run(code), 120))

    async def _run(self, code: str) -> str:
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{self.id}/channels"
        headers = {"Authorization": f"token {self.token}"}
        socket = await websocket_connect(HTTPRequest(address, headers=headers, ca_certs=self.authority))
        return (await run_in_kernel(socket, code)).strip()


def start_kernel(person: Client, authority: str) -> Kernel:
    """Start one in the server that the person has."""
    made = person.api("POST", f"/users/{person.user}/tokens", json={"note": "kernel"})
    assert made.status_code == 201, made.text
    token, url = made.json()["token"], f"{person.url}/user/{person.user}"
    headers = {"Authorization": f"token {token}"}
    answer = person.session.post(f"{url}/api/kernels", headers=headers, json={}, cookies={}, timeout=60)
    assert answer.status_code == 201, answer.text
    return Kernel(url, answer.json()["id"], token, authority)
