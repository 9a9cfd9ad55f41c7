"""One's servers as a page: what it says, stopping one, and the file of what its GPUs did."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from gpuspawner.core.model import LeaseState, Party, Sample
from support.build import GIB, HOST, NOW, ago
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

HOSTILE = ["<script>alert(1)</script>", "w" * 64, "مريم", "🦊 fox"]


def page(office: Office, who: str = "ada") -> str:
    answer = office.raw("GET", "/servers", who)
    assert answer.status_code == 200, answer.text
    return answer.text


def add_samples(office: Office, *samples: Sample, device: str = "GPU-0") -> None:
    with office.services.ledger.write() as unit:
        unit.add_samples(HOST, [(device, one) for one in samples])


def test_nothing_runs(office: Office) -> None:
    text = text_of(page(office))
    assert "No server of yours runs." in text
    assert "Start a server" in text
    assert "Your last one" not in text


def test_how_the_last_one_ended(office: Office) -> None:
    office.add_lease(lease_id="failed", state=LeaseState.RELEASED, devices=(), reason="never ran")
    ran = {"state": LeaseState.RELEASED, "container_id": "c1", "devices": ()}
    office.add_lease(lease_id="old", **ran, created_at=ago(900), reason="an older one")
    office.add_lease(
        lease_id="new", **ran, created_at=ago(800), ended_at=ago(30), reason="idle", server="two"
    )
    office.add_lease("bob", "bobs", **ran, created_at=ago(100), reason="bob's")
    text = text_of(page(office))
    assert "Your last one, two , ended 2030-05-17 11:59 UTC : idle." in text
    assert "Start a server again" in text


def test_a_session(office: Office) -> None:
    end = NOW + timedelta(hours=1)
    office.add_lease(ends_at=end, end_reason="the longest session is 2 h", party=Party((), ("vision",)))
    office.add_lease("bob", "bobs", devices=("GPU-1",), server="bob's own")
    add_samples(office, *(Sample(ago(10 * n), 50, GIB) for n in range(3, 50)))
    html = page(office)
    text = text_of(html)
    assert "Until 2030-05-17 13:00 UTC : the longest session is 2 h" in text
    assert "A teacher of vision or an administrator can extend it." in text
    assert "A100 GPU-0, 40 GiB" in text
    assert "Now: 0 % utilisation, 4 MiB of memory in use" in text
    assert "Over the last hour between 50 and 50 %." in text
    assert html.count("<polyline") == 2
    assert "bob" not in html
    assert "style=" not in html


def test_what_was_measured_before_the_session_is_not_shown(office: Office) -> None:
    office.add_lease(created_at=ago(120))
    add_samples(office, *(Sample(ago(10 * n), 77, GIB) for n in range(13, 50)))
    assert "<polyline" not in page(office)
    assert "77" not in office.raw("GET", "/servers/lease1/use.csv").text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words(office: Office, name: str) -> None:
    office.add_lease(server=name, image=name, ends_at=NOW, end_reason=name, party=Party((), (name,)))
    office.services.sessions.message("lease1", name, actor=name)
    html = page(office)
    assert "<script>alert" not in html
    assert text_of(html).count(name) >= 6


def test_messages(office: Office) -> None:
    office.add_lease()
    office.services.sessions.message("lease1", "old", actor="grace")
    office.now[0] += timedelta(days=2)
    office.services.sessions.message("lease1", "new", actor="grace")
    text = text_of(page(office))
    assert text.index("new from grace") < text.index("Your default server")
    assert text.index("Earlier messages old from grace") > text.index("Your default server")
    assert "from grace" not in page(office, "bob")


@pytest.mark.parametrize(("reason", "noted"), [("", "its person stopped it"), (" done ", "done")])
def test_stop(office: Office, reason: str, noted: str) -> None:
    office.add_lease(server="two")
    assert "Kernels and terminals that run in it end" in page(office)
    answer = office.raw("POST", "/servers/lease1/stop", data={"reason": reason})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/gpu/servers")
    assert office.hub.calls == [("stop_server", "ada", "two")]
    assert [(e.kind, e.actor, e.reason) for e in office.trail("session")] == [
        ("session.stopping", "ada", noted)
    ]


@pytest.mark.parametrize("who", ["bob", "grace", "admin", "service-ada"])
def test_others_servers_are_not_there(office: Office, who: str) -> None:
    office.add_lease(party=Party((), ("vision",)))
    answer = office.raw("POST", "/servers/lease1/stop", who)
    assert answer.status_code == 404
    assert text_of(answer.text) == text_of(office.raw("POST", "/servers/nothing/stop", who).text)
    assert (office.hub.calls, office.trail("session")) == ([], [])


def test_what_cannot_be_stopped_is_told(office: Office) -> None:
    office.add_lease()
    office.hub.fail("stop_server")
    assert office.raw("POST", "/servers/lease1/stop").status_code == 303
    too_long = office.raw("POST", "/servers/lease1/stop", data={"reason": "x" * 501})
    assert too_long.status_code == 303
    office.add_lease(lease_id="over", state=LeaseState.RELEASED, devices=())
    assert office.raw("POST", "/servers/over/stop").status_code == 303
    assert len(office.trail("session")) == 1


def test_the_csv(office: Office) -> None:
    office.add_lease(created_at=ago(100), party=Party((), ("vision",)))
    add_samples(office, Sample(ago(101), 99), Sample(ago(90), 50, GIB), Sample(ago(4), None, None))
    answer = office.raw("GET", "/servers/lease1/use.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.text.splitlines() == [
        "time,gpu,utilization_percent,memory_used_bytes",
        f"2030-05-17T11:58:30Z,GPU-0,50,{GIB}",
        "2030-05-17T11:59:56Z,GPU-0,,",
    ]
    assert office.raw("GET", "/servers/lease1/use.csv", "grace").status_code == 200, "its teacher sees it too"
    for who in ("bob", "service-ada"):
        assert office.raw("GET", "/servers/lease1/use.csv", who).status_code == 404
    assert office.raw("GET", "/servers/lease1/use.csv", None).status_code == 302


def test_no_csv_of_what_is_somebody_else_s_now(office: Office) -> None:
    office.add_lease(state=LeaseState.RELEASING)
    add_samples(office, Sample(ago(5), 99))
    assert office.raw("GET", "/servers/lease1/use.csv").status_code == 404
