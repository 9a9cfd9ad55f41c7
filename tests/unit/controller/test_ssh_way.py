"""The way of SSH through port 443: whom it lets to the gateway, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.allocator.ssh_rights import SshRights
from gpuspawner.controller import sshways
from gpuspawner.controller.app import make_app
from gpuspawner.controller.base import House
from gpuspawner.controller.sshdoor import WhyNot
from gpuspawner.controller.sshway import MOST_MESSAGE, find_source
from gpuspawner.controller.sshways import NOT_ALONE, NOT_VALID, Ways, read_token
from gpuspawner.core.ssh import MOST_AT_ONCE, MOST_OPEN, TOO_MANY, TOO_OFTEN
from support import controller
from support.controller import SECRET
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.web import HTTPError
from tornado.websocket import WebSocketClientConnection, websocket_connect

if TYPE_CHECKING:
    from support.controller import Office


@dataclass
class Gateway:
    """Stands in for OpenSSH: it gives bytes back, and knows who came."""

    port: int = 0
    peers: list[str] = field(default_factory=list)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether it takes anything."""
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Peers whose connections have ended."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        self.peers.append(peer)
        try:
            await self.reads.wait()
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if data == b"exit":
                    break
        except OSError:
            pass
        self.ended.put_nowait(peer)
        writer.close()


@dataclass
class Place:
    """A controller with a way, and the gateway that it leads to."""

    office: Office
    gateway: Gateway
    ways: Ways
    url: str

    async def open(self, who: str | None, path: str = "ssh/way", **headers: str) -> WebSocketClientConnection:
        login = {"Authorization": f"token {who}"} if who else {}
        url = f"ws{self.url.removeprefix('http')}/services/gpu/{path}"
        request = HTTPRequest(url, headers={**login, **headers})
        async with asyncio.timeout(20):
            return await websocket_connect(request)

    async def refusal(self, who: str | None, path: str = "ssh/way", **headers: str) -> tuple[int, str]:
        before = len(self.gateway.peers)
        with pytest.raises(HTTPClientError) as error:
            await self.open(who, path, **headers)
        assert len(self.gateway.peers) == before, "nothing reached the gateway"
        assert error.value.response
        return error.value.code, error.value.response.body.decode()


@pytest.fixture
async def place(office: Office) -> AsyncIterator[Place]:
    office.hub.people |= {"ada": frozenset({"students"}), "bob": frozenset()}
    async with starting(office) as made:
        yield made


@asynccontextmanager
async def starting(office: Office) -> AsyncIterator[Place]:
    gateway = Gateway()
    gateway.reads.set()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    seconds = iter(range(0, 1_000_000, 60))  # what the Hub says is not believed for longer
    why_not = WhyNot(office.hub, office.services.policies, lambda: next(seconds))
    ways = Ways(gateway.port, office.auth, SshRights(office.services.ledger, why_not), office.services.clock)
    house = House(office.auth, office.services, office.metrics, None, office.watch, ways=ways)  # type: ignore[arg-type]
    sockets = bind_sockets(0, "127.0.0.1")
    web = HTTPServer(make_app(house, SECRET), xheaders=True)
    web.add_sockets(sockets)
    try:
        yield Place(office, gateway, ways, f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
    finally:
        web.stop()
        ways.end_all("The test ends.")
        server.close()


async def hear(client: WebSocketClientConnection) -> Any:
    return await asyncio.wait_for(client.read_message(), 20)


async def test_bytes_go_to_the_gateway_and_back(place: Place) -> None:
    client = await place.open("ssh-ada", **{"X-Forwarded-For": "192.0.2.7"})
    data = bytes(range(256)) * 1000
    await client.write_message(data, binary=True)
    found = b""
    while len(found) < len(data):
        found += await hear(client)
    assert found == data
    way = place.ways.find(place.gateway.peers[0])
    assert way
    assert (way.owner, way.shown) == ("ada", "192.0.2.7 (443)")
    assert (way.sent, way.received) == (len(data), len(data))
    await client.write_message(b"exit", binary=True)
    assert await hear(client) == b"exit"
    assert await hear(client) is None
    assert client.close_code == 1000


async def test_what_a_client_ends_is_ended_at_the_gateway(place: Place) -> None:
    client = await place.open("ssh-ada")
    client.close()
    peer = await asyncio.wait_for(place.gateway.ended.get(), 20)
    assert await hear(client) is None
    assert place.ways.find(peer) is None


async def test_each_person_in_each_place_comes_from_an_address_of_their_own(place: Place) -> None:
    for who, where in (("ssh-ada", "2"), ("ssh-ada-too", "2"), ("ssh-ada", "3"), ("ssh-bob", "2")):
        await place.open(who, **{"X-Forwarded-For": f"10.0.0.9, 192.0.2.{where}, 127.0.0.1"})
    first, same, elsewhere, other = place.gateway.peers
    assert first == same
    assert len({first, elsewhere, other}) == 3
    assert {one.split(".")[1] for one in place.gateway.peers} == {"128"}
    assert [place.ways.find(one).shown for one in (elsewhere, other)] == [  # type: ignore[union-attr]
        "192.0.2.3 (443)",
        "192.0.2.2 (443)",
    ]


@pytest.mark.parametrize(
    ("who", "status", "says"),
    [
        (None, 401, "A token is needed: Authorization: token …"),
        ("no-such-token", 401, NOT_VALID),
        ("keys-ada", 403, NOT_ALONE),
        ("inside-ada", 403, NOT_ALONE),
        ("admin", 403, NOT_ALONE),
        ("hub-admin", 403, NOT_ALONE),
        ("ssh-and-more", 403, NOT_ALONE),
        ("ssh-service", 403, NOT_ALONE),
    ],
)
async def test_only_a_token_for_this_alone_opens_it(
    place: Place, who: str | None, status: int, says: str
) -> None:
    assert await place.refusal(who) == (status, f"{says}\n")
    denied = place.office.trail("access.denied")
    assert [one.reason for one in denied] == (
        ["ssh/way: the scope custom:gpu:ssh is missing, or is not alone"] if status == 403 else []
    )


async def test_a_browser_opens_nothing_whatever_it_is_logged_in_as(place: Place) -> None:
    cookie = {"Cookie": f"service-gpu={place.office.cookie('ssh-ada')}"}
    assert (await place.refusal(None, **cookie))[0] == 401
    assert (await place.refusal(None, "ssh/way?token=ssh-ada"))[0] == 401
    for origin in ("https://evil.example", place.url, "null"):
        assert await place.refusal("ssh-ada", Origin=origin) == (403, "This is not for browsers.\n")
    assert (await place.refusal("ssh-ada", **{"Sec-Fetch-Site": "same-origin"}))[0] == 403


async def test_what_is_no_websocket_is_told_what_this_is(place: Place) -> None:
    request = asyncio.get_running_loop().run_in_executor
    for method in ("GET", "POST"):
        answer = await request(None, lambda method=method: place.office.raw(method, "/ssh/way", "ssh-ada"))
        assert answer.status_code in (404, 405), "there is no gateway in that office"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(place.url.rpartition(":")[2]))
    writer.write(b"GET /services/gpu/ssh/way HTTP/1.0\r\nAuthorization: token ssh-ada\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 400 ")
    assert answer.endswith("This is for gpuspawner-session ssh-proxy, which opens a WebSocket here.\n")


async def test_who_may_not_use_ssh_is_told_which_rule_says_so(place: Place, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text("groups:\n  default: {ssh: false}\n  students: {ssh: true}\n")
    await place.open("ssh-ada")
    refused = (403, "SSH is not allowed for you (default). Ask the administrator.\n")
    assert await place.refusal("ssh-bob") == refused
    del place.office.hub.people["ada"]
    assert (await place.refusal("ssh-ada"))[1] == "The hub knows nobody of this name any more.\n"


async def test_while_something_is_away_nobody_new_comes_in(place: Place) -> None:
    place.office.hub.fail("groups_of")
    assert await place.refusal("ssh-ada") == (503, "It cannot be told now who may come in. Try again.\n")
    place.office.auth.away = True
    assert (await place.refusal("ssh-ada"))[0] == 503
    place.office.auth.away = False
    place.office.hub.failures.clear()
    place.ways.port = 1
    assert await place.refusal("ssh-ada") == (
        502,
        "The gateway of SSH does not run. Tell the administrator.\n",
    )
    assert place.ways._open == [], "nothing is left that looks open"


async def test_one_person_has_so_many_open_and_nobody_else_is_kept_out(place: Place) -> None:
    for _ in range(MOST_OPEN):
        client = await place.open("ssh-ada")
    assert await place.refusal("ssh-ada-too") == (429, f"{TOO_MANY.text}\n")
    await place.open("ssh-bob")
    client.close()
    await asyncio.wait_for(place.gateway.ended.get(), 20)
    assert await hear(client) is None
    await place.open("ssh-ada")


async def test_who_connects_too_often_waits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(MOST_AT_ONCE):
        place.ways.close(place.ways.open("ada", "ssh-ada", "192.0.2.7", lambda _: None))
    assert await place.refusal("ssh-ada") == (429, f"{TOO_OFTEN.text}\n")
    monkeypatch.setattr(sshways, "MOST_IN_ALL", 0)
    assert (await place.refusal("ssh-bob"))[1] == "Too many connections are open here. Try again later.\n"


async def ended_with(client: WebSocketClientConnection) -> tuple[int | None, str | None]:
    assert await hear(client) is None
    return client.close_code, client.close_reason


async def test_a_token_that_is_revoked_or_expires_ends_what_it_opened(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked, other = await place.open("ssh-ada"), await place.open("ssh-ada-too")
    await place.ways.look()
    assert len(place.ways._open) == 2
    monkeypatch.delitem(controller.TOKENS, "ssh-ada")
    await place.ways.look()
    assert await ended_with(revoked) == (1008, NOT_VALID)
    await asyncio.wait_for(place.gateway.ended.get(), 20)
    await other.write_message(b"still", binary=True)
    assert await hear(other) == b"still"


@pytest.mark.parametrize("by", ["hub", "policy"])
async def test_who_loses_the_right_is_cut_off(place: Place, tmp_path: Path, by: str) -> None:
    client = await place.open("ssh-ada")
    place.gateway.reads.clear()
    if by == "hub":
        del place.office.hub.people["ada"]
    else:
        (tmp_path / "policy.yml").write_text("groups: {default: {ssh: false}}")
    await place.ways.look()
    assert await ended_with(client) == (
        1008,
        "The hub knows nobody of this name any more."
        if by == "hub"
        else "SSH is not allowed for you (default). Ask the administrator.",
    )
    place.gateway.reads.set()
    await asyncio.wait_for(place.gateway.ended.get(), 20)


async def test_while_the_hub_is_away_who_is_in_stays(place: Place) -> None:
    client = await place.open("ssh-ada")
    place.office.auth.away = True
    place.office.hub.fail("groups_of")
    await place.ways.look()
    await client.write_message(b"still", binary=True)
    assert await hear(client) == b"still"


async def test_a_hub_that_hangs_is_not_waited_for_and_holds_up_no_other_end(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await place.open("ssh-ada")

    async def hang(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(place.office.auth, "_check_hub_authorization", hang)
    monkeypatch.setattr(sshways, "HUB_SECONDS", 0)
    said = "The hub does not answer, so nobody can come in. Try again.\n"
    assert await place.refusal("ssh-ada") == (503, said)
    (tmp_path / "policy.yml").write_text("groups: {default: {ssh: false}}")
    await asyncio.wait_for(place.ways.look(), 20)
    assert (await ended_with(client))[0] == 1008


async def test_a_token_that_the_hub_cannot_tell_of_holds_up_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = {who: await place.open(who) for who in ("ssh-ada", "ssh-ada-too", "ssh-bob")}

    async def tell(*_: Any, api_token: str, **__: Any) -> None:
        if api_token == "ssh-bob":
            raise HTTPError(502, "Failed to check authorization (upstream problem)")

    monkeypatch.setattr(place.office.auth, "_check_hub_authorization", tell)
    await place.ways.look()
    for who in ("ssh-ada", "ssh-ada-too"):
        assert await ended_with(clients[who]) == (1008, NOT_VALID)
    await clients["ssh-bob"].write_message(b"still", binary=True)
    assert await hear(clients["ssh-bob"]) == b"still"


async def test_what_is_no_bytes_or_too_long_ends_it(place: Place) -> None:
    client = await place.open("ssh-ada")
    await client.write_message("text")
    assert await ended_with(client) == (1003, "Only bytes are taken here.")
    client = await place.open("ssh-ada")
    await client.write_message(b"x" * (MOST_MESSAGE + 1), binary=True)
    assert (await ended_with(client))[0] in (1009, None)
    for _ in range(2):
        await asyncio.wait_for(place.gateway.ended.get(), 20)


async def test_no_more_is_taken_than_the_gateway_takes(place: Place) -> None:
    place.gateway.reads.clear()
    client = await place.open("ssh-ada")
    chunk, count = b"x" * MOST_MESSAGE, 400

    async def send() -> None:
        for _ in range(count):
            await client.write_message(chunk, binary=True)

    async def take() -> int:
        found = 0
        while found < count * len(chunk):
            found += len(await hear(client))
        return found

    sending = asyncio.create_task(send())
    done, _ = await asyncio.wait({sending}, timeout=1)
    (way,) = place.ways._open
    assert not done
    assert way.sent < 40 * 1024 * 1024, "what the kernel holds, and little more"
    place.gateway.reads.set()
    assert await asyncio.wait_for(take(), 60) == count * len(chunk)
    await sending


@pytest.mark.parametrize(
    ("forwarded", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7, 127.0.0.1", "192.0.2.7"),
        ("2001:db8::1,::1", "2001:db8::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:192.0.2.7, ::ffff:127.0.0.1", "192.0.2.7"),
        ("", "127.0.0.1"),
        ("192.0.2.7, <b>", "127.0.0.1"),
    ],
)
def test_where_somebody_is_is_what_our_own_proxies_say(forwarded: str, source: str) -> None:
    assert find_source(HTTPHeaders({"X-Forwarded-For": forwarded}), "127.0.0.1") == source


def test_what_a_token_opens() -> None:
    assert read_token(None) == (None, NOT_VALID)
    assert read_token({"name": "ada", "scopes": ["custom:gpu:ssh"]}) == ("ada", None)
    assert read_token({"name": "ada", "scopes": []}) == ("ada", NOT_ALONE)
    mightier = ["custom:gpu:ssh", "read:users:name!user=bob"]
    assert read_token({"name": "ada", "scopes": mightier}) == ("ada", NOT_ALONE)
