"""What the controller answers the gateway; and what it does with questions that make no sense."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.allocator.ssh import SshDesk
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.allocator.ssh_rights import SshRights
from gpuspawner.controller import sshdoor as module
from gpuspawner.controller.sshdoor import SshDoor, WhyNot
from gpuspawner.controller.sshways import Ways
from gpuspawner.controller.wiring import make_services, make_ssh_door
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.gateway.desk import SECONDS
from gpuspawner.policy.settings import Settings
from support.build import HOST
from support.fake_engine import FakeEngine
from support.ssh import KEYS

if TYPE_CHECKING:
    from support.controller import Office

ADA = Actor("ada", ActorKind.PERSON)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def door(office: Office, engine: FakeEngine) -> SshDoor:
    office.hub.people["ada"] = frozenset({"students"})
    why_not, services = WhyNot(office.hub, office.services.policies), office.services
    desk = SshDesk(services.ledger, HOST, why_not, services.clock, office.metrics.count_ssh_refusal)
    return SshDoor(desk, engine)


@pytest.fixture
def running(office: Office, engine: FakeEngine) -> str:
    """The fingerprint of a key of somebody whose server runs."""
    container = engine.create("c1")
    engine.start(container)
    office.add_lease("ada", "l1", container_id=container)
    return SshKeys(office.services.ledger).add("ada", KEYS[0], actor=ADA).fingerprint


def ask(door: SshDoor, what: str, **said: Any) -> dict[str, Any]:
    return door.answer({"ask": what, **said})


def test_from_a_key_to_its_server(door: SshDoor, running: str) -> None:
    found = ask(door, "key", key=KEYS[0])
    assert found["line"] == f'restrict,port-forwarding,permitopen="127.64.0.0:2200" {KEYS[0]}'
    entered = ask(door, "enter", fingerprint=running, address="127.64.0.0", source="::1", gateway="g")
    assert (entered["host"], entered["port"], entered["owner"]) == ("192.0.2.1", 2222, "ada")
    told = [{"id": entered["session"], "sent": 1, "received": 2}]
    assert ask(door, "report", gateway="g", told=told, keys=[running]) == {"end": {}, "bad": []}
    assert ask(door, "report", gateway="g", told=[], keys=["SHA256:other"])["bad"] == ["SHA256:other"]


def test_a_way_through_port_443_is_named_and_is_for_the_keys_of_its_person(
    office: Office, engine: FakeEngine, running: str
) -> None:
    office.hub.people["ada"] = frozenset()
    why_not = WhyNot(office.hub, office.services.policies)
    ways = Ways(2222, office.auth, SshRights(office.services.ledger, why_not), office.services.clock)
    desk = SshDesk(office.services.ledger, HOST, why_not, office.services.clock)
    door = SshDoor(desk, engine, ways)
    own, other = (ways.open(who, "t", "192.0.2.7", lambda _: None) for who in ("ada", "eve"))
    asked = {"fingerprint": running, "address": "127.64.0.0", "gateway": "g"}
    assert ask(door, "enter", **asked, source=own.address)["owner"] == "ada"
    refused = ask(door, "enter", **asked, source=other.address)["refused"]
    assert refused == "This key came through port 443 with somebody else's token. Use one of your own."
    with office.services.ledger.read() as unit:
        assert [one.source for one in unit.open_ssh_sessions("ada")] == ["192.0.2.7 (443)"]
        key = unit.ssh_key(running)
    assert key is not None
    assert key.refused == refused, "its person reads it"
    ways.close(other)
    assert ask(door, "enter", **asked, source="192.0.2.9")["owner"] == "ada"


def test_a_key_that_nobody_has_opens_nothing(door: SshDoor) -> None:
    assert ask(door, "key", key=KEYS[1])["line"] == ""


def test_a_container_that_ended_is_not_reached(door: SshDoor, running: str, engine: FakeEngine) -> None:
    for container in engine.containers:
        engine.stop(container, 0)
    found = ask(door, "enter", fingerprint=running, address="127.64.0.0", source="", gateway="g")
    assert found == {"refused": "Your server does not run."}


def test_while_the_engine_is_away_nothing_is_left_that_looks_open(
    office: Office, door: SshDoor, running: str, engine: FakeEngine
) -> None:
    engine.fail("locate")
    found = ask(door, "enter", fingerprint=running, address="127.64.0.0", source="", gateway="g")
    assert "no answer within 10 s" in found["error"]
    with office.services.ledger.read() as unit:
        assert unit.open_ssh_sessions("ada") == ()


def test_while_the_hub_is_away_nobody_new_comes_in_and_who_is_in_stays(
    office: Office, door: SshDoor, running: str
) -> None:
    entered = ask(door, "enter", fingerprint=running, address="127.64.0.0", source="", gateway="g")
    office.hub.fail("groups_of")
    why_not = WhyNot(office.hub, office.services.policies)
    later = SshDoor(SshDesk(office.services.ledger, HOST, why_not, office.services.clock), FakeEngine())
    assert "no answer within 20 s" in ask(later, "key", key=KEYS[0])["error"]
    told = [{"id": entered["session"], "sent": 0, "received": 0}]
    assert ask(later, "report", gateway="g", told=told, keys=[running]) == {"end": {}, "bad": []}


def test_the_hub_is_asked_with_little_patience(tmp_path: Path) -> None:
    data = {"state_dir": str(tmp_path), "images": {"a": "b"}, "ssh": {"enabled": True, "host": "hub"}}
    settings = Settings.model_validate(data | {"controller": {"enabled": True}})
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        services = make_services(settings, ledger, "token")
        door = make_ssh_door(services, lambda _: None, None)
    assert isinstance(services.ssh_hub, HttpHubApi)
    assert services.ssh_hub._timeout + 1 < SECONDS, "the gateway hears it before it gives up"
    assert door._desk._rights._ask_why._hub is services.ssh_hub  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ask": "nothing"},
        {"ask": "key"},
        {"ask": "key", "key": "ssh-ed25519 !"},
        {"ask": "report"},
        7,
        [],
        None,
    ],
)
def test_what_makes_no_sense_is_an_error_and_nothing_else(door: SshDoor, asked: Any) -> None:
    assert list(door.answer(asked)) == ["error"]


async def test_the_socket_is_closed_to_others_and_survives_nonsense(door: SshDoor, tmp_path: Path) -> None:
    files = SshFiles(tmp_path / "ssh")
    path = files.socket
    for _ in range(2):  # one that was killed leaves its file
        server = await door.listen(files)
        assert files.has_secret
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        for sent in (b"\n", b"{\n", b"\xff\n", b'{"ask": "key", "key": "ssh-ed25519 AAAA"}\n'):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
        assert json.loads(answer)["line"] == ""
        server.close()


def test_of_a_door_that_cannot_be_opened_its_person_is_told(
    office: Office, door: SshDoor, running: str
) -> None:
    def said() -> str:
        return SshKeys(office.services.ledger).list("ada")[0].refused

    for address in ("127.64.0.9", "nonsense"):
        assert ask(door, "shut", fingerprint=running, address=address, why="Address already in use") == {}
        assert said() == ""
    assert ask(door, "shut", fingerprint="SHA256:none", address="127.64.0.0", why="x") == {}
    assert ask(door, "shut", fingerprint=running, address="127.64.0.0", why="Address already in use") == {}
    assert said() == (
        "The gateway cannot take connections to this server: Address already in use. Tell the administrator."
    )
    assert 'gpuspawner_ssh_refusals_total{cause="shut"} 1.0' in office.metrics.render().decode()


async def test_questions_without_end_hold_up_nobody_else(
    door: SshDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = Event()

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["ask"] == "key":
            assert go.wait(20)
        return {"told": asked["ask"]}

    monkeypatch.setattr(door, "answer", answer)
    monkeypatch.setattr(module, "MOST_WAITING", 20)
    files = SshFiles(tmp_path / "ssh")
    async with await door.listen(files):
        many = [asyncio.ensure_future(knock(files, "key")) for _ in range(module.MOST_WAITING)]
        async with asyncio.timeout(20):
            while door._waiting < module.MOST_WAITING:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await knock(files, "report") == {"told": "report"}
            assert await knock(files, "key") == {"error": "busy"}
            assert await asyncio.to_thread(lambda: "pages") == "pages", "others have their own threads"
            go.set()
            assert await asyncio.gather(*many) == [{"told": "key"}] * module.MOST_WAITING
            assert await knock(files, "key") == {"told": "key"}


async def knock(files: SshFiles, what: str) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(files.socket))
    writer.write(json.dumps({"ask": what}).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    return answer
