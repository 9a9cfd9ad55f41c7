"""The reservations calendar as pages: what they say to whom, and what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from support.build import NOW
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

LECTURE = {
    "title": "Lecture", "course": "vision", "devices": 2, "start": "2030-05-21T14:00", "length": "2 h",
    "zone": "Europe/Zurich", "rule": "FREQ=WEEKLY;COUNT=4",
}  # fmt: skip
THESIS = {
    "title": "Thesis", "person": "planner", "devices": 1, "start": "2030-05-18T10:00", "length": "2 h",
}  # fmt: skip
FORM = {
    "title": "Exam", "whom": "course:vision", "devices": "2", "date": "2030-05-20", "time": "09:00",
    "length": "3 h", "zone": "Europe/Zurich",
}  # fmt: skip
HOSTILE = ["<script>alert(1)</script>", "\u202eevil\u202c", "🎓" * 20, "x" * 100, "שלום"]
PAGES = ["", "?view=list", "/new", "/import"]


def reserve(office: Office, body: dict[str, Any], who: str = "admin") -> str:
    answer = office.ask("POST", "/reservations", who, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def page(office: Office, path: str = "", who: str = "ada") -> str:
    answer = office.raw("GET", f"/reservations{path}", who)
    assert answer.status_code == 200, text_of(answer.text)
    return answer.text


def send(office: Office, path: str, who: str, form: dict[str, str] | None = None) -> requests.Response:
    return office.raw("POST", f"/reservations{path}", who, data=form or {})


def listed(office: Office) -> list[str]:
    return [one.title for one in office.services.reservations.standing()]


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


# -- checking -----------------------------------------------------------------------------------------------


def test_what_fits_is_told_with_its_dates_and_nothing_is_changed(office: Office) -> None:
    before = office.trail()
    form = {**FORM, "repeat": "weekly", "times": "3", "except": "2030-05-27"}
    answer = send(office, "/check", "grace", form)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    text = text_of(answer.text)
    assert text == (
        "This fits. It takes place 2 times: Mon 20 May, 09:00 to 12:00 Mon 3 Jun, 09:00 to 12:00 "
        "Times are in Europe/Zurich."
    )
    assert listed(office) == []
    assert office.trail() == before


def test_warnings_come_before_it_is_made(office: Office) -> None:
    office.fill("edsger")
    text = text_of(send(office, "/check", "grace", FORM).text)
    assert "Note: 2 of its 2 GPUs may still be in use" in text
    assert "edsger" not in text


def test_a_conflict_says_with_what_when_and_how_many_are_missing(office: Office) -> None:
    reserve(office, {**THESIS, "title": "<b>mine", "start": "2030-05-20T08:00"})
    text = send(office, "/check", "grace", FORM).text
    assert "Mon 20 May, 09:00 to 12:00 : 1 of 2 GPUs missing" in text_of(text)
    assert "for a person: 1 GPU, Mon 20 May, 10:00 to 12:00" in text_of(text)
    assert "planner" not in text
    assert "&lt;b&gt;mine" in text
    assert "for planner" in text_of(send(office, "/check", "admin", {**FORM}).text)
    assert listed(office) == ["<b>mine"]


def test_more_than_there_is(office: Office) -> None:
    text = text_of(send(office, "/check", "grace", {**FORM, "devices": "3"}).text)
    assert "This server has 2 GPUs of this kind in all; you want 3." in text


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"title": " "}, "title", "Title : is missing; add it."),
        ({"title": "x" * 101}, "title", "at most 100 characters"),
        ({"whom": ""}, "whom", "say for whom it is"),
        ({"whom": "planet:mars"}, "whom", "say for whom it is"),
        ({"whom": "course:art"}, "", "You can reserve for courses that you teach"),
        ({"devices": "many"}, "devices", "should be a valid integer"),
        ({"devices": ""}, "devices", "is missing"),
        ({"date": ""}, "date", "choose a day and a time"),
        ({"date": "2030-02-31"}, "date", "write a time such as"),
        ({"date": "2040-01-01"}, "date", "within two years"),
        ({"date": "2030-05-01"}, "date", "nothing of this reservation is in the future"),
        ({"length": "soon"}, "length", "write a time with its unit"),
        ({"zone": "Mars/Base"}, "zone", "there is no time zone"),
        ({"pool": "nothing"}, "pool", "the policy has no pool"),
        ({"repeat": "weekly"}, "repeat", "say how many times, or until which day"),
        ({"repeat": "weekly", "times": "2", "until": "2030-06-30"}, "repeat", "one of them"),
        ({"repeat": "weekly", "times": "-1"}, "repeat", "write a whole number"),
        ({"repeat": "daily", "until": "soon"}, "repeat", "write a day such as"),
        ({"repeat": "never"}, "repeat", "choose one of those"),
        ({"repeat": "rule"}, "repeat", "write a rule such as"),
        ({"repeat": "rule", "rule": "FREQ=SECONDLY"}, "repeat", "FREQ must be one of"),
        ({"except": "2030-05-21"}, "except", "nothing starts on"),
        ({"except": "<b>"}, "except", "write a day such as"),
        ({"lead": "2 d"}, "lead", "is the most"),
        ({"reservation": "0123456789abcdef"}, "", "There is no such reservation."),
    ],
)
def test_what_is_wrong_is_told_at_its_field(
    office: Office, change: dict[str, str], field: str, says: str
) -> None:
    html = send(office, "/check", "grace", {**FORM, **change}).text
    assert says in text_of(html)
    assert re.findall('data-field="f-(.*?)"', html) == ([field] if field else [])
    assert "<b>" not in html


def test_checking_is_for_those_who_are_logged_in(office: Office) -> None:
    assert office.raw("POST", "/reservations/check", None, data=FORM).status_code == 403
    assert office.raw("POST", "/reservations/check", "blind", data=FORM).status_code == 403
    assert office.raw("GET", "/reservations/check", "grace").status_code == 405


def test_without_a_script_check_shows_the_form_with_the_answer(office: Office) -> None:
    answer = send(office, "/make", "grace", {**FORM, "title": "E & <b>", "check": "1"})
    html = answer.text
    assert answer.status_code == 200
    assert "This fits. It takes place once: Mon 20 May, 09:00 to 12:00" in text_of(html)
    assert 'value="E &amp; &lt;b&gt;"' in html
    assert listed(office) == []


# -- making -------------------------------------------------------------------------------------------------


def test_reserving(office: Office) -> None:
    form = {
        **FORM, "repeat": "weekly", "until": "2030-06-10", "except": "2030-05-27, 2030-06-03",
        "lead": "10 min", "users": "ada, bob\n", "model-1": "A100", "card-2": "GPU-1",
        "reader-zone": "Asia/Tokyo",
    }  # fmt: skip
    answer = send(office, "/make", "grace", form)
    (made,) = office.get("/reservations", "grace")["reservations"]
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/services/gpu/reservations/{made['id']}?zone=Asia%2FTokyo"
    assert (made["title"], made["course"], made["devices"], made["actor"]) == ("Exam", "vision", 2, "grace")
    assert (made["start"], made["length"], made["lead"]) == ("2030-05-20T09:00:00+02:00", "3 h", "10 min")
    assert made["rule"] == "FREQ=WEEKLY;UNTIL=20300610T215959Z"
    assert made["except"] == ["2030-05-27T09:00:00+02:00", "2030-06-03T09:00:00+02:00"]
    assert (made["users"], made["models"], made["cards"]) == (["ada", "bob"], ["A100"], ["GPU-1"])


def test_an_administrator_types_in_for_whom(office: Office) -> None:
    html = page(office, "/new", "admin")
    assert 'name="kind"' in html
    form = {**FORM, "whom": "", "kind": "person", "name": "bob"}
    assert send(office, "/make", "admin", form).status_code == 303
    assert office.get("/reservations", "admin")["reservations"][0]["person"] == "bob"


def test_what_does_not_fit_shows_the_form_as_it_was(office: Office) -> None:
    reserve(office, {**LECTURE, "start": "2030-05-20T10:00"})
    users = ", ".join(f"student{n}" for n in range(900))
    filled = {**FORM, "model-1": "A100", "users": users, "reader-zone": "Asia/Tokyo"}
    answer = send(office, "/make", "grace", filled)
    assert answer.status_code == 409
    kept = form_of(answer.text)
    assert {name: kept.get(name) for name in filled} == filled
    assert "2 of 2 GPUs missing" in text_of(answer.text)
    assert listed(office) == ["Lecture"]


@pytest.mark.parametrize(
    ("who", "whom", "allowed"),
    [
        ("grace", "course:vision", True), ("planner", "person:planner", True), ("admin", "person:bob", True),
        ("ada", "course:vision", False), ("ada", "person:ada", False), ("grace", "person:grace", False),
        ("planner", "person:bob", False), ("planner", "course:vision", False),
        ("grace", "group:students", False), ("service-ada", "person:ada", False),
        ("filtered", "person:mallory", False),
    ],
)  # fmt: skip
def test_who_may_reserve_for_whom(office: Office, who: str, whom: str, allowed: bool) -> None:
    answer = send(office, "/make", who, {**FORM, "whom": whom})
    assert answer.status_code == (303 if allowed else 403)
    assert len(listed(office)) == int(allowed)
    if not allowed:
        assert "You can reserve for courses that you teach" in text_of(answer.text)
        denied = office.trail("access.denied")[0]
        assert "/reservations/make: You can reserve" in denied.reason


def test_a_form_of_another_site_does_nothing(office: Office) -> None:
    browser = requests.Session()
    browser.cookies.set("service-gpu", office.cookie("grace"), path="/services/gpu/")
    url = f"{office.url}/services/gpu/reservations"
    cross = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}
    for path in ("make", "check", "take", "address", "address/end"):
        for data in (FORM, {**FORM, "_xsrf": "guessed"}):
            forged = browser.post(
                f"{url}/{path}", data=data, headers=cross, timeout=10, allow_redirects=False
            )
            assert forged.status_code == 403, path
    assert listed(office) == []


# -- changing and cancelling --------------------------------------------------------------------------------


def form_of(html: str) -> dict[str, str]:
    """What the form of a page would send."""
    form = html.partition('id="gpu-reserve"')[2].partition("</form>")[0]
    inputs = re.findall(r"<input ([^>]*)>", form)
    found = {}
    for attributes in inputs:
        named = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
        if named.get("type") != "checkbox" or attributes.endswith("checked"):
            found[named["name"]] = named.get("value", "")
    for name, body in re.findall(r'(?s)<select [^>]*name="(\w+)"[^>]*>(.*?)</select>', form):
        chosen = re.findall(r'<option value="([^"]*)" selected>', body)
        found[name] = chosen[0] if chosen else re.findall(r'<option value="([^"]*)"', body)[0]
    found |= dict(re.findall(r'(?s)<textarea[^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form))
    return found


@pytest.mark.parametrize(
    "more",
    [
        {}, {"rule": ""}, {"rule": "FREQ=DAILY;UNTIL=20300601"}, {"rule": "FREQ=MONTHLY;BYDAY=3TU;COUNT=3"},
        {"except": ["2030-05-28"]}, {"users": ["ada", "bob"], "lead": "15 min"}, {"pool": "teaching"},
        {"models": ["A100"]}, {"cards": ["GPU-0", "GPU-1"]}, {"zone": "America/New_York"},
        {"course": None, "person": "bob"}, {"course": None, "group": "students"},
    ],
)  # fmt: skip
def test_a_form_that_is_sent_back_untouched_changes_nothing(office: Office, more: dict[str, Any]) -> None:
    id_ = reserve(office, {**LECTURE, **more})
    before = office.services.reservations.find(id_)
    answer = send(office, f"/{id_}/put", "admin", form_of(page(office, f"/{id_}/change", "admin")))
    assert answer.headers["Location"].startswith(f"/services/gpu/reservations/{id_}?zone=")
    assert office.services.reservations.find(id_) == before


def test_changing_one_s_own(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    form = form_of(page(office, f"/{id_}/change", "grace"))
    text = text_of(send(office, "/check", "grace", {**form, "devices": "1"}).text)
    assert "This fits. It takes place 4 times" in text, "it does not collide with itself"
    assert send(office, f"/{id_}/put", "grace", {**form, "devices": "1"}).status_code == 303
    assert office.get("/reservations")["reservations"][0]["devices"] == 1
    answer = send(office, f"/{id_}/put", "grace", {**form, "devices": "9"})
    assert answer.status_code == 409
    assert form_of(answer.text) == {**form, "devices": "9"}
    assert f'action="/services/gpu/reservations/{id_}/put"' in answer.text


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
    office.ask("DELETE", f"/reservations/{id_}", "admin", {"reason": "r"})
    html = page(office, f"/{id_}", "admin")
    assert "It was cancelled, or is over, since Fri, 17 May 2030, 12:00 (UTC)." in text_of(html)
    assert f"/{id_}/" not in html
    assert office.raw("GET", f"/reservations/{'0' * 16}", "admin").status_code == 404
    for one in (id_, "0" * 16):
        assert office.raw("GET", f"/reservations/{one}/change", "admin").status_code == 404
        for what in ("put", "cancel", "skip"):
            form = {**FORM, "reason": "r", "start": "2030-05-18T10:00:00+00:00"}
            assert send(office, f"/{one}/{what}", "admin", form).status_code == 404


def test_cancelling_says_first_what_it_does(office: Office) -> None:
    id_ = reserve(office, {**LECTURE, "start": "2030-05-17T13:00", "zone": "UTC"})
    start = NOW + timedelta(hours=1)
    office.now[0] = start + timedelta(minutes=5)
    office.add_lease("ada", reservation=(id_, start))
    for who, seated in (("admin", "sessions go on: ada ."), ("grace", "1 person who is not named to you.")):
        text = text_of(page(office, f"/{id_}", who))
        assert "This cancels 4 dates that are on or ahead." in text
        assert seated in text
    nothing = send(office, f"/{id_}/cancel", "grace", {"reason": " "})
    assert nothing.headers["Location"] == f"/services/gpu/reservations/{id_}?zone=UTC"
    assert listed(office) == ["Lecture"]
    answer = send(office, f"/{id_}/cancel", "grace", {"reason": "rain", "reader-zone": "Europe/Zurich"})
    assert answer.headers["Location"] == "/services/gpu/reservations?zone=Europe%2FZurich"
    assert listed(office) == []
    (event,) = office.trail("reservation.cancelled")
    assert (event.actor, event.reason) == ("grace", "rain")


def test_skipping_one_date(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    choice = re.findall('<option value="([^"]+)">', page(office, f"/{id_}", "grace"))
    assert choice[1] == "2030-05-28T12:00:00+00:00"
    for bad in ("", "soon", "2030-05-28T12:00:00", "2030-05-28T12:01:00+00:00"):
        send(office, f"/{id_}/skip", "grace", {"start": bad, "reason": "r"})
    assert office.trail("reservation.changed") == []
    assert send(office, f"/{id_}/skip", "grace", {"start": choice[1], "reason": "feast"}).status_code == 303
    assert "Not on Tue, 28 May 2030" in text_of(page(office, f"/{id_}"))
    assert office.trail("reservation.changed")[0].reason == "feast"


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
