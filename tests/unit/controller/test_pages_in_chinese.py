"""The controller's pages in Chinese, over a ledger with a bit of everything: nothing of ours is English."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.allocator.ssh import Entrance, SshDesk, Told
from gpuspawner.core.claims import Actor, ActorKind, Holder
from gpuspawner.core.health import judge_look
from gpuspawner.core.model import DeviceReading
from gpuspawner.core.ssh import CLOSED_HERE
from support.build import NOW, device, record, sample
from support.chinese import find_english
from support.controller import Office
from support.ssh import KEYS, give_gateway

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9"}
Look = Callable[..., str]


@pytest.fixture
def look(office: Office) -> Look:
    """What a page says, without its tags."""

    def read(path: str, who: str = "admin", status: int = 200) -> str:
        answer = office.raw(
            "GET", path, who, headers=CHINESE | {"Cookie": f"service-gpu={office.cookie(who)}"}
        )
        assert answer.status_code == status, answer.text[:500]
        body = re.sub(r"(?s)<script.*?</script>|<code.*?</code>", "", answer.text)
        return html.unescape(re.sub(r"<[^>]*>", "", body))

    return read


@pytest.fixture
def lively(office: Office) -> None:
    """Cards that are wrong in several ways, people who work and wait, a reservation, messages, refusals."""
    sick = DeviceReading(
        "GPU-2", device=device("GPU-2"), sample=sample(), xids=(79, 999), recovery_action=2, error=None
    )
    silent = DeviceReading("GPU-3", device=device("GPU-3"), error="the driver did not answer within 5 s")
    with office.services.ledger.write() as unit:
        for reading in (sick, silent):
            told = judge_look(reading, None, None, now=NOW)
            unit.put_device(
                replace(
                    record(reading.uuid, device=reading.device),
                    health=told.health,
                    health_reason=told.reason,
                    standing_fault=told.standing_fault,
                    fault=told.fault,
                )
            )
        unit.put_device(record("GPU-4", device=device("GPU-4"), occupied_by="process 4711 on the host"))
    full = office.fill("grace")
    with office.services.ledger.write() as unit:
        unit.update_lease(
            replace(full, ends_at=NOW + timedelta(hours=1), end_reason="a session may last 8 h at most")
        )
    for who, options in (("bob", {"gpus": 1}), ("ada", {"gpus": 2}), ("ada", {"gpus": 1, "memory": "8G"})):
        server = "" if who == "bob" else f"s{options['gpus']}"
        answer = office.ask("POST", "/queue", who, {"server": server, "options": options})
        assert answer.status_code == 201, answer.text
    office.cards.drain("GPU-4", reason="风扇", actor="admin", until=NOW + timedelta(hours=1))
    office.cards.pin("GPU-3", Holder("course", "vision"), reason="经费", actor="admin")
    office.services.sessions.request_stop("full", reason="维护", actor="admin")


@pytest.mark.usefixtures("lively")
@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/queue", "ada"), ("/queue", "bob"), ("/servers", "grace"), ("/servers", "ada"), ("/board", "admin"),
        ("/audit", "admin"), ("/reports", "admin"), ("/reports?since=2030-01-09&until=2030-01-01", "admin"),
        ("/reservations", "admin"), ("/reservations/new", "admin"), ("/reservations/import", "admin"),
        ("/courses", "admin"), ("/board/do/drain/GPU-4", "admin"), ("/board/do/undrain/GPU-4", "admin"),
        ("/board/do/clear/GPU-2", "admin"), ("/board/do/extend/full", "admin"),
    ],
)  # fmt: skip
def test_nothing_of_ours_is_english(look: Look, path: str, who: str) -> None:
    assert find_english(look(path, who)) == []


def test_the_page_of_ssh_with_keys_refusals_and_connections(
    office: Office, look: Look, tmp_path: Path
) -> None:
    give_gateway(office, tmp_path)
    services = office.services
    key = services.keys.add("ada", KEYS[0], "笔记本", actor=Actor("ada", ActorKind.PERSON))
    for refused in (None, "SSH is not allowed for you (group `lab`). Ask the administrator."):
        desk = SshDesk(services.ledger, services.host, lambda _, why=refused: why, services.clock)
        assert desk.ask(key.fingerprint) is None
        assert find_english(look("/ssh", "keys-ada")) == []
    office.add_lease("ada", "l1", container_id="c1", server="b")
    desk = SshDesk(services.ledger, services.host, lambda _: None, services.clock)
    entered = desk.enter(key.fingerprint, "127.64.0.0", "", "g")
    assert entered == "Your server does not run."
    assert desk.ask(key.fingerprint)
    entered = desk.enter(key.fingerprint, "127.64.0.1", "", "g")
    assert isinstance(entered, Entrance)
    desk.report("g", [Told(entered.session.id, 1, 2, CLOSED_HERE)])
    assert find_english(look("/ssh", "keys-ada")) == []
    assert find_english(look("/audit")) == []


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/queue/nobody", 404), ("/board", 403)])
def test_errors_too(look: Look, path: str, status: int) -> None:
    assert find_english(look(path, "ada", status)) == []


@pytest.mark.usefixtures("lively")
def test_every_reason_in_the_ledger_is_known(office: Office, look: Look) -> None:
    said = look("/board")
    assert "您请求 1 个 GPU" in said
    assert "XID 79（卡已从总线上脱落），999（不在我们的表中）" in said
    assert "主机上的进程 4711" in said
    assert "会话最长 8 h" in said


def test_english_would_be_found(look: Look, office: Office) -> None:
    office.fill()
    answer = office.raw("GET", "/queue", "ada", headers={"Cookie": f"service-gpu={office.cookie('ada')}"})
    assert find_english(re.sub(r"<[^>]*>", "", answer.text))
