"""The form that makes or changes a reservation: what it says before, and what comes of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support.build import NOW
from support.calendar_pages import FORM, LECTURE, THESIS, form_of, listed, page, reserve, send
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office


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


# -- many at once -------------------------------------------------------------------------------------------


class Slow:
    """Checking and making take as long as a test wants."""

    def __init__(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on, self._counting = threading.Event(), threading.Condition()
        self.begun = self.under_way = self.most = 0
        for name in ("preview", "make"):
            work = getattr(office.services.reservations, name)
            monkeypatch.setattr(office.services.reservations, name, partial(self._work, work))

    def _work(self, work: Callable[..., Any], *args: Any, **more: Any) -> Any:
        with self._counting:
            self.begun += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self._counting.notify_all()
        assert self.go_on.wait(10)
        with self._counting:
            self.under_way -= 1
        return work(*args, **more)

    def wait_begun(self, count: int) -> None:
        with self._counting:
            assert self._counting.wait_for(lambda: self.begun >= count, 10)


@pytest.fixture
def slow(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow(office, monkeypatch)
    yield made
    made.go_on.set()


def test_a_script_that_checks_without_end_holds_up_nobody(office: Office, slow: Slow) -> None:
    with ThreadPoolExecutor(40) as pool:
        first = pool.submit(send, office, "/check", "grace", FORM)
        slow.wait_begun(1)
        rest = [pool.submit(send, office, "/check", "grace", FORM) for _ in range(30)]
        done, waiting = wait(rest, timeout=10, return_when=FIRST_COMPLETED)
        while len(waiting) > 1:
            more, waiting = wait(waiting, timeout=10, return_when=FIRST_COMPLETED)
            assert more, "those that a newer one replaced are answered at once"
            done |= more
        told = [answer.result() for answer in done]
        assert {answer.status_code for answer in told} == {429}
        assert "Whether it fits was not looked at. You asked again" in text_of(told[0].text)
        assert page(office, "", "grace"), "all else is answered meanwhile"
        slow.go_on.set()
        assert first.result().status_code == 200
        assert [answer.result().status_code for answer in waiting] == [200]
    assert (slow.begun, slow.most) == (2, 1)


def test_several_who_type_are_looked_at_two_at_a_time(office: Office, slow: Slow) -> None:
    who = ["grace", "planner", "admin", "hub-admin"]
    forms = [{**FORM, "whom": f"person:{name}" if name == "planner" else "course:vision"} for name in who]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(send, office, "/check", *one) for one in zip(who, forms, strict=True)]
        slow.wait_begun(2)
        assert page(office, "", "ada")
        slow.go_on.set()
        assert [answer.result().status_code for answer in asked] == [200] * 4
    assert (slow.begun, slow.most) == (4, 2)


def test_a_press_that_a_newer_one_replaced_keeps_the_form(office: Office, slow: Slow) -> None:
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(send, office, "/make", "grace", {**FORM, "title": "One"})
        slow.wait_begun(1)
        second = pool.submit(send, office, "/make", "grace", {**FORM, "title": "Two"})
        third = pool.submit(send, office, "/make", "grace", {**FORM, "title": "Two"})
        (replaced,) = wait([second, third], timeout=10, return_when=FIRST_COMPLETED).done
        assert replaced.result().status_code == 429
        assert form_of(replaced.result().text)["title"] == "Two"
        program = pool.submit(office.ask, "POST", "/reservations", "grace", LECTURE)
        (other,) = {second, third} - {replaced}
        assert other.result().status_code == 429, "a program's request is the newest now"
        slow.go_on.set()
        assert (first.result().status_code, program.result().status_code) == (303, 201)
    assert listed(office) == ["One", "Lecture"]


# -- changing --------------------------------------------------------------------------------------------


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


def test_a_change_says_what_it_does_before_it_is_done(office: Office) -> None:
    id_ = reserve(office, {**LECTURE, "start": "2030-05-17T13:00", "zone": "UTC"})
    office.now[0] = NOW + timedelta(hours=1, minutes=5)
    office.add_lease("ada", reservation=(id_, NOW + timedelta(hours=1)))
    form = form_of(page(office, f"/{id_}/change", "grace"))
    same = text_of(send(office, "/check", "grace", form).text)
    assert "What changes: Nothing: it is already so. Times" in same
    changed = {**form, "devices": "1", "title": "<b>Lab", "time": "16:00", "times": "2", "lead": "15 min"}
    answer = send(office, "/check", "grace", changed)
    assert "<b>Lab" not in answer.text
    text = text_of(answer.text)
    assert "Title: Lecture → <b>Lab" in text.replace("&lt;", "<")
    assert "How many GPUs: 2 → 1" in text
    assert "Day and time: 2030-05-17 13:00 → 2030-05-17 16:00" in text
    assert "Kept free before: nothing → 15 min" in text
    assert "How often: FREQ=WEEKLY;COUNT=4 → FREQ=WEEKLY;COUNT=2" in text
    assert "On 4 dates it does not take place any more: Fri 17 May, 13:00 to 15:00 Fri 24 May," in text
    assert "1 session has a seat of it now; it goes on, without one." in text
    assert len(office.trail("reservation.")) == 1


def test_a_change_of_what_somebody_has_changed_meanwhile_must_be_pressed_again(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    form = {**form_of(page(office, f"/{id_}/change", "grace")), "devices": "1"}
    office.ask("PUT", f"/reservations/{id_}", "admin", {**LECTURE, "title": "Theirs"})
    noted = "Somebody has changed this reservation since you opened the form. This fits."
    assert noted in text_of(send(office, "/check", "grace", form).text)
    answer = send(office, f"/{id_}/put", "grace", form)
    assert (answer.status_code, listed(office)) == (409, ["Theirs"])
    text = text_of(answer.text)
    assert (
        "Somebody has changed this reservation since you were shown it. Look again; nothing was done." in text
    )
    assert "What changes: Title: Theirs → Lecture How many GPUs: 2 → 1" in text
    again = form_of(answer.text)
    assert {**again, "seen": form["seen"]} == form
    assert send(office, f"/{id_}/put", "grace", again).status_code == 303
    assert listed(office) == ["Lecture"]


def test_a_change_of_what_somebody_has_cancelled_meanwhile_does_nothing(office: Office) -> None:
    id_ = reserve(office, LECTURE)
    form = form_of(page(office, f"/{id_}/change", "grace"))
    office.ask("DELETE", f"/reservations/{id_}", "admin", {"reason": "rain"})
    answer = send(office, f"/{id_}/put", "grace", form)
    assert (answer.status_code, listed(office)) == (409, [])
    assert "This reservation was cancelled, or is over, since you were shown it." in text_of(answer.text)
    assert send(office, f"/{id_}/put", "grace", form_of(answer.text)).status_code == 409
