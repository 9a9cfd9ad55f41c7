"""People's own calendars at a secret address: who sees what, and that nobody else does."""

from __future__ import annotations

import html
import logging
import re
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from gpuspawner.allocator.feeds import Feeds
from gpuspawner.core.errors import LedgerError
from support.build import NOW
from support.client import text_of
from support.controller import POLICY

if TYPE_CHECKING:
    from support.controller import Office

LECTURE = {
    "title": "Lecture", "course": "vision", "devices": 1, "start": "2030-05-21T14:00", "length": "2 h",
    "zone": "Europe/Zurich", "rule": "FREQ=WEEKLY;COUNT=4",
}  # fmt: skip


@pytest.fixture(autouse=True)
def people(office: Office) -> None:
    """The Hub knows them."""
    office.hub.people |= {"ada": frozenset({"students"}), "bob": frozenset(), "grace": frozenset()}


def reserve(office: Office, **more: Any) -> str:
    """Each at another time, by the administrator."""
    count = len(office.services.reservations.standing())
    body = {**LECTURE, "start": f"2030-05-21T{6 + 2 * count:02}:00", **more}
    if "course" not in more and {"person", "group"} & set(more):
        del body["course"]
    answer = office.ask("POST", "/reservations", "admin", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def make_address(office: Office, who: str = "ada") -> str:
    """Press the button; the path of the address below the service."""
    answer = office.raw("POST", "/reservations/address", who)
    assert answer.status_code == 200, text_of(answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    (address,) = re.findall('id="address" value="([^"]*)"', answer.text)
    url = urlsplit(html.unescape(address))
    assert f"{url.scheme}://{url.netloc}" == office.url
    return url.path.removeprefix("/services/gpu")


def read(office: Office, path: str) -> requests.Response:
    """What a calendar program does: it has no login."""
    return office.raw("GET", path, None)


def titles(office: Office, path: str) -> list[str]:
    answer = read(office, path)
    assert answer.status_code == 200
    return sorted(re.findall("SUMMARY:(.*?)\r\n", answer.text))


def test_it_has_what_one_may_use_and_names_no_person(office: Office) -> None:
    reserve(office, title="of the course", users=["ada", "grace"])
    reserve(office, title="of the group", group="students")
    reserve(office, title="of everybody", group="default")
    reserve(office, title="of ada", person="ada")
    reserve(office, title="of bob", person="bob")
    reserve(office, title="of the course for others", users=["bob"])
    path = make_address(office)
    answer = read(office, path)
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert titles(office, path) == ["of ada", "of everybody", "of the course", "of the group"]
    for name in ("bob", "grace", "admin", "X-GPUSPAWNER-USER"):
        assert name not in answer.text
    assert titles(office, make_address(office, "grace")) == ["of everybody", "of the course"]
    assert titles(office, make_address(office, "bob")) == ["of bob", "of everybody"]


def test_what_is_cancelled_or_changed_is_so_there(office: Office) -> None:
    id_ = reserve(office)
    path = make_address(office)
    assert "COUNT=4" in read(office, path).text
    office.ask("DELETE", f"/reservations/{id_}", "admin", {"reason": "r"})
    assert titles(office, path) == []


def test_the_secret_is_shown_once_and_stored_nowhere(office: Office, tmp_path: Path) -> None:
    path = make_address(office)
    secret = Path(path).stem
    assert len(secret) >= 43
    page = office.raw("GET", "/reservations", "ada").text
    assert secret not in page
    assert "Your address was made on 2030-05-17" in text_of(page)
    with office.services.ledger.read() as unit:
        feed = unit.feed_of("ada")
    assert feed is not None
    assert feed.digest == sha256(secret.encode()).hexdigest()
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert [secret in str(event) for event in office.trail("calendar")] == [False]


def test_a_renewed_one_puts_an_end_to_the_old_one(office: Office) -> None:
    reserve(office)
    old = make_address(office)
    new = make_address(office)
    assert read(office, old).status_code == 404
    assert titles(office, new) == ["Lecture"]
    assert [event.kind for event in office.trail("calendar")] == ["calendar.renewed", "calendar.made"]


def test_nobody_ends_or_renews_another_one_s(office: Office) -> None:
    path = make_address(office)
    make_address(office, "bob")
    office.raw("POST", "/reservations/address/end", "bob", data={"owner": "ada"})
    office.raw("POST", "/reservations/address?owner=ada", "bob", data={"owner": "ada"})
    assert read(office, path).status_code == 200
    assert office.raw("POST", "/reservations/address/end", "ada").status_code == 303
    assert read(office, path).status_code == 404
    assert "Make a secret address" in text_of(office.raw("GET", "/reservations", "ada").text)
    office.raw("POST", "/reservations/address/end", "ada")
    assert [event.kind for event in office.trail("calendar.ended")] == ["calendar.ended"] * 2


@pytest.mark.parametrize(
    "secret", ["ada", "x" * 43, "x" * 200, "..%2F..", "", "%00", "a b", "1' OR '1'='1", "é", "x" * 5000]
)
def test_a_guessed_one_is_not_there(office: Office, secret: str) -> None:
    make_address(office)
    answer = read(office, f"/feed/{secret}.ics")
    assert answer.status_code == 404
    assert "BEGIN" not in answer.text


def test_the_stored_digest_is_no_secret(office: Office) -> None:
    make_address(office)
    with office.services.ledger.read() as unit:
        feed = unit.feed_of("ada")
    assert feed
    assert read(office, f"/feed/{feed.digest}.ics").status_code == 404


def test_it_has_what_its_person_may_see_now(office: Office, tmp_path: Path) -> None:
    reserve(office)
    reserve(office, title="of the group", group="students")
    path = make_address(office)
    assert titles(office, path) == ["Lecture", "of the group"]
    office.hub.people["ada"] = frozenset()
    assert titles(office, path) == []
    office.hub.people["ada"] = frozenset({"students"})
    (tmp_path / "policy.yml").write_text(POLICY.replace("vision:", "art:"))
    assert titles(office, path) == ["of the group"]


def test_nobody_s_calendar_is_read_when_the_hub_does_not_know_them(office: Office) -> None:
    reserve(office, title="of everybody", group="default")
    path = make_address(office)
    del office.hub.people["ada"]
    answer = read(office, path)
    assert (answer.status_code, "BEGIN" in answer.text) == (404, False)
    (event,) = office.trail("calendar.ended")
    assert (event.actor, event.data["owner"]) == ("controller", "ada")
    office.hub.people["ada"] = frozenset()  # another person has the name
    assert read(office, path).status_code == 404


def test_what_cannot_be_told_is_not_told(office: Office, tmp_path: Path) -> None:
    reserve(office)
    path = make_address(office)
    office.hub.fail("groups_of")
    assert read(office, path).status_code == 503
    office.hub.failures.clear()
    (tmp_path / "policy.yml").unlink()
    office.services.policies._file._policy = None  # as after a restart
    assert office.raw("GET", "/reservations", "ada").status_code == 200
    answer = read(office, path)
    assert (answer.status_code, "BEGIN" in answer.text) == (503, False)
    assert "Try again later" in answer.text
    (tmp_path / "policy.yml").write_text(POLICY)
    assert titles(office, path) == ["Lecture"]


def test_when_it_was_last_read(office: Office) -> None:
    path = make_address(office)
    assert "It was not read yet." in text_of(office.raw("GET", "/reservations", "ada").text)
    read(office, path)
    office.now[0] += timedelta(seconds=50)
    read(office, path)
    assert [one.read_at for one in Feeds(office.services.ledger).list()] == [NOW]
    office.now[0] += timedelta(seconds=50)
    read(office, path)
    assert [one.read_at for one in Feeds(office.services.ledger).list()] == [office.now[0]]
    assert "It was last read at 2030-05-17 12:01 UTC ." in text_of(
        office.raw("GET", "/reservations", "ada").text
    )
    office.raw("POST", "/reservations/address", "ada")
    assert [one.read_at for one in Feeds(office.services.ledger).list()] == [None]


def test_administrators_see_them_and_end_one(office: Office) -> None:
    path = make_address(office)
    secret = Path(path).stem
    for method, where in (("GET", "/reservations/addresses"), ("POST", "/reservations/addresses/end")):
        assert office.raw(method, where, "grace").status_code == 403
    assert "Who has a secret address" not in text_of(office.raw("GET", "/reservations", "grace").text)
    assert "Who has a secret address" in text_of(office.raw("GET", "/reservations", "admin").text)
    html = office.raw("GET", "/reservations/addresses", "admin").text
    assert "ada , since 2030-05-17 12:00 UTC ; not read yet" in text_of(html)
    assert secret not in html
    assert sha256(secret.encode()).hexdigest() not in html
    form = {"person": "ada", "reason": " ", "reader-zone": "Europe/Zurich"}
    office.raw("POST", "/reservations/addresses/end", "admin", data=form)
    assert read(office, path).status_code == 200
    answer = office.raw("POST", "/reservations/addresses/end", "admin", data={**form, "reason": "left"})
    assert answer.headers["Location"] == "/services/gpu/reservations/addresses?zone=Europe%2FZurich"
    assert read(office, path).status_code == 404
    (event,) = office.trail("calendar.ended")
    assert (event.actor, event.reason, event.data["owner"]) == ("admin", "left", "ada")
    again = office.raw("POST", "/reservations/addresses/end", "admin", data={**form, "reason": "x"})
    assert again.status_code == 303, "it says so on the page"
    assert len(office.trail("calendar.ended")) == 1


def test_a_program_has_none(office: Office) -> None:
    assert office.raw("POST", "/reservations/address", "service-ada").status_code == 403
    assert office.raw("POST", "/reservations/address/end", "service-ada").status_code == 403
    assert "secret address" not in text_of(office.raw("GET", "/reservations", "service-ada").text)
    with office.services.ledger.read() as unit:
        assert unit.feed_of("ada") is None
    assert office.trail("access.denied")[0].actor == "service ada"


def test_it_must_be_asked_for(office: Office) -> None:
    assert office.raw("POST", "/reservations/address", None).status_code == 403
    assert office.raw("POST", "/reservations/address", "blind").status_code == 403
    assert office.raw("GET", "/reservations/address", "ada").status_code == 405


@pytest.mark.parametrize("error", [LedgerError("away"), RuntimeError("a bug")])
def test_logs_do_not_tell_the_secret(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    path = make_address(office)

    def fail() -> None:
        raise error

    monkeypatch.setattr(office.services.reservations, "standing", fail)
    caplog.set_level(logging.DEBUG)
    answer = read(office, path)
    assert answer.status_code == (503 if isinstance(error, LedgerError) else 500)
    assert "Try again later" in answer.text
    read(office, "/feed/next.ics")  # when this is answered, the first one is done with
    told = [caplog.handler.format(one) for one in caplog.records if not one.name.startswith("urllib3")]
    assert any("GET feed/…: 50" in text for text in told)
    assert [text for text in told if Path(path).stem in text] == []
