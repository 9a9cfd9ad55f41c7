"""The page of a roster: what a file comes to, two teachers at once, taking back, the end."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.identity import Subject
from gpuspawner.core.roster import Role
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

FIRST = "person,role,team,name\nada,student,red,Ada\nbob,student,red,\nzoe@example.org,student,,\n"
FIRST = FIRST.replace("person,role", "person,mail,role").replace(
    "zoe@example.org,student", ",zoe@example.org,student"
)
FIRST = FIRST.replace("ada,student", "ada,,student").replace("bob,student", "bob,,student")
HERE = "/courses/vision/roster"


def send(office: Office, text: str | bytes, who: str = "grace", **form: str) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    return office.raw("POST", f"{HERE}/check", who, data=form, files={"file": ("roster.csv", data)})


def press(office: Office, page: str, who: str = "grace") -> Any:
    """Press the button of a page that shows a difference."""
    (seen,) = re.findall(r'name="seen" value="(\d+)"', page)
    (text,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    form = {"seen": seen, "text": html.unescape(text)}
    return office.raw("POST", f"{HERE}/take", who, files={name: (None, one) for name, one in form.items()})


def people(office: Office) -> list[str]:
    return [one.who.value for one in office.services.rosters.find("vision").entries]


def take(office: Office, text: str) -> None:
    assert press(office, send(office, text).text).status_code == 303


def test_a_file_is_shown_and_then_taken(office: Office) -> None:
    shown = send(office, FIRST)
    assert shown.status_code == 200
    found = text_of(shown.text)
    assert "3 are added" in found
    assert "zoe@example.org student has not logged in yet" in found
    assert people(office) == []
    answer = press(office, shown.text)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/services/gpu{HERE}")
    page = text_of(office.raw("GET", HERE, "grace").text)
    assert "3 students" in page
    assert "ada student red Ada ada" in page
    assert office.services.rosters.enrolment().of("ada") == {"vision": Role.STUDENT}


def test_two_teachers_at_once(office: Office) -> None:
    take(office, FIRST)
    hers = send(office, FIRST.replace("bob,,student,red,\n", "")).text
    assert "1 is removed" in text_of(hers)
    answer = press(office, send(office, FIRST + "eve,,student,,\n", "admin").text, "admin")
    assert answer.status_code == 303
    refused = press(office, hers)
    assert refused.status_code == 409
    assert "admin has changed the roster since you were shown it." in text_of(refused.text)
    assert "2 are removed" in text_of(refused.text)
    assert people(office) == ["ada", "bob", "eve", "zoe@example.org"]
    assert press(office, refused.text).status_code == 303
    assert people(office) == ["ada", "zoe@example.org"]


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (FIRST.encode() + b"ada,,student,,\n", "5", "is in line 2 already."),
        (FIRST.replace("Ada", "Zoë").encode("cp1252"), "2", "It may be: windows-1252"),
        ("person,role,name\nada,student,王小明\n".encode("gbk"), "2", "It may be:"),
        (b"person,role\n<script>alert(1)</script>,student\n", "2", "is no user name"),
    ],
)
def test_what_is_wrong_is_a_table_by_line(office: Office, data: bytes, line: str, why: str) -> None:
    shown = send(office, data)
    assert shown.status_code == 200
    assert re.search(rf'<th scope="row">{line}</th><td class="gpu-words">[^<]*{re.escape(why)}', shown.text)
    assert "<script>alert" not in shown.text
    assert people(office) == []


def test_an_encoding_that_is_chosen_is_read(office: Office) -> None:
    data = "person,role,name\nada,student,王小明\n".encode("gbk")
    assert "王小明" in send(office, data, encoding="gbk").text


def test_taking_back(office: Office) -> None:
    assert office.raw("GET", f"{HERE}/undo", "grace").status_code == 400
    take(office, FIRST)
    take(office, FIRST.replace("bob,,student,red,\n", ""))
    shown = office.raw("GET", f"{HERE}/undo", "grace").text
    assert "1 is added" in text_of(shown)
    (seen,) = re.findall(r'name="seen" value="(\d+)"', shown)
    for expected in (["ada", "bob", "zoe@example.org"],) * 2:
        office.raw("POST", f"{HERE}/undo/do", "grace", data={"seen": seen})
        assert people(office) == expected, "pressed twice, it is once"


def test_a_teacher_who_would_lock_themselves_out_is_told(office: Office) -> None:
    take(office, FIRST + "tom,,teacher,,\n")
    assert "you could not change it any more" in send(office, FIRST, "tom").text
    assert "you could not change it any more" not in send(office, FIRST, "grace").text


@pytest.mark.parametrize(
    ("address", "groups", "line"),
    [
        ("tom@example.org", (), ",tom@example.org,teacher,,\n"),
        ("", ("course:vision:teachers",), ""),
    ],
    ids=["by address", "by the course platform"],
)
def test_a_teacher_who_stays_one_otherwise_is_not_frightened(
    office: Office, address: str, groups: tuple[str, ...], line: str
) -> None:
    take(office, FIRST + "tom,,teacher,,\n")
    subject = Subject("https://login", "s-1")
    Identities(office.services.ledger).admit(subject, Said("tom", groups, email=address))
    assert "you could not change it any more" not in send(office, FIRST + line, "tom").text


def test_the_last_day_is_shown_before_it_is_set(office: Office) -> None:
    take(office, FIRST)
    page = office.raw("GET", "/courses/vision/end?on=2099-02-28&keep=30", "grace").text
    assert "3 people" in text_of(page)
    assert "31 Mar 2099" in text_of(page)
    assert office.services.rosters.find("vision").ends_on is None
    (seen,) = re.findall(r'name="seen" value="(\d+)"', page)
    form = {"on": "2099-02-28", "keep": "30", "seen": seen}
    assert office.raw("POST", "/courses/vision/end/do", "grace", data=form).status_code == 303
    assert str(office.services.rosters.find("vision").ends_on) == "2099-02-28"
    assert "Choose a day that is to come" in office.raw("GET", "/courses/vision/end?on=x", "grace").text


def test_the_file_comes_back_as_it_was(office: Office) -> None:
    take(office, FIRST.replace("Ada\n", "=SUM(A1)\n"))
    saved = office.raw("GET", f"{HERE}.csv", "grace")
    assert saved.content.startswith(b"\xef\xbb\xbf")
    assert "'=SUM(A1)" in saved.text
    assert "Nothing changes." in send(office, saved.content).text


def test_five_thousand_people(office: Office) -> None:
    many = "person,role,name\n" + "".join(f"s{n},student,学生 {n}\n" for n in range(5000))
    shown = send(office, many)
    assert "5000 are added" in text_of(shown.text)
    assert press(office, shown.text).status_code == 303
    assert "4000 more are in the file." in text_of(office.raw("GET", HERE, "grace").text)
    body = {"csv": many, "seen": 1}
    assert office.ask("PUT", "/courses/vision/roster", "grace", body).json()["same"] == 5000
