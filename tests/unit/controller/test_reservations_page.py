"""The reservations calendar as pages: what they say to whom, and what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from support.build import NOW
from support.calendar_pages import FORM, LECTURE, THESIS, listed, page, reserve, send, shown
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

HOSTILE = ["<script>alert(1)</script>", "\u202eevil\u202c", "🎓" * 20, "x" * 100, "שלום"]
PAGES = ["", "?view=list", "/new", "/import"]


@pytest.mark.parametrize("who", ["ada", "grace", "planner", "admin", "hub-admin", "service-ada"])
@pytest.mark.parametrize("path", PAGES)
def test_everybody_may_look(office: Office, who: str, path: str) -> None:
    page(office, path, who)


@pytest.mark.parametrize("path", PAGES)
def test_whoever_is_not_logged_in_or_may_not_read_sees_nothing(office: Office, path: str) -> None:
    assert office.raw("GET", f"/reservations{path}", None).status_code == 302
    assert office.raw("GET", f"/reservations{path}", "blind").status_code == 403
    assert office.trail("access.denied")[0].actor == "blind"


# -- the calendar -------------------------------------------------------------------------------------------


def test_a_week_and_its_neighbours(office: Office) -> None:
    reserve(office, LECTURE)
    html = page(office, "?week=2030-05-23&zone=Europe/Zurich")
    assert "Mon 20 May to Sun, 26 May 2030" in text_of(html)
    assert "Tue 21 May 14:00 to 16:00 Lecture 2 GPUs for course vision" in text_of(html)
    assert 'value="Europe/Zurich"' in html
    assert "(UTC+2)" in html
    links = re.findall(r'href="/services/gpu/reservations\?week=([0-9-]+)&amp;view=week', html)
    assert links[:3] == ["2030-05-13", "2030-05-13", "2030-05-27"]


def test_without_a_zone_it_is_utc_and_an_unknown_one_is_told(office: Office) -> None:
    reserve(office, LECTURE)
    assert "12:00 to 14:00 Lecture" in text_of(page(office, "?week=2030-05-21"))
    html = page(office, "?week=2030-05-21&zone=<b>Mars/Base")
    assert "There is no such time zone here: &lt;b&gt;Mars/Base" in text_of(html).replace("<b>", "&lt;b&gt;")
    assert "<b>Mars" not in html
    assert "12:00 to 14:00 Lecture" in text_of(html)


@pytest.mark.parametrize("week", ["", "never", "0001-01-01", "9999-12-31", "2030-13-40", "<b>"])
def test_a_week_that_is_none_is_this_one(office: Office, week: str) -> None:
    assert "Mon 13 May to Sun, 19 May 2030" in text_of(page(office, f"?week={week}&zone=Asia/Tokyo"))


def test_the_list_has_four_weeks(office: Office) -> None:
    reserve(office, LECTURE)
    text = text_of(page(office, "?view=list&zone=Europe/Zurich"))
    assert "Mon 13 May to Sun, 9 Jun 2030" in text
    assert [day for day in (21, 28) if f"Tue {day} May, 14:00 to 16:00" in text] == [21, 28]
    assert "Tue 4 Jun, 14:00 to 16:00" in text
    assert "Nothing is reserved in these four weeks" in text_of(page(office, "?view=list&week=2031-01-01"))


def test_what_goes_over_midnight_is_on_both_days(office: Office) -> None:
    reserve(office, {**THESIS, "start": "2030-05-18T22:00", "length": "8 h"})
    text = text_of(page(office))
    assert "22:00 to Sun 19 May, 06:00 Thesis" in text
    assert "Sat 18 May, 22:00 to Sun 19 May, 06:00 Thesis" in text


def test_seats_that_were_given_back_are_told(office: Office) -> None:
    id_ = reserve(office, {**LECTURE, "start": "2030-05-17T13:00", "zone": "UTC"})
    office.now[0] = NOW + timedelta(hours=1, minutes=20)
    office.services.reservations.return_unused()
    assert "now 2 of 2 given back" in text_of(page(office))
    assert "2 GPUs; 2 of them given back for now" in text_of(page(office, f"/{id_}"))


@pytest.mark.parametrize("path", ["", "?view=list", "/{id}"])
def test_a_person_is_named_to_those_who_may_know(office: Office, path: str) -> None:
    id_ = reserve(office, {**THESIS, "users": ["planner"]})
    seen = {who: page(office, path.format(id=id_), who) for who in ("ada", "grace", "planner", "admin")}
    named = {who: "<bdi>planner</bdi>" in html.partition("<main")[2] for who, html in seen.items()}
    assert named == {"ada": False, "grace": False, "planner": True, "admin": True}
    assert (
        "for a person" in text_of(seen["ada"])
        or "For a person" in text_of(seen["ada"])
        or path == "?view=list"
    )


@pytest.mark.parametrize("title", HOSTILE)
def test_what_people_wrote_is_text(office: Office, title: str) -> None:
    if not title.isprintable():
        assert office.refusal("POST", "/reservations", "admin", {**THESIS, "title": title})[0] == 400
        return
    id_ = reserve(office, {**THESIS, "title": title})
    for path in ("", "?view=list", f"/{id_}", f"/{id_}/change"):
        html = page(office, path, "admin")
        assert "<script>alert" not in html
        assert title in text_of(html) or "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_who_may_not_reserve_reads_why(office: Office) -> None:
    for path in ("", "/new", "/import"):
        html = page(office, path)
        assert "You cannot reserve GPUs here: teachers can for courses that they teach" in text_of(html)
        assert "/reservations/make" not in html
        assert "/reservations/take" not in html
    assert "You cannot reserve" not in page(office, "", "grace")


def test_one_s_own_come_first(office: Office) -> None:
    reserve(office, LECTURE)
    reserve(office, THESIS)

    def own(who: str) -> list[str]:
        section = page(office, "", who).partition('id="own"')[2].partition("</section>")[0]
        return re.findall(r"<li .*?<bdi[^>]*>(.*?)</bdi>", section, re.DOTALL)

    found = {who: own(who) for who in ("ada", "grace", "planner", "admin", "hub-admin")}
    assert found == {
        "ada": [], "grace": ["Lecture"], "planner": ["Thesis"], "admin": ["Thesis", "Lecture"],
        "hub-admin": [],
    }  # fmt: skip
    text = text_of(page(office, "", "grace"))
    assert "Lecture , 2 GPUs for course vision ; next Tue, 21 May 2030, 12:00 , 4 dates ahead" in text
    assert "Look at it Thesis" in text_of(page(office, "", "planner"))


# -- changing and cancelling --------------------------------------------------------------------------------


def test_others_look_and_change_nothing(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    html = page(office, f"/{id_}", "ada")
    assert "Cancel" not in text_of(html)
    assert f"/{id_}/" not in html
    assert office.raw("GET", f"/reservations/{id_}/change", "ada").status_code == 403
    form = {**FORM, "reason": "r", "start": "2030-05-21T12:00:00+00:00"}
    for what in ("put", "cancel", "skip"):
        assert send(office, f"/{id_}/{what}", "ada", form).status_code == 403
    assert len(office.trail("access.denied")) == 4
    assert office.trail("reservation.c") == []


def test_what_is_over_or_not_there(office: Office) -> None:
    id_ = reserve(office, THESIS)
    seen = shown(office, id_, "admin")
    office.ask("DELETE", f"/reservations/{id_}", "admin", {"reason": "r"})
    html = page(office, f"/{id_}", "admin")
    assert "It was cancelled, or is over, since Fri, 17 May 2030, 12:00 (UTC)." in text_of(html)
    assert f"/{id_}/" not in html
    assert office.raw("GET", f"/reservations/{'0' * 16}", "admin").status_code == 404
    form = {**FORM, "reason": "r", "start": "2030-05-18T10:00:00+00:00", "seen": seen}
    for one, statuses in ((id_, [409, 303, 303]), ("0" * 16, [404, 404, 404])):
        assert office.raw("GET", f"/reservations/{one}/change", "admin").status_code == 404
        pressed = [send(office, f"/{one}/{what}", "admin", form) for what in ("put", "cancel", "skip")]
        assert [answer.status_code for answer in pressed] == statuses
    assert len(office.trail("reservation.")) == 2


def test_cancelling_says_first_what_it_does(office: Office) -> None:
    id_ = reserve(office, {**LECTURE, "start": "2030-05-17T13:00", "zone": "UTC"})
    start = NOW + timedelta(hours=1)
    office.now[0] = start + timedelta(minutes=5)
    office.add_lease("ada", reservation=(id_, start))
    for who, seated in (("admin", "sessions go on: ada ."), ("grace", "1 person who is not named to you.")):
        text = text_of(page(office, f"/{id_}", who))
        assert "This cancels 4 dates that are on or ahead." in text
        assert seated in text
    office.now[0] = start - timedelta(minutes=5)
    assert "on or ahead. Nobody has a seat of it now." in text_of(page(office, f"/{id_}", "grace"))
    form = {"seen": shown(office, id_, "grace"), "reader-zone": "Europe/Zurich"}
    nothing = send(office, f"/{id_}/cancel", "grace", {"reason": " "})
    assert nothing.headers["Location"] == f"/services/gpu/reservations/{id_}?zone=UTC"
    assert listed(office) == ["Lecture"]
    answer = send(office, f"/{id_}/cancel", "grace", {**form, "reason": "rain"})
    assert answer.headers["Location"] == "/services/gpu/reservations?zone=Europe%2FZurich"
    assert listed(office) == []
    (event,) = office.trail("reservation.cancelled")
    assert (event.actor, event.reason) == ("grace", "rain")


def test_skipping_one_date(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    choice = re.findall('<option value="([^"]+)">', page(office, f"/{id_}", "grace"))
    assert choice[1] == "2030-05-28T12:00:00+00:00"
    form = {"seen": shown(office, id_, "grace"), "reason": "feast"}
    for bad in ("", "soon", "2030-05-28T12:00:00", "2030-05-28T12:01:00+00:00"):
        send(office, f"/{id_}/skip", "grace", {**form, "start": bad})
    assert office.trail("reservation.changed") == []
    assert send(office, f"/{id_}/skip", "grace", {**form, "start": choice[1]}).status_code == 303
    assert "Not on Tue, 28 May 2030" in text_of(page(office, f"/{id_}"))
    assert office.trail("reservation.changed")[0].reason == "feast"


SOMEBODY_ELSE = {
    "changed": lambda office, id_: office.ask(
        "PUT", f"/reservations/{id_}", "admin", {**LECTURE, "title": "Moved", "start": "2030-05-22T14:00"}
    ),
    "skipped": lambda office, id_: office.ask(
        "PUT", f"/reservations/{id_}", "admin", {**LECTURE, "except": ["2030-05-28"]}
    ),
    "cancelled": lambda office, id_: office.ask(
        "DELETE", f"/reservations/{id_}", "admin", {"reason": "rain"}
    ),
}


@pytest.mark.parametrize("what", ["cancel", "skip"])
@pytest.mark.parametrize("did", SOMEBODY_ELSE)
def test_a_press_does_nothing_to_what_was_not_shown(office: Office, did: str, what: str) -> None:
    id_ = reserve(office, LECTURE)
    start = "2030-06-04T12:00:00+00:00"
    form = {"seen": shown(office, id_, "grace"), "reason": "mine", "start": start}
    assert SOMEBODY_ELSE[did](office, id_).status_code == 200
    before = office.services.reservations.find(id_), office.trail("reservation.")
    browser = requests.Session()
    browser.headers["Authorization"] = "token grace"
    url = f"{office.url}/services/gpu/reservations/{id_}"
    told = browser.post(f"{url}/{what}", data=form, timeout=10)
    assert urlsplit(told.url).path == urlsplit(url).path
    says = (
        "was cancelled, or is over, since" if did == "cancelled" else "Somebody has changed this reservation"
    )
    assert says in text_of(told.text)
    assert before == (office.services.reservations.find(id_), office.trail("reservation."))
    if did == "changed":
        form = {**form, "seen": shown(office, id_, "grace"), "start": "2030-06-05T12:00:00+00:00"}
        send(office, f"/{id_}/{what}", "grace", form)
        assert office.trail("reservation.")[0].actor == "grace"


@pytest.mark.parametrize("seen", ["", "none", "x" * 16])
def test_a_press_from_no_page_does_nothing(office: Office, seen: str) -> None:
    id_ = reserve(office, LECTURE)
    form = {**FORM, "seen": seen, "reason": "r", "start": "2030-06-04T12:00:00+00:00"}
    for what in ("cancel", "skip", "put"):
        send(office, f"/{id_}/{what}", "grace", form)
    assert len(office.trail("reservation.")) == 1


# -- importing ----------------------------------------------------------------------------------------------

EVENT = "\r\n".join([
    "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:lab-1@example.org", "SUMMARY:Lab",
    "DTSTAMP:20300101T000000Z", "DTSTART:20300603T120000Z", "DURATION:PT2H", "END:VEVENT",
    "END:VCALENDAR", "",
])  # fmt: skip
DEFAULTS = {"whom": "course:vision", "devices": "1", "pool": "", "zone": "Europe/Zurich"}


def test_importing_a_file_or_a_text(office: Office) -> None:
    answer = office.raw(
        "POST", "/reservations/take", "grace", data=DEFAULTS, files={"file": ("a.ics", EVENT.encode())}
    )
    assert (answer.status_code, listed(office)) == (303, ["Lab"])
    assert send(office, "/take", "grace", {**DEFAULTS, "text": EVENT, "devices": "2"}).status_code == 303
    assert [one["devices"] for one in office.get("/reservations")["reservations"]] == [2]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"text": ""}, "Choose a calendar file, or paste its text."),
        ({"text": "nonsense"}, "This is not a calendar in iCalendar form"),
        ({"text": EVENT, "devices": "many"}, "devices"),
        ({"text": EVENT, "devices": "3"}, "cannot have 3 GPUs"),
        ({"text": EVENT.replace("UID", "X-UID")}, "it has no UID"),
        ({"text": EVENT + "x" * 200_000}, "at most 200000"),
    ],
)
def test_what_cannot_be_imported_is_told(office: Office, form: dict[str, str], says: str) -> None:
    browser = requests.Session()
    browser.headers["Authorization"] = "token grace"
    url = f"{office.url}/services/gpu/reservations/take"
    told = browser.post(url, data={**DEFAULTS, **form}, timeout=10)
    assert says in text_of(told.text)
    assert urlsplit(told.url).path == "/services/gpu/reservations/import"
    assert listed(office) == []


def test_an_import_is_judged_like_a_reservation(office: Office) -> None:
    for who, whom in (("ada", "course:vision"), ("grace", "person:bob"), ("planner", "group:students")):
        answer = send(office, "/take", who, {**DEFAULTS, "whom": whom, "text": EVENT})
        assert answer.status_code == 403
        assert office.trail("access.denied")[0].actor == who
    assert listed(office) == []
