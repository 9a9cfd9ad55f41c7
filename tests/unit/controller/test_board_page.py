"""The administrators' board over HTTP: who may, what each button does, and what is written down of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.claims import Actor, ActorKind, Holder
from gpuspawner.core.errors import Conflict
from gpuspawner.core.model import Event, Health, LeaseState
from support.board import HOSTILE
from support.board_pages import HOUR, WHY, do, done, form_of, page, press
from support.build import NOW, device, record
from support.client import text_of
from support.ssh import KEYS

if TYPE_CHECKING:
    from support.controller import Office

ACTIONS = (
    *("drain", "drain-now", "undrain", "keep", "release", "clear"),
    *("message", "extend", "stop", "remove", "undo"),
)


def last(office: Office, kind: str) -> Event:
    event = office.trail(kind)[0]
    assert event.actor == "admin"
    return event


# -- who may ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ada", "grace", "planner", "service-ada", "filtered"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/board"),
        ("GET", "/live/board"),
        ("GET", "/audit"),
        ("GET", "/audit.csv"),
        ("GET", "/board/do/announce/gpu1"),
        ("POST", "/board/do/announce/gpu1/confirm"),
        *(("GET", f"/board/do/{action}/GPU-0") for action in ACTIONS),
        *(("POST", f"/board/do/{action}/GPU-0/confirm") for action in ACTIONS),
    ],
)
def test_who_does_not_manage_is_denied_and_that_is_written_down(
    office: Office, method: str, path: str, who: str
) -> None:
    answer = office.raw(method, path, who, **({"data": WHY} if method == "POST" else {}))
    assert answer.status_code == 403
    (event,) = office.trail("access.denied")
    assert path in event.reason
    assert "custom:gpu:manage" in event.reason
    assert not office.trail("device.")


def test_a_teacher_is_not_offered_the_board(office: Office) -> None:
    assert "GPUs and people" not in text_of(page(office, "/queue", "grace"))
    for who in ("admin", "hub-admin"):
        assert "GPUs and people" in text_of(page(office, "/queue", who))
        assert "GPUs of gpu1" in text_of(page(office, who=who))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/board/do/drain/GPU-9",
            "/board/do/melt/GPU-0",
            "/board/do/stop/nothing",
            "/board/do/remove/nothing",
        ),
        *("/board/do/announce/other", "/board/do/message/over", "/board/do/stop/GPU-0"),
        *("/board/do/undo/999999", "/board/do/undo/GPU-0", "/board/do/undo/-1", "/board/do/undo/1e3"),
    ],
)
def test_what_is_not_there(office: Office, path: str) -> None:
    office.add_lease("ada", "over", state=LeaseState.RELEASING)
    assert office.raw("GET", path, "admin").status_code == 404
    assert office.raw("POST", f"{path}/confirm", "admin", data=WHY).status_code == 404


def test_looking_does_nothing(office: Office) -> None:
    office.add_lease(ends_at=NOW + HOUR)
    before = len(office.trail())
    for action in ("drain", "drain-now", "keep"):
        page(office, f"/board/do/{action}/GPU-0")
        assert office.raw("GET", f"/board/do/{action}/GPU-0/confirm", "admin").status_code == 405
    for action in ("message", "extend", "stop"):
        page(office, f"/board/do/{action}/lease1")
    assert len(office.trail()) == before
    assert not office.hub.calls


# -- cards --------------------------------------------------------------------------------------------------


def test_drain_when_it_is_free_and_undo(office: Office) -> None:
    office.add_lease("ada")
    html = text_of(page(office, "/board/do/drain/GPU-0"))
    assert "This stops nothing. It is about 1 server of 1 person, which go on: ada , default server" in html
    board = do(office, "drain", "GPU-0", **{"for": "2 h", **WHY}).text
    assert "GPU-0 is drained." in text_of(board)
    assert "Undo: Drain GPU-0" in text_of(board)
    assert "exam &lt;b&gt;" in board
    (drained,) = office.services.line.view().situation.drains
    assert (drained.until, drained.now, drained.reason) == (NOW + 2 * HOUR, False, "exam <b>")
    assert last(office, "device.drained").reason == "drained by admin until 14:00 UTC: exam <b>"
    assert office.services.sessions.find("lease1").ends_at is None
    assert "is not drained any more" in done(office, "undrain", "GPU-0", reason="a slip")
    assert not office.services.line.view().situation.drains
    assert last(office, "device.undrained").reason == "a slip"


def test_drain_now_says_whom_it_stops_and_stops_no_other(office: Office) -> None:
    office.add_lease("ada", "a", server="train")
    confirm, hidden = form_of(page(office, "/board/do/drain-now/GPU-0"))
    assert hidden["ends"] == "a"
    with office.services.ledger.write() as unit:
        first = unit.lease("a")
        assert first
        unit.update_lease(replace(first, state=LeaseState.RELEASED))
    office.add_lease("bob", "b")
    answer = press(office, confirm, hidden | WHY)
    assert urlsplit(answer.url).path == "/services/gpu/board/do/drain-now/GPU-0"
    assert "More sessions would end than you were shown." in text_of(answer.text)
    assert not office.trail("device.drained")
    again = answer.text
    assert 'value="exam &lt;b&gt;"' in again, "nothing that was typed is lost"
    assert "This stops 1 server of 1 person: bob" in text_of(again)
    assert "is drained" in done(office, "drain-now", "GPU-0", **WHY)
    assert office.services.sessions.find("b").ends_at == NOW + timedelta(minutes=1)


def test_all_of_a_divided_card(office: Office) -> None:
    with office.services.ledger.write() as unit:
        for name in ("MIG-a", "MIG-b"):
            unit.put_device(record(name, device=device(name, parent="GPU-9")))
    for n, who in enumerate(("ada", "bob")):
        office.add_lease(who, f"l{n}", devices=(f"MIG-{'ab'[n]}",))
    assert "This stops 2 servers of 2 people:" in text_of(page(office, "/board/do/drain-now/GPU-9"))
    done(office, "drain-now", "GPU-9", **WHY)
    assert {office.services.sessions.find(f"l{n}").ends_at for n in range(2)} == {NOW + timedelta(minutes=1)}


def test_keep_for_somebody_and_for_nobody(office: Office) -> None:
    text = done(office, "keep", "GPU-1", kind="course", name="vision", **WHY)
    assert "GPU-1 is kept for the course vision." in text
    assert "Undo: Assign GPU-1" in text
    (pin,) = office.services.line.view().situation.pins
    assert (pin.device, pin.holder, pin.actor) == ("GPU-1", Holder("course", "vision"), "admin")
    assert last(office, "device.pinned")
    assert "is kept for nobody" in done(office, "release", "GPU-1", reason="the course is over")
    assert not office.services.line.view().situation.pins
    assert last(office, "device.unpinned").reason == "the course is over"


def test_clear_a_fault(office: Office) -> None:
    lost = "XID 79: it fell off the bus"
    with office.services.ledger.write() as unit:
        unit.put_device(record(health=Health.FAULTY, health_reason=lost, standing_fault=lost))
    assert f"GPU-0: {lost}" in text_of(page(office, "/board/do/clear/GPU-0"))
    assert "The fault of GPU-0 is cleared." in done(office, "clear", "GPU-0", reason="seated anew")
    assert last(office, "device.cleared").reason == "seated anew"


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("undrain", "It is not drained, so there is nothing to undo."),
        ("release", "It is kept for nobody, so there is nothing to undo."),
        ("clear", "No fault stands that could be cleared"),
    ],
)
def test_what_cannot_be_done_has_no_button(office: Office, action: str, says: str) -> None:
    html = page(office, f"/board/do/{action}/GPU-0")
    assert says in text_of(html)
    assert "action-form" not in html
    told = press(office, f"/board/do/{action}/GPU-0/confirm", WHY)
    assert "alert-danger" in told.text, "and who presses all the same is told so"


# -- sessions, the line, everybody --------------------------------------------------------------------------


def test_message_one(office: Office) -> None:
    office.add_lease("ada")
    assert "The message is left" in done(office, "message", "lease1", text="Save, please <3")
    assert office.get("/messages", "ada")["messages"][0]["text"] == "Save, please <3"
    assert last(office, "session.message").reason == "Save, please <3"


def test_message_everybody_once(office: Office) -> None:
    assert "Message everybody" not in text_of(page(office)), "nobody is there"
    office.add_lease("ada", "a1")
    office.add_lease("ada", "a2", devices=(), server="two")
    office.add_lease("bob", "b1", devices=("GPU-1",))
    office.add_lease("eve", "over", devices=(), state=LeaseState.RELEASING)
    assert "Message everybody" in text_of(page(office))
    assert "This goes to 2 people:" in text_of(page(office, "/board/do/announce/gpu1"))
    assert "The message is left for 2 people." in done(office, "announce", "gpu1", text="We reboot at six.")
    for who, count in (("ada", 1), ("bob", 1)):
        assert [m["text"] for m in office.get("/messages", who)["messages"]] == ["We reboot at six."] * count
    event = last(office, "session.announcement")
    assert (event.reason, event.data) == ("We reboot at six.", {"people": ["ada", "bob"]})


def test_extend(office: Office) -> None:
    office.add_lease("ada", ends_at=NOW + HOUR)
    assert "goes on until 2030-05-17 16:00 UTC" in done(
        office, "extend", "lease1", **{"for": "3 h 60 min", **WHY}
    )
    assert office.services.sessions.find("lease1").ends_at == NOW + 4 * HOUR
    assert last(office, "session.extended").reason == "exam <b>"


def test_stop(office: Office) -> None:
    office.hub.people["ada"] = frozenset()
    lease = office.hub_starts("ada")
    assert "This stops 1 server of 1 person: ada" in text_of(page(office, f"/board/do/stop/{lease.id}"))
    assert "The server of ada is being stopped." in done(office, "stop", lease.id, **WHY)
    assert ("stop_server", "ada", "") in office.hub.calls
    assert last(office, "session.stopping").reason == "exam <b>"
    assert office.get("/messages", "ada")["messages"][0]["text"] == "admin stopped your session: exam <b>"


def test_a_hub_that_is_away_is_told(office: Office) -> None:
    lease = office.hub_starts("ada")
    office.hub.fail("stop_server")
    told = do(office, "stop", lease.id, **WHY)
    assert "alert-danger" in told.text
    assert "no answer within 20 s" in text_of(told.text)


def test_remove_from_the_line(office: Office) -> None:
    office.fill()
    answer = office.ask("POST", "/queue", "ada", {"server": "<i>", "options": {"gpus": 1}})
    place = str(answer.json()["id"])
    html = page(office)
    assert f'id="place-{place}"' in html
    assert "&lt;i&gt;" in html
    assert "This stops no server." in text_of(page(office, f"/board/do/remove/{place}"))
    assert "ada is not in line any more." in done(office, "remove", place, reason="asked twice")
    assert office.get(f"/queue/{place}", "admin")["state"] == "ended"
    assert "Nobody waits." in text_of(page(office))
    assert "asked twice" in last(office, "ticket.").reason


# -- what was filled in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "what", "fields", "says"),
    [
        ("drain", "GPU-0", {"reason": ""}, "The reason must be a text of 1 to 500 characters"),
        ("drain", "GPU-0", {"reason": "   "}, "The reason must be a text of 1 to 500 characters"),
        ("drain", "GPU-0", {"reason": "x" * 501}, "The reason must be a text of 1 to 500 characters"),
        ("drain", "GPU-0", {"for": "soon", **WHY}, "How long: write a time with its unit"),
        ("drain", "GPU-0", {"for": "9 d 5000 d", **WHY}, "How long: write a time above 0"),
        ("keep", "GPU-0", {"kind": "course", "name": "", **WHY}, "Say for whom the GPU is kept"),
        ("keep", "GPU-0", {"kind": "planet", "name": "mars", **WHY}, "holder.kind"),
        ("message", "lease1", {"text": ""}, "The message must be a text of 1 to 1000 characters"),
        ("announce", "gpu1", {"text": " "}, "A message must be a text of 1 to 1000 characters"),
        ("extend", "lease1", {"for": "", **WHY}, "Say for how long from now it may go on"),
        ("extend", "lease1", {"for": "5 min", **WHY}, "The new end must be later than"),
        ("extend", "lease1", {"for": "15 d", **WHY}, "A session can be extended until 2030-05-31"),
        ("stop", "lease1", {}, "The reason must be a text"),
    ],
)
def test_what_makes_no_sense_is_told_on_the_page_and_given_back(
    office: Office, action: str, what: str, fields: dict[str, str], says: str
) -> None:
    office.add_lease("ada", ends_at=NOW + HOUR)
    before = len(office.trail())
    told = do(office, action, what, **fields)
    assert urlsplit(told.url).path == f"/services/gpu/board/do/{action}/{what}"
    assert "alert-danger" in told.text
    assert says in text_of(told.text)
    given = {name: value.strip()[:1000] for name, value in fields.items() if value.strip()}
    assert {name: value for name, (value,) in parse_qs(urlsplit(told.url).query).items()} == given
    assert len(office.trail()) == before


# -- hostile names, the trail -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=["script", "rtl", "emoji", "long"])
def test_hostile_names(office: Office, name: str) -> None:
    office.add_lease(name, "a", server=name, image=name, end_reason=name, ends_at=NOW + HOUR)
    office.cards.drain("GPU-1", reason=name if name.isprintable() else "x", actor=name)
    for path in (
        "/board",
        "/board/do/drain-now/GPU-0",
        "/board/do/stop/a",
        "/board/do/announce/gpu1",
        "/audit",
    ):
        html = page(office, path)
        assert "<script>alert" not in html
    assert name in text_of(page(office)) or name.startswith("<")


# -- logins -------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_logins_is_seen(office: Office) -> None:
    def happen(kind: str, reason: str) -> None:
        with office.services.ledger.write() as unit:
            unit.add_event(Event(office.now[0], kind, reason, "login"))

    assert "login" not in text_of(page(office)).lower().replace("logins", "")
    happen("login.silent", "the login service does not answer: https://x; nobody else can come")
    happen("login.no-groups", "the login service did not say which groups ada is in")
    happen("login.first", "ada logged in for the first time")
    said = text_of(page(office))
    assert "does not answer: https://x" in said
    assert "Something was wrong with 1 login in the last 24 h" in said
    assert 'href="/services/gpu/audit?kind=login."' in page(office)
    happen("login.answers", "the login service answers again")
    assert "does not answer" not in text_of(page(office))
    office.now[0] += timedelta(days=2)
    assert "Something was wrong" not in text_of(page(office))


# -- keys ---------------------------------------------------------------------------------------------------


def test_a_key_that_two_people_claim_is_seen(office: Office) -> None:
    keys = SshKeys(office.services.ledger, office.services.clock)
    keys.add("bob", KEYS[0], actor=Actor("bob", ActorKind.PERSON))
    assert "keys for SSH" not in text_of(page(office))
    with pytest.raises(Conflict):
        keys.add("ada", KEYS[0], actor=Actor("ada", ActorKind.PERSON))
    assert "In the last 24 h 1 key for SSH was claimed that somebody else has added: see whose" in text_of(
        page(office)
    )
    assert 'href="/services/gpu/audit?kind=ssh.key-disputed"' in page(office)
