"""A controller behind a real port, with a real ledger, a fake Hub, and people with tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator, Cards, Line, Reservations, Rosters, Sessions, UsageReports
from gpuspawner.controller.api.openapi import build_document
from gpuspawner.controller.api.table import ROUTES
from gpuspawner.controller.app import make_app
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import KEYS, MANAGE, READ, RESERVE, SESSION, SSH, make_auth
from gpuspawner.controller.live import Watch
from gpuspawner.controller.loop import Tick, Ticking
from gpuspawner.controller.metrics import Metrics
from gpuspawner.controller.people import PolicyReader
from gpuspawner.controller.services import Services
from gpuspawner.core.model import Event, Lease, LeaseState, SpawnRequest
from gpuspawner.core.policy import allow
from gpuspawner.passport.known import KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.settings import Settings
from jupyterhub.services.auth import HubOAuth
from tornado.web import Application, HTTPError, RedirectHandler, StaticFileHandler, create_signed_value

from .build import HOST, NOW, lease, record
from .fake_hub import FakeHub, serving
from .fake_images import FakeImages

ACCESS = "access:services!service=gpu"
POLICY = """
pools: {teaching: [A100], any: all}
groups:
  default: {gpus_per_person: 4, gpus_per_server: 2, gpu_hours_per_week: 40}
  students: {}
people:
  grace: {}
courses:
  vision: {group: students, teachers: [grace], image: base}
"""
SECRET = "s" * 64
STALE = timedelta(seconds=30)
LOOK_SECONDS = 0.05
"""How often open pages look again here."""
DOCUMENT = build_document(ROUTES)


def model(name: str, *scopes: str, kind: str = "user", groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the Hub says of the owner of a token."""
    return {"name": name, "kind": kind, "groups": list(groups), "scopes": [ACCESS, *scopes]}


def server_token(name: str, server: str = "", *more: str, groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the Hub says of a server's own token."""
    scopes = (f"access:servers!server={name}/{server}", f"users:activity!user={name}")
    return model(name, *scopes, f"{SESSION}!server={name}/{server}", *more, groups=groups)


def ssh_token(name: str, *more: str) -> dict[str, Any]:
    """What the Hub says of a token for the way of SSH through port 443."""
    scopes = [SSH, f"read:users:name!user={name}", f"read:users:groups!user={name}", *more]
    return {"name": name, "kind": "user", "groups": [], "scopes": scopes}


TOKENS = {
    "inside-ada": server_token("ada", groups=("students",)),
    "inside-ada-two": server_token("ada", "two", groups=("students",)),
    "inside-bob": server_token("bob"),
    # What no server gets, and a person may make: the server of somebody else, two servers, all servers.
    "forged-other": model("bob", f"{SESSION}!server=ada/"),
    "forged-two": model("ada", f"{SESSION}!server=ada/", f"{SESSION}!server=ada/two"),
    "forged-all": model("ada", SESSION, f"{SESSION}!user=ada"),
    "forged-service": model("ada", f"{SESSION}!server=ada/", kind="service"),
    "ada": model("ada", READ, SESSION, groups=("students",)),
    # What everybody's login has.
    "keys-ada": model("ada", READ, KEYS, SESSION, groups=("students",)),
    "keys-bob": model("bob", READ, KEYS),
    "grace": model("grace", READ),
    "bob": model("bob", READ),
    **{name: model(name, READ) for name in ("tom", "tim", "amy", "sam")},
    "planner": model("planner", READ, RESERVE),
    "admin": model("admin", READ, MANAGE, RESERVE),
    "hub-admin": model("hub-admin", READ, "admin-ui"),
    "service-ada": model("ada", READ, KEYS, kind="service"),
    # What the page of SSH makes, with what the Hub adds to all of them.
    "ssh-ada": ssh_token("ada"),
    "ssh-ada-too": ssh_token("ada"),
    "ssh-bob": ssh_token("bob"),
    "ssh-and-more": ssh_token("ada", READ),
    "ssh-service": {"name": "ada", "kind": "service", "scopes": [SSH]},
    "stranger": {"name": "eve", "kind": "user", "groups": [], "scopes": ["read:users:name!user=eve"]},
    "blind": model("blind"),
    "filtered": model("mallory", READ, f"{MANAGE}!user=mallory"),
}


class TestAuth(HubOAuth):  # type: ignore[misc]
    """Knows tokens from a dictionary instead of the Hub."""

    __test__ = False
    away = False

    async def _check_hub_authorization(
        self, url: str, api_token: str, cache_key: str | None = None, use_cache: bool = True
    ) -> dict[str, Any] | None:
        if self.away:
            raise HTTPError(500, "Failed to connect to Hub API")
        return TOKENS.get(api_token)


@dataclass
class Office:
    """Everything that the API works on, and short words to ask it."""

    services: Services
    hub: FakeHub
    line: Line
    cards: Cards
    usage: UsageReports
    metrics: Metrics
    auth: TestAuth
    watch: Watch
    engine: FakeImages
    shelf: Shelf
    url: str = ""
    now: list[datetime] = field(default_factory=lambda: [NOW])

    def raw(self, method: str, path: str, who: str | None = "ada", **more: Any) -> requests.Response:
        headers = {"Authorization": f"token {who}"} if who else {}
        headers |= more.pop("headers", {})
        return requests.request(
            method,
            f"{self.url}/services/gpu{path}",
            headers=headers,
            timeout=10,
            allow_redirects=False,
            **more,
        )

    def ask(
        self, method: str, path: str, who: str | None = "ada", body: Any = None, **more: Any
    ) -> requests.Response:
        """Ask the API, and check that the answer is as the document says."""
        if body is not None:
            more["json"] = body
        answer = self.raw(method, f"/api{path}", who, **more)
        check_answer(method, path, answer)
        return answer

    def get(self, path: str, who: str = "ada", **more: Any) -> Any:
        answer = self.ask("GET", path, who, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(
        self, method: str, path: str, who: str | None = "ada", body: Any = None
    ) -> tuple[int, str, str]:
        """Status, kind and message of a request that is not done."""
        answer = self.ask(method, path, who, body)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["error"]
        return answer.status_code, error["kind"], error["message"]

    def add_lease(
        self, owner: str = "ada", lease_id: str = "lease1", state: LeaseState = LeaseState.ACTIVE, **more: Any
    ) -> Lease:
        made = lease(state, **{"owner": owner, "id": lease_id} | more)
        with self.services.ledger.write() as unit:
            unit.add_lease(made)
        return made

    def fill(self, owner: str = "edsger") -> Lease:
        """Somebody has both cards."""
        return self.add_lease(owner, "full", devices=("GPU-0", "GPU-1"))

    def hub_starts(self, owner: str, server: str = "", gpus: int = 1, *, runs: bool = True) -> Lease:
        """What the Hub's spawner does at a start: takes up what is offered, or asks for it."""
        allocator = Allocator(self.services.ledger, HOST, allow(2, 4), STALE, lambda: self.now[0])
        with self.services.ledger.read() as unit:
            ticket = unit.ticket_of(HOST, owner, server)
        asked = replace(ticket.request, gpus=gpus) if ticket else SpawnRequest(gpus, image=None)
        made = allocator.reserve(asked, owner=owner, server=server, claimant="run1", image="demo/base:1")
        return allocator.activate(made.id, container_id="c1", claimant="run1") if runs else made

    def cookie(self, who: str) -> str:
        """What a browser has after the login of one of the tokens' people."""
        house = House(self.auth, self.services, self.metrics, None, None)  # type: ignore[arg-type]
        secret = make_app(house, SECRET).settings["cookie_secret"]
        return str(create_signed_value(secret, "service-gpu", who).decode())

    def trail(self, kind: str = "") -> list[Event]:
        with self.services.ledger.read() as unit:
            return list(unit.recent_events(100, prefix=kind))


def with_hub_files(app: Application) -> Application:
    """The Hub's style sheets, scripts and logo are where its pages are."""
    static = Path(sys.prefix) / "share" / "jupyterhub" / "static"
    files = [
        (r"/hub/static/(.*)", StaticFileHandler, {"path": str(static)}),
        (r"/hub/logo", RedirectHandler, {"url": "/hub/static/images/jupyterhub-80.png"}),
    ]
    app.add_handlers(".*", files)
    return app


def check_answer(method: str, path: str, answer: requests.Response) -> None:
    """The answer is one that the document names, of the form that it says."""
    bare = path.partition("?")[0]
    route = next((r for r in ROUTES if r.method == method and r.pattern.fullmatch(bare)), None)
    if route is None:
        assert answer.status_code in (401, 404, 405, 403, 503)
        jsonschema.validate(answer.json(), resolved({"$ref": "#/components/schemas/Error"}))
        return
    responses = DOCUMENT["paths"][route.path][method.lower()]["responses"]
    assert str(answer.status_code) in responses, f"{method} {path}: {answer.status_code} {answer.text}"
    content = responses[str(answer.status_code)]["content"]
    media = answer.headers["Content-Type"].partition(";")[0]
    assert media in content
    if media == "application/json":
        jsonschema.validate(
            json.loads(answer.content),
            resolved(content[media]["schema"]),
            format_checker=jsonschema.FormatChecker(),
        )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": DOCUMENT["components"]}


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(path)
    with ledger.write() as unit:
        for n in range(2):
            unit.put_device(record(f"GPU-{n}", index=n))
    with ledger._open().connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    return path.read_bytes()


@pytest.fixture
def office(tmp_path: Path, empty_ledger: bytes) -> Iterator[Office]:
    (tmp_path / "ledger.db").write_bytes(empty_ledger)
    (tmp_path / "policy.yml").write_text(POLICY)
    settings = Settings.model_validate(
        {
            "state_dir": str(tmp_path),
            "images": {"base": "demo/base:1", "torch": "demo/torch:1"},
            "policy": str(tmp_path / "policy.yml"),
            "controller": {"enabled": True},
            "frozen": {"torch": "9999-07-31"},
        }
    )
    ledger = Ledger(tmp_path / "ledger.db")
    now = [NOW]
    clock = lambda: now[0]  # noqa: E731
    hub, line = FakeHub(), Line(ledger, HOST, STALE, clock)
    cards, usage = Cards(ledger, HOST, clock), UsageReports(ledger, HOST, clock)
    engine, shelf = FakeImages(*settings.images.values()), Shelf(settings.passports_path)

    def monotonic() -> float:
        return clock().timestamp()

    candidates, frozen = settings.candidates, settings.frozen
    known = KnownImages(settings.images, engine, shelf, monotonic, candidates=candidates, frozen=frozen)
    services = Services(
        ledger=ledger,
        host=HOST,
        sessions=Sessions(ledger, HOST, clock),
        hub=hub,
        policies=PolicyReader(settings, known, Rosters(ledger)),
        images=known,
        clock=clock,
        stale_after=STALE,
        line=line,
        cards=cards,
        reservations=Reservations(ledger, HOST, clock),
        usage=usage,
    )
    base = make_auth(settings, SECRET)
    auth = TestAuth(**{name: getattr(base, name) for name in (
        "api_url", "api_token", "base_url", "hub_prefix", "oauth_client_id", "access_scopes",
    )})  # fmt: skip
    metrics = Metrics(ledger, HOST, clock, STALE, ["grant"])
    ticking = Ticking(Tick([]), 1, metrics.observe_tick)
    watch = Watch(services.see_line, LOOK_SECONDS)
    house = House(auth, services, metrics, ticking, watch)
    made = Office(services, hub, line, cards, usage, metrics, auth, watch, engine, shelf, now=now)
    with serving(lambda: with_hub_files(make_app(house, SECRET))) as made.url:
        yield made
    ledger.close()
