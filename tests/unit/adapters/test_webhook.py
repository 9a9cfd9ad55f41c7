"""The webhook over a real socket: what is posted, and what the other side can do wrong."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from gpuspawner.adapters import webhook
from gpuspawner.adapters.webhook import SIGNATURE, Webhook
from gpuspawner.core.errors import DeliveryError
from support.fake_hub import serving
from tornado.web import Application, RequestHandler

posted: list[tuple[bytes, str | None]] = []


class Take(RequestHandler):
    def post(self) -> None:
        posted.append((self.request.body, self.request.headers.get(SIGNATURE)))


class Elsewhere(RequestHandler):
    def post(self) -> None:
        self.redirect("/take", status=307)


class Never(RequestHandler):
    async def post(self) -> None:
        await asyncio.sleep(3)


class Huge(RequestHandler):
    def post(self) -> None:
        self.write("x" * 10_000_000)


APP = Application([("/take", Take), ("/elsewhere", Elsewhere), ("/never", Never), ("/huge", Huge)])


def test_signed_and_not(tmp_path: Path) -> None:
    posted.clear()
    (tmp_path / "secret").write_text("key\n")
    with serving(lambda: APP) as url:
        Webhook(f"{url}/take", tmp_path / "secret").send({"text": "é"})
        Webhook(f"{url}/take").send({"text": "2"})
    (signed, signature), (plain, none) = posted
    assert json.loads(signed) == {"text": "é"}
    assert signature == f"sha256={hmac.new(b'key', signed, hashlib.sha256).hexdigest()}"
    assert (json.loads(plain), none) == ({"text": "2"}, None)


def test_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posted.clear()
    monkeypatch.setattr(webhook, "_SECONDS", 0.5)
    with serving(lambda: APP) as url:
        for path, why in (
            ("elsewhere", "HTTP 307"),
            ("none", "HTTP 404"),
            ("never", "imeout|too long"),
            ("huge", "did not take"),
        ):
            with pytest.raises(DeliveryError, match=why):
                Webhook(f"{url}/{path}").send({})
        with pytest.raises(DeliveryError, match="No such file"):
            Webhook(f"{url}/take", tmp_path / "none").send({})
    with pytest.raises(DeliveryError):
        Webhook(f"{url}/take").send({})
    assert posted == [], "no redirect is followed, and nothing goes out unsigned"
