"""Messages for a program of the site: a POST with signed JSON. Calls block, and are made in threads."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from gpuspawner.core.errors import DeliveryError
from gpuspawner.core.words import mark

SIGNATURE = "X-Gpuspawner-Signature"
"""Header with ``sha256=`` and the HMAC of the body under the secret, as hexadecimal digits."""
_SECONDS = 10.0
_MOST_BYTES = 64 * 1024
"""Of the answer, which nobody reads."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages are posted."""

    url: str
    secret_file: Path | None = None
    """Read at each message, so that it can be changed; None signs nothing."""

    def send(self, content: Mapping[str, object]) -> None:
        """Post a message; a redirect is not followed.

        Raises:
            DeliveryError: It was not taken: any answer but 2xx, or none.
        """
        body = json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        try:
            if self.secret_file is not None:
                secret = self.secret_file.read_text().strip().encode()
                headers[SIGNATURE] = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
            code = asyncio.run(self._post(body, headers))
        except (HTTPError, OSError, TimeoutError, ValueError) as error:
            why = str(error) or mark("it takes too long")
            raise DeliveryError(f"The webhook did not take a message: {why}.") from error
        if not 200 <= code < 300:
            raise DeliveryError(f"The webhook did not take a message: HTTP {code}.")

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        client: AsyncHTTPClient = SimpleAsyncHTTPClient(
            force_instance=True, max_body_size=_MOST_BYTES, max_header_size=_MOST_BYTES
        )
        request = HTTPRequest(
            self.url,
            method="POST",
            headers=dict(headers),
            body=body,
            follow_redirects=False,
            decompress_response=False,
            connect_timeout=_SECONDS,
            request_timeout=_SECONDS,
        )
        try:
            async with asyncio.timeout(_SECONDS + 1):
                return (await client.fetch(request, raise_error=False)).code
        finally:
            client.close()
