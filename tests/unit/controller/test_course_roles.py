"""What a teacher, an assistant and a student of a course may do, one by one, by the API and on the pages."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.model import Party
from gpuspawner.core.roster import RIGHTS, Entry, Kind, Right, Role, Who
from gpuspawner.policy.reservations import parse_body
from support.build import NOW

if TYPE_CHECKING:
    from support.controller import Office

END = NOW + timedelta(minutes=30)
LATER = (END + timedelta(hours=1)).isoformat()
LAB = {"title": "Lab", "course": "vision", "devices": 1, "start": "2030-06-04T14:00", "length": "2 h"}
CSV = "person,role\ntom,teacher\ntim,assistant\nsam,student\nnew,student\n"
EVENT = "BEGIN:VEVENT\nUID:a\nDTSTART:20300603T120000Z\nDURATION:PT1H\nEND:VEVENT\n"
LESSONS = f"BEGIN:VCALENDAR\n{EVENT}END:VCALENDAR\n"

WHO = {
    "grace": Role.TEACHER,  # by the policy
    "tom": Role.TEACHER,  # by the roster
    "amy": Role.ASSISTANT,
    "tim": Role.ASSISTANT,
    "ada": Role.STUDENT,  # by the group
    "sam": Role.STUDENT,
    "bob": None,  # a teacher of another course
}
API: list[tuple[Right, str, str, Any]] = [
    (Right.SEE, "GET", "/leases/course", None),
    (Right.SEE, "GET", "/courses/vision/roster", None),
    (Right.MESSAGE, "POST", "/leases/course/message", {"text": "hello"}),
    (Right.EXTEND, "POST", "/leases/course/extend", {"until": LATER, "reason": "exam"}),
    (Right.STOP, "POST", "/leases/course/stop", {"reason": "exam"}),
    (Right.RESERVE, "POST", "/reservations", LAB),
    (Right.RESERVE, "PUT", "/reservations/LAB", LAB),
    (Right.RESERVE, "DELETE", "/reservations/LAB", {"reason": "holiday"}),
    (Right.SEE, "GET", "/courses/vision/timetable", None),
    (Right.RESERVE, "POST", "/courses/vision/timetable/preview", {"calendar": LESSONS, "devices": 1}),
    (Right.ROSTER, "POST", "/courses/vision/roster/preview", {"csv": CSV}),
    (Right.ROSTER, "PUT", "/courses/vision/roster", {"csv": CSV, "seen": 1}),
    (Right.ROSTER, "POST", "/courses/vision/roster/undo", {"seen": 1}),
    (Right.ROSTER, "PUT", "/courses/vision/end", {"ends_on": "2099-01-31", "seen": 1}),
]
PAGES: list[tuple[Right, str, str, Any]] = [
    (Right.SEE, "GET", "/courses/vision", None),
    (Right.SEE, "GET", "/courses/vision/seats/course", None),
    (Right.SEE, "GET", "/courses/vision/roster", None),
    (Right.SEE, "GET", "/courses/vision/roster.csv", None),
    (Right.MESSAGE, "POST", "/courses/vision/message/send", {"text": "hello"}),
    (Right.MESSAGE, "POST", "/courses/vision/seats/course/message", {"text": "hello"}),
    (Right.EXTEND, "POST", "/courses/vision/extend/send", {"until-course": LATER, "reason": "exam"}),
    (Right.EXTEND, "POST", "/courses/vision/seats/course/extend", {"until": LATER, "reason": "exam"}),
    (Right.STOP, "POST", "/courses/vision/seats/course/stop", {"reason": "exam"}),
    (Right.SEE, "GET", "/courses/vision/timetable", None),
    (Right.RESERVE, "POST", "/courses/vision/timetable/check", {"text": LESSONS, "devices": "1"}),
    (Right.ROSTER, "GET", "/courses/vision/roster/undo", None),
    (Right.ROSTER, "GET", "/courses/vision/end", None),
    (Right.ROSTER, "POST", "/courses/vision/roster/check", {"text": CSV}),
    (Right.ROSTER, "POST", "/courses/vision/roster/take", {"text": CSV, "seen": "1"}),
    (Right.ROSTER, "POST", "/courses/vision/roster/undo/do", {"seen": "1"}),
    (Right.ROSTER, "POST", "/courses/vision/end/do", {"on": "2099-01-31", "keep": "30", "seen": "1"}),
]


@pytest.fixture
def lab(office: Office, tmp_path: Path) -> str:
    """A course with everybody of :data:`WHO`, a session of somebody else, and a reservation."""
    policy = tmp_path / "policy.yml"
    policy.write_text(
        policy.read_text()
        .replace("teachers: [grace], image: base}", "teachers: [grace], assistants: [amy], image: base}")
        .replace("grace: {}", "grace: {}\n  amy: {}\n  bob: {}")
        + "  sound: {group: students, teachers: [bob], image: torch}\n"
    )
    roles = {"tom": Role.TEACHER, "tim": Role.ASSISTANT, "sam": Role.STUDENT}
    entries = [Entry(Who(Kind.PERSON, name), role) for name, role in roles.items()]
    admin = Actor("admin", ActorKind.PERSON)
    office.services.rosters.apply("vision", entries, seen=0, actor=admin)
    office.add_lease("eve", "course", party=Party(("students",), ("vision",)), ends_at=END, warned=15)
    made = office.services.reservations.make(parse_body(LAB), actor=admin)
    return made.reservation.id


Asked = tuple[Right, str, str, Any]


def split(asked: list[Asked], *, allowed: bool) -> list[tuple[str, Asked]]:
    return [(who, one) for who, role in WHO.items() for one in asked if (role in RIGHTS[one[0]]) is allowed]


@pytest.mark.parametrize(("who", "asked"), split(API, allowed=True))
def test_what_the_api_does(office: Office, lab: str, who: str, asked: Asked) -> None:
    _, method, path, body = asked
    answer = office.ask(method, path.replace("LAB", lab), who, body)
    assert answer.status_code in (200, 201), answer.text


@pytest.mark.parametrize(("who", "asked"), split(PAGES, allowed=True))
def test_what_the_pages_do(office: Office, lab: str, who: str, asked: Asked) -> None:
    _, method, path, form = asked
    assert office.raw(method, path, who, data=form).status_code in (200, 303)


@pytest.mark.parametrize("assistants", [False, True])
def test_who_is_shown_where_to_grade(office: Office, lab: str, tmp_path: Path, assistants: bool) -> None:
    policy = tmp_path / "policy.yml"
    more = ", hand_in: true" + (", assistants_grade: true" if assistants else "")
    policy.write_text(policy.read_text().replace("image: base}", f"image: base{more}}}", 1))
    shown = {
        who for who in ("grace", "tom", "amy", "tim", "admin") if "formgrader" in
        office.raw("GET", "/courses/vision", who).text
    }  # fmt: skip
    assert shown == {"grace", "tom"} | ({"amy", "tim"} if assistants else set())


def test_everything_else_is_refused_and_changes_nothing(office: Office, lab: str) -> None:
    before = [one.kind for one in office.trail("roster") + office.trail("reservation")]
    for who, (right, method, path, body) in split(API, allowed=False):
        # A session that is not theirs does not exist for them; all else is refused.
        unseen = path.startswith("/leases/") and WHO[who] not in RIGHTS[Right.SEE]
        status = office.ask(method, path.replace("LAB", lab), who, body).status_code
        assert status == (404 if unseen else 403), (who, right, path)
    for step in ("PUT", "POST"):
        path = "/courses/vision/timetable" if step == "PUT" else "/courses/vision/timetable/take"
        sent = {"calendar": LESSONS, "devices": 1, "seen": "x"}
        for who in ("tim", "ada", "bob"):
            ask = office.ask(step, path, who, sent) if step == "PUT" else office.raw(step, path, who)
            assert ask.status_code == 403
    for who, (_, method, path, form) in split(PAGES, allowed=False):
        assert office.raw(method, path, who, data=form).status_code == 403, (who, path)
    assert [one.kind for one in office.trail("roster") + office.trail("reservation")] == before
    assert (office.hub.calls, office.trail("session")) == ([], [])
    assert office.services.rosters.find("vision").version == 1


@pytest.mark.parametrize("who", ["grace", "tim"])
def test_a_page_offers_only_what_can_be_done(office: Office, lab: str, who: str) -> None:
    teacher = WHO[who] is Role.TEACHER
    assert ("Book a slot" in office.raw("GET", "/courses/vision", who).text) is teacher
    assert ("Stop this session" in office.raw("GET", "/courses/vision/seats/course", who).text) is teacher
    found = office.raw("GET", "/courses/vision/roster", who).text
    assert ("Change it by a file" in found) is teacher
    assert "Take the last change back" in found or not teacher


def test_somebodys_own_session_is_theirs_whatever_they_are(office: Office, lab: str) -> None:
    office.add_lease("tim", "own", party=Party(("students",), ("vision",)), devices=("GPU-1",), ends_at=END)
    assert office.ask("POST", "/leases/own/stop", "tim", {"reason": "done"}).status_code == 200


def test_who_is_what_is_told_to_them(office: Office, lab: str) -> None:
    assert office.get("/me", "tim")["assists"] == ["vision"]
    assert office.get("/me", "tom")["teaches"] == ["vision"]
    assert office.get("/me", "sam")["teaches"] == office.get("/me", "sam")["assists"] == []


def test_who_is_put_out_of_the_roster_may_nothing_more(office: Office, lab: str) -> None:
    body = {"csv": "person,role\ntim,assistant\n", "seen": 1}
    assert office.ask("PUT", "/courses/vision/roster", "grace", body).status_code == 200
    assert office.ask("GET", "/courses/vision/roster", "tom").status_code == 403
    assert office.ask("GET", "/courses/vision/roster", "tim").status_code == 200


def test_whoever_names_somebody_later_has_nothing_of_what_they_began(office: Office, tmp_path: Path) -> None:
    """Two courses with one image: ada works and waits for one, and the teacher of the other imports her."""
    policy = tmp_path / "policy.yml"
    policy.write_text(
        policy.read_text()
        .replace("grace: {}", "grace: {}\n  bob: {}")
        .replace("students:", "drawers: {}\n  students:")
        + "  sound: {group: drawers, teachers: [bob], image: base}\n"
    )
    options = {"options": {"gpus": 1}}
    place = office.ask("POST", "/queue", "ada", options).json()["id"]
    office.add_lease("ada", "hers", party=Party(("students",), ("vision",)), ends_at=END, warned=15)
    body = {"csv": "person,role\nada,student\n", "seen": 0}
    assert office.ask("PUT", "/courses/sound/roster", "bob", body).status_code == 200
    assert office.ask("GET", "/leases/hers", "grace").status_code == 200
    for method, path, sent in (
        ("GET", "", None),
        ("POST", "/stop", {"reason": "x"}),
        ("POST", "/message", {"text": "x"}),
    ):
        assert office.ask(method, f"/leases/hers{path}", "bob", sent).status_code == 404
    assert "ada" not in office.raw("GET", "/courses/sound", "bob").text
    with office.services.ledger.read() as unit:
        ticket = unit.ticket(place)
        inventory = unit.inventory(office.services.host)
    assert ticket
    assert ticket.party.courses == ("vision",)
    again = office.services.policies.judge("ada", ("students",), ticket.request, inventory)
    assert again.party.courses == ("vision",)
    refused = office.refusal("POST", "/queue", "ada", {**options, "server": "two"})
    assert "You are in several courses with the image 'base'" in refused[2]
    for course in ("sound", ""):
        body = {"server": "two", "options": {"gpus": 1, "course": course}}
        assert office.ask("POST", "/queue", "ada", body).status_code in (200, 201)
        assert ("ada" in office.raw("GET", "/courses/sound", "bob").text) is (course == "sound")
