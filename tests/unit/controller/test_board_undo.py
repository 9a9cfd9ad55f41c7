"""Undo on the board and in the audit trail, and presses that no longer do what was shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from gpuspawner.core.claims import Holder, Terms
from gpuspawner.core.model import Health, LeaseState, SpawnRequest
from support.board import HOSTILE
from support.board_pages import HOUR, WHY, do, done, form_of, page, press
from support.build import NOW, record
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

MINUTE = timedelta(minutes=1)


def undo_links(html: str) -> list[str]:
    return re.findall(r'href="/services/gpu(/board/do/undo/[^"]*)"', html)


def undo(office: Office, html: str) -> str:
    """Press the one Undo of a page; the board after it."""
    (link,) = undo_links(html)
    confirm, hidden = form_of(page(office, link))
    answer = press(office, confirm, hidden | {"reason": "a slip"})
    assert urlsplit(answer.url).path == "/services/gpu/board", answer.url
    assert "It is undone." in text_of(answer.text)
    return answer.text


def deed(office: Office, action: str, what: str, **fields: str) -> str:
    return do(office, action, what, **WHY, **fields).text


# -- what can be undone -------------------------------------------------------------------------------------


def test_a_drain_is_undone_from_the_board_and_again_from_there(office: Office) -> None:
    assert "This can be undone." in text_of(page(office, "/board/do/drain/GPU-0"))
    html = undo(office, deed(office, "drain", "GPU-0"))
    assert not office.services.line.view().situation.drains
    event = office.trail("device.")[0]
    assert (event.kind, event.actor, event.reason) == ("device.undrained", "admin", "a slip")
    assert event.data["undoes"] == office.trail("device.drained")[0].id
    assert "Undo: Undrain GPU-0" in text_of(html), "an undo is a deed like any other"
    undo(office, html)
    (drain,) = office.services.line.view().situation.drains
    assert drain.reason == "exam <b>"


def test_the_page_says_what_is_undone_and_what_comes_of_it(office: Office) -> None:
    office.add_lease("ada", ends_at=NOW + 2 * HOUR)
    (link,) = undo_links(deed(office, "drain-now", "GPU-0"))
    text = text_of(page(office, link))
    assert "The GPU is given out again as soon as it is free and well." in text
    assert "Sessions get back the end that they had" in text
    assert "As things are: drained by admin: exam <b>" in text
    assert "ends as things are at 2030-05-17 12:01 UTC , then at 2030-05-17 14:00 UTC" in text
    assert office.services.sessions.find("lease1").ends_at == NOW + MINUTE, "looking does nothing"


@pytest.mark.parametrize(
    ("action", "what", "fields"),
    [
        ("drain-now", "GPU-0", {}),
        ("stop", "lease1", {"for": "5 min"}),
        ("extend", "lease1", {"for": "4 h"}),
    ],
)
def test_the_end_of_a_session_is_given_back(
    office: Office, action: str, what: str, fields: dict[str, str]
) -> None:
    office.add_lease("ada", ends_at=NOW + 2 * HOUR, end_reason="as it was")
    html = deed(office, action, what, **fields)
    assert office.services.sessions.find("lease1").ends_at != NOW + 2 * HOUR
    undo(office, html)
    lease = office.services.sessions.find("lease1")
    assert (lease.ends_at, lease.end_reason) == (NOW + 2 * HOUR, "as it was")
    assert "admin took back the end" in office.get("/messages", "ada")["messages"][0]["text"]
    assert not office.services.line.view().situation.drains


def test_assign_and_unassign(office: Office) -> None:
    office.cards.pin("GPU-1", Holder("person", "grace"), reason="grant", actor="root")
    before = office.services.line.view().situation.pins
    undo(office, deed(office, "keep", "GPU-1", kind="course", name="vision"))
    assert office.services.line.view().situation.pins == before
    undo(office, deed(office, "release", "GPU-1"))
    assert office.services.line.view().situation.pins == before


def test_what_cannot_be_undone_says_so_before_and_offers_nothing_after(office: Office) -> None:
    office.hub.people["ada"] = frozenset()
    lease = office.hub_starts("ada")
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-1", health=Health.FAULTY, standing_fault="XID 79"))
    place = office.line.ask(
        SpawnRequest(1), owner="bob", server="", party=lease.party, terms=Terms(), image="base"
    )
    for action, what, fields in (
        ("message", lease.id, {"text": "hello"}),
        ("announce", "gpu1", {"text": "hello"}),
        ("clear", "GPU-1", {}),
        ("remove", place.id, {}),
        ("stop", lease.id, {}),
    ):
        assert "annot be undone" in text_of(page(office, f"/board/do/{action}/{what}")), action
        html = deed(office, action, what, **fields)
        assert "alert-success" in html, text_of(html)
        assert undo_links(html) == [], action
    assert undo_links(page(office, "/audit")) == []


def test_an_undo_that_is_not_possible_any_more(office: Office) -> None:
    (link,) = undo_links(deed(office, "drain", "GPU-0"))
    confirm, hidden = form_of(page(office, link))
    office.cards.undrain("GPU-0", reason="mended", actor="root")
    told = press(office, confirm, hidden | WHY)
    assert "alert-danger" in told.text
    assert "Something else was decided on this GPU since." in text_of(told.text)
    html = page(office, link)
    assert "It cannot be undone, or not any more." in text_of(html)
    assert "action-form" not in html
    number = link.rpartition("/")[2]
    assert undo_links(page(office, f"/board?undo={number}")) == []
    assert link not in page(office, "/audit")


@pytest.mark.parametrize("text", ["x", "-1", "1e9", "99999999999999999999", "<script>alert(1)</script>", "٣"])
def test_what_the_board_s_address_says_is_no_promise(office: Office, text: str) -> None:
    html = page(office, f"/board?undo={text}")
    assert undo_links(html) == []
    assert "<script>alert" not in html


# -- a press does what was shown, or nothing ----------------------------------------------------------------


def another_drain(office: Office) -> None:
    office.cards.drain("GPU-0", reason="new fan", actor="root", until=NOW + HOUR)


def another_pin(office: Office) -> None:
    office.cards.pin("GPU-0", Holder("person", "bob"), reason="other", actor="root")


def another_fault(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.put_device(record(health=Health.FAULTY, standing_fault="XID 48"))


def another_end(office: Office) -> None:
    with office.services.ledger.write() as unit:
        lease = unit.lease("lease1")
        assert lease
        unit.update_lease(replace(lease, ends_at=NOW + 3 * HOUR))


@pytest.mark.parametrize(
    ("action", "what", "fields", "meanwhile"),
    [
        ("drain", "GPU-0", {}, another_drain),
        ("drain-now", "GPU-0", {}, another_drain),
        ("undrain", "GPU-0", {}, another_drain),
        ("keep", "GPU-0", {"kind": "person", "name": "ada"}, another_pin),
        ("release", "GPU-0", {}, another_pin),
        ("clear", "GPU-0", {}, another_fault),
        ("extend", "lease1", {"for": "8 h"}, another_end),
    ],
)
def test_what_has_changed_since_it_was_shown(
    office: Office, action: str, what: str, fields: dict[str, str], meanwhile: Callable[[Office], None]
) -> None:
    with office.services.ledger.write() as unit:
        unit.put_device(record(health=Health.FAULTY, standing_fault="XID 79"))
    office.add_lease("ada", ends_at=NOW + HOUR)
    office.cards.drain("GPU-0", reason="fan", actor="root")
    office.cards.pin("GPU-0", Holder("person", "grace"), reason="grant", actor="root")
    confirm, hidden = form_of(page(office, f"/board/do/{action}/{what}"))
    meanwhile(office)
    before = len(office.trail())
    told = press(office, confirm, hidden | WHY | fields)
    assert urlsplit(told.url).path == f"/services/gpu/board/do/{action}/{what}"
    assert "What this would change has changed since you were shown it." in text_of(told.text)
    assert 'value="exam &lt;b&gt;"' in told.text, "nothing that was typed is lost"
    assert len(office.trail()) == before
    confirm, hidden = form_of(told.text)
    again = press(office, confirm, hidden | WHY | fields)
    assert "alert-success" in again.text, text_of(again.text)


@pytest.mark.parametrize("seen", [None, "", "x" * 9999])
def test_a_press_that_says_nothing_of_what_it_was_shown(office: Office, seen: str | None) -> None:
    confirm, _ = form_of(page(office, "/board/do/drain/GPU-0"))
    press(office, confirm, WHY | ({} if seen is None else {"seen": seen}))
    assert not office.trail("device.")


def test_a_turn_that_has_come_is_another_matter(office: Office) -> None:
    full = office.fill()
    answer = office.ask("POST", "/queue", "ada", {"server": "", "options": {"gpus": 1}})
    place = str(answer.json()["id"])
    confirm, hidden = form_of(page(office, f"/board/do/remove/{place}"))
    with office.services.ledger.write() as unit:
        unit.update_lease(replace(full, state=LeaseState.RELEASED))
    office.line.grant_turns()
    told = press(office, confirm, hidden | WHY)
    assert "What this would change has changed" in text_of(told.text)
    assert "What is reserved for them is given back." in text_of(told.text)


# -- a stop that gives time ---------------------------------------------------------------------------------


def test_a_stop_that_gives_time(office: Office) -> None:
    office.add_lease("ada", ends_at=NOW + 2 * HOUR)
    assert "The server of ada is stopped at 2030-05-17 12:05 UTC." in done(
        office, "stop", "lease1", **WHY, **{"for": "5 min"}
    )
    assert office.hub.calls == []
    assert office.services.sessions.find("lease1").ends_at == NOW + 5 * MINUTE
    assert "so save your work: exam <b>" in office.get("/messages", "ada")["messages"][0]["text"]


@pytest.mark.parametrize(
    ("length", "says"),
    [
        ("30 s", "or after 60 s to 24 h"),
        ("3 h", "This session ends sooner than that."),
        ("2 d", "grace_seconds"),
        ("soon", "How long: write a time with its unit"),
    ],
)
def test_no_such_time(office: Office, length: str, says: str) -> None:
    office.add_lease("ada", ends_at=NOW + 2 * HOUR)
    assert says in text_of(do(office, "stop", "lease1", **WHY, **{"for": length}).text)
    assert not office.trail("session.")


# -- the API ------------------------------------------------------------------------------------------------


def test_the_api_takes_back_too(office: Office) -> None:
    office.cards.drain("GPU-0", reason="fan", actor="root")
    (event,) = office.get("/events?kind=device.", "admin")["events"]
    path = f"/events/{event['id']}/undo"
    assert office.refusal("POST", path, "ada", WHY)[0] == 403
    assert office.ask("POST", path, "admin", WHY).json() == {"done": True}
    assert office.refusal("POST", path, "admin", WHY) == (
        409, "conflict", "Something else was decided on this GPU since.",
    )  # fmt: skip
    for wrong in ("999", "x", "-1", "9" * 30):
        assert office.refusal("POST", f"/events/{wrong}/undo", "admin", WHY)[0] == 404


def test_the_api_stops_with_time(office: Office) -> None:
    office.add_lease("ada", ends_at=NOW + 2 * HOUR)
    body = {"reason": "exam", "grace_seconds": 300}
    answer = office.ask("POST", "/leases/lease1/stop", "ada", body)
    assert answer.json()["ends_at"] == "2030-05-17T12:05:00Z"
    assert office.hub.calls == []
    for wrong in (-1, 86401, 1.5, "300", True):
        body = {"reason": "exam", "grace_seconds": wrong}  # type: ignore[dict-item]
        assert office.refusal("POST", "/leases/lease1/stop", "ada", body)[0] == 400


# -- searching the trail ------------------------------------------------------------------------------------


def fill_trail(office: Office) -> None:
    for n in range(60):
        office.now[0] = NOW + n * HOUR
        office.cards.drain("GPU-0", reason=f"round {n}.", actor="root" if n % 2 else "eve")


def rounds(html: str) -> list[int]:
    return [int(n) for n in re.findall(r"<td>drained by \w+: round (\d+)\.", html)]


def test_the_audit_trail_page_by_page(office: Office) -> None:
    fill_trail(office)
    first = page(office, "/audit")
    assert rounds(first) == list(range(59, 9, -1))
    assert "Newest" not in re.findall(r">(Newest|Older)</a>", first)
    (older,) = re.findall(r'href="/services/gpu(/audit\?[^"]*before=[^"]*)"', first)
    second = page(office, older.replace("&amp;", "&"))
    assert rounds(second) == list(range(9, -1, -1))
    assert re.findall(r">(Newest|Older)</a>", second) == ["Newest"]
    assert len(undo_links(first)) == 1, "only the last drain stands"
    assert "/services/gpu/audit" in page(office), "it is linked from the board"


def test_looking_for_something(office: Office) -> None:
    fill_trail(office)
    office.add_lease("ada")
    office.services.sessions.message("lease1", "hello", actor="admin")
    query = "?person=root&kind=device.&card=GPU-0&text=Round+5&since=2030-05-18&until=2030-05-19"
    html = page(office, f"/audit{query}")
    assert rounds(html) == [59, 57, 55, 53, 51]
    assert 'value="root"' in html
    assert 'value="2030-05-18"' in html
    assert "session.message" in page(office, "/audit?person=ada")
    assert "There is nothing of this kind in the trail." in text_of(page(office, "/audit?person=nobody"))
    file = office.raw("GET", f"/audit.csv{query}", "admin")
    assert file.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert [row[4] for row in csv.reader(io.StringIO(file.text))][1:] == [
        f"drained by root: round {n}." for n in rounds(html)
    ]
    assert len(office.get("/events?person=root&text=round+5&limit=3", "admin")["events"]) == 3


@pytest.mark.parametrize("text", [*HOSTILE, '"><script>x', "%", "_", "' OR 1=1 --", "\x00", "x" * 5000])
@pytest.mark.parametrize("field", ["person", "card", "kind", "text"])
def test_hostile_searches(office: Office, field: str, text: str) -> None:
    office.cards.drain("GPU-0", reason="fan", actor="root")
    answer = office.raw("GET", "/audit", "admin", params={field: text})
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace('<script src="', "")
    if text != "\x00":  # which is nothing, once what cannot be seen is left out
        assert "There is nothing of this kind in the trail." in text_of(answer.text)
    assert office.raw("GET", "/audit.csv", "admin", params={field: text}).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["since=soon", "until=2030-13-01", "before=x", "since=2030-05-17&until=2030-05-16", "since=0"],
)
def test_searches_that_make_no_sense_are_told_so(office: Office, query: str) -> None:
    html = page(office, f"/audit?{query}")
    assert "alert-danger" in html
    assert "<table" not in html
    assert office.raw("GET", f"/audit.csv?{query}", "admin").status_code == 400


def test_the_api_s_searches_are_checked(office: Office) -> None:
    for query in ("since=soon", "until=9999-12-31", "since=0001-01-01", "before=-1", "before=" + "9" * 30):
        assert office.refusal("GET", f"/events?{query}", "admin")[0] == 400, query
