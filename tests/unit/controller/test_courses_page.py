"""The pages of courses: who may see and do what, and what comes of it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from gpuspawner.core.model import LeaseState, Party
from support.build import NOW
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

VISION = Party(("students",), ("vision",))
OTHER = Party(("students",), ("sound",))
END = NOW + timedelta(minutes=30)
LATER = END + timedelta(hours=1)
GETS = [
    "/courses/vision",
    "/courses/vision/message",
    "/courses/vision/extend",
    "/courses/vision/seats/course",
]
POSTS = [
    ("/courses/vision/message/send", {"text": "hello"}),
    ("/courses/vision/extend/send", {"until-course": LATER.isoformat(), "reason": "exam"}),
    ("/courses/vision/seats/course/message", {"text": "hello"}),
    ("/courses/vision/seats/course/extend", {"until": LATER.isoformat(), "reason": "exam"}),
    ("/courses/vision/seats/course/stop", {"reason": "exam"}),
]


@pytest.fixture(autouse=True)
def sessions(office: Office, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        policy.read_text()
        .replace("image: base}", "image: base, seats: 3}")
        .replace("grace: {}", "grace: {}\n  bob: {}")
        + "  sound: {group: students, teachers: [bob], image: torch}\n"
    )
    office.add_lease("ada", "course", party=VISION, ends_at=END, warned=15)
    office.add_lease("ada", "private", party=OTHER, devices=("GPU-1",), server="two", ends_at=END)
    office.add_lease("eve", "eves", party=VISION, devices=(), ends_at=END)


def told(office: Office, who: str) -> list[str]:
    with office.services.ledger.read() as unit:
        return [one.text for one in unit.messages_for(who)]


def text(office: Office, path: str, who: str = "grace") -> str:
    answer = office.raw("GET", path, who)
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


@pytest.mark.parametrize("who", ["ada", "bob", "service-ada", "planner"])
def test_who_does_not_teach_it_is_denied(office: Office, who: str) -> None:
    for path in GETS:
        answer = office.raw("GET", path, who)
        assert answer.status_code == 403
        assert "Only a teacher of this course or an administrator" in answer.text
    for path, form in POSTS:
        assert office.raw("POST", path, who, data=form).status_code == 403
    denied = office.trail("access.denied")
    assert len(denied) == len(GETS) + len(POSTS)
    assert (office.hub.calls, office.trail("session")) == ([], [])
    assert office.raw("GET", "/courses/nothing", who).status_code == 403, (
        "nor is told which courses there are"
    )
    assert office.raw("GET", "/live/courses/vision", who).status_code == 403


@pytest.mark.parametrize("who", ["grace", "admin"])
def test_who_teaches_or_manages_sees_it(office: Office, who: str) -> None:
    found = text(office, "/courses/vision", who)
    assert "2 of 3 seats are taken." in found
    assert "ada Message, extend, stop… runs A100 GPU-0 0 %" in found
    assert "eve Message, extend, stop… runs none no GPU" in found
    assert "Nobody waits for a seat of this course." in found
    assert "Nothing is reserved for this course" in found
    assert "GPU-1" not in found
    for path in GETS:
        assert office.raw("GET", path, who).status_code == 200


def test_the_list(office: Office) -> None:
    assert "vision 2 of 3 seats are taken" in text(office, "/courses")
    assert "sound" not in text(office, "/courses")
    assert "You teach no course." in text(office, "/courses", "ada")
    assert {"vision", "sound"} <= set(text(office, "/courses", "admin").split())
    assert office.raw("GET", "/courses/nothing", "admin").status_code == 404


@pytest.mark.parametrize("lease_id", ["private", "nothing"])
def test_sessions_of_other_courses_are_not_there(office: Office, lease_id: str) -> None:
    for who in ("grace", "admin"):
        assert office.raw("GET", f"/courses/vision/seats/{lease_id}", who).status_code == 404
        for what, form in (("message", {"text": "x"}), ("stop", {"reason": "x"})):
            answer = office.raw("POST", f"/courses/vision/seats/{lease_id}/{what}", who, data=form)
            assert answer.status_code == 404
    until = {f"until-{lease_id}": LATER.isoformat(), "reason": "x"}
    assert office.raw("POST", "/courses/vision/extend/send", "grace", data=until).status_code == 303
    assert (office.hub.calls, office.trail("session")) == ([], [])


def test_message(office: Office) -> None:
    answer = office.raw("POST", "/courses/vision/seats/course/message", "grace", data={"text": "<b>save</b>"})
    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        "/services/gpu/courses/vision/seats/course",
    )
    assert told(office, "ada") == ["<b>save</b>"]
    assert "&lt;b&gt;save&lt;/b&gt;" in office.raw("GET", "/servers", "ada").text


def test_extend_does_what_was_shown_and_once(office: Office) -> None:
    html = office.raw("GET", "/courses/vision/seats/course", "grace").text
    shown = re.findall(r'name="until" id="by-(\d+)" value="([^"]+)"', html)
    assert [minutes for minutes, _ in shown] == ["30", "60", "120"]
    form = {"until": shown[1][1], "reason": "exam week"}
    for _ in range(2):
        assert (
            office.raw("POST", "/courses/vision/seats/course/extend", "grace", data=form).status_code == 303
        )
    assert office.services.sessions.find("course").ends_at == LATER
    assert len(office.trail("session.extended")) == 1


def test_a_stopped_student_reads_the_reason(office: Office) -> None:
    answer = office.raw(
        "POST", "/courses/vision/seats/course/stop", "grace", data={"reason": "the exam is over"}
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/gpu/courses/vision")
    assert office.hub.calls == [("stop_server", "ada", "")]
    assert "grace stopped your session: the exam is over" in text(office, "/servers", "ada")
    assert office.trail("session.stopping")[0].actor == "grace"


@pytest.mark.parametrize("what", ["message", "extend", "stop"])
def test_without_words_nothing_is_done(office: Office, what: str) -> None:
    form = {"until": LATER.isoformat()} if what == "extend" else {}
    assert office.raw("POST", f"/courses/vision/seats/course/{what}", "grace", data=form).status_code == 303
    assert office.raw("POST", "/courses/vision/message/send", "grace").status_code == 303
    form = {"until-course": LATER.isoformat()}
    assert office.raw("POST", "/courses/vision/extend/send", "grace", data=form).status_code == 303
    assert (office.hub.calls, office.trail("session")) == ([], [])


def test_message_all(office: Office) -> None:
    office.add_lease("eve", "second", party=VISION, devices=(), server="two")
    assert "to: ada , eve . Send to 2 people" in text(office, "/courses/vision/message")
    assert office.raw("POST", "/courses/vision/message/send", "grace", data={"text": "hi"}).status_code == 303
    assert (told(office, "ada"), told(office, "eve")) == (["hi"], ["hi"])


def test_extend_all_shows_what_it_will_do(office: Office) -> None:
    office.add_lease("zoe", "endless", party=VISION, devices=())
    lecture = {
        "title": "Lecture", "group": "students", "users": ["bob"], "devices": 2,
        "start": "2030-05-17T13:15", "length": "1 h",
    }  # fmt: skip
    assert office.ask("POST", "/reservations", "admin", lecture).status_code == 201
    html = office.raw("GET", "/courses/vision/extend?by=60", "grace").text
    found = text_of(html)
    assert "ada 2030-05-17 12:30 UTC Stays as it is. It cannot go on beyond 2030-05-17 13:15 UTC" in found
    assert "eve 2030-05-17 12:30 UTC 2030-05-17 13:30 UTC" in found
    assert "zoe no end is set Stays as it is. It has no end" in found
    assert "Extend 1 session" in found
    form = dict(re.findall(r'name="(until-[^"]+)" value="([^"]+)"', html)) | {"reason": "exam"}
    assert list(form) == ["until-eves", "reason"]
    assert office.raw("POST", "/courses/vision/extend/send", "grace", data=form).status_code == 303
    ends = [office.services.sessions.find(one).ends_at for one in ("course", "eves")]
    assert ends == [END, LATER]
    assert told(office, "eve") == ["grace extended your session until 2030-05-17 13:30 UTC: exam"]


def test_what_could_not_be_done_for_some_is_said(office: Office) -> None:
    browser = requests.Session()
    browser.headers["Authorization"] = "token grace"
    form = {"until-course": LATER.isoformat(), "until-eves": "yesterday", "reason": "exam"}
    url = f"{office.url}/services/gpu/courses/vision/extend/send"
    answer = browser.post(url, data=form, timeout=10)
    assert "1 of 2 sessions extended. eve: until: " in text_of(answer.text)


def test_hostile_words(office: Office) -> None:
    for number, name in enumerate(["<script>alert(1)</script>", "w" * 64, "مريم", "🦊 fox"]):
        office.add_lease(
            name, f"n{number}", party=VISION, devices=(), server=name, ends_at=END, end_reason=name
        )
    for path in (*GETS, "/courses/vision/seats/n0"):
        html = office.raw("GET", path, "grace").text
        assert "<script>alert" not in html
    assert text(office, "/courses/vision").count("<script>alert(1)</script>") == 2


def test_who_waits(office: Office) -> None:
    office.services.sessions.end_now("private", reason="r", actor="admin")
    body = {"server": "", "options": {"gpus": 2, "image": "base"}}
    for who in ("ada", "bob"):
        assert office.ask("POST", "/queue", who, body).status_code == 201
        office.now[0] += timedelta(seconds=1)
    found = text(office, "/courses/vision")
    assert "In line ada : place 1 in line, 2 GPUs, waits since" in found
    assert "bob" not in found


def test_a_session_that_is_over(office: Office) -> None:
    office.add_lease("ada", "over", LeaseState.RELEASED, devices=(), party=VISION)
    assert office.raw("GET", "/courses/vision/seats/over", "grace").status_code == 404
