"""The page of a timetable: what a calendar comes to, and nothing else than was shown."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

HERE = "/courses/vision/timetable"
LAB = """\
BEGIN:VEVENT
UID:lab
SUMMARY:<b>Lab</b>
DTSTART;TZID=Europe/Zurich:20300603T140000
DURATION:PT2H
RRULE:FREQ=WEEKLY;COUNT=3
END:VEVENT
"""
HOLIDAY = "BEGIN:VEVENT\nUID:h\nSUMMARY:Holiday\nDTSTART;VALUE=DATE:20300610\nEND:VEVENT\n"


def calendar(*events: str) -> bytes:
    return ("BEGIN:VCALENDAR\nVERSION:2.0\n" + "".join(events) + "END:VCALENDAR\n").encode()


def send(office: Office, data: bytes, who: str = "grace", **form: str) -> Any:
    given = {"devices": "2", "lead": "10 min", "zone": "Europe/Zurich", "reader-zone": "Europe/Zurich"} | form
    return office.raw("POST", f"{HERE}/check", who, data=given, files={"file": ("lessons.ics", data)})


def press(office: Office, page: str, who: str = "grace") -> Any:
    fields = dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', page))
    (text,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    form = {name: html.unescape(one) for name, one in {**fields, "text": text}.items() if name != "_xsrf"}
    return office.raw("POST", f"{HERE}/take", who, files={name: (None, one) for name, one in form.items()})


def standing(office: Office) -> list[tuple[str, int]]:
    return [(one.title, one.devices) for one in office.services.reservations.standing()]


def test_a_calendar_is_shown_and_then_reserved(office: Office) -> None:
    shown = send(office, calendar(LAB, HOLIDAY))
    assert shown.status_code == 200
    assert "<b>Lab" not in shown.text
    found = text_of(shown.text)
    assert "To be reserved" in found
    assert "Mon, 3 Jun 2030, 14:00 to 16:00 Europe/Zurich 3" in found
    assert "Passed over as whole days: 1 event." in found
    assert standing(office) == []
    answer = press(office, shown.text)
    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        f"/services/gpu{HERE}?zone=Europe%2FZurich",
    )
    assert standing(office) == [("<b>Lab</b>", 2)]
    assert "Mon, 3 Jun 2030, 14:00 to 16:00" in text_of(office.raw("GET", HERE, "grace").text)
    again = send(office, calendar(LAB, HOLIDAY)).text
    assert "Nothing changes." in again
    assert "Make it so" not in again


def test_what_becomes_different_is_said(office: Office) -> None:
    press(office, send(office, calendar(LAB)).text)
    shown = send(office, calendar(LAB.replace("T140000", "T150000")), devices="1").text
    found = text_of(shown)
    assert "Day and time: 2030-06-03 14:00 → 2030-06-03 15:00" in found
    assert "How many GPUs: 2 → 1" in found
    press(office, shown)
    assert standing(office) == [("<b>Lab</b>", 1)]
    gone = send(office, calendar()).text
    assert "To be cancelled" in gone
    press(office, gone)
    assert standing(office) == []


def test_if_somebody_was_quicker_the_new_difference_is_shown(office: Office) -> None:
    mine = send(office, calendar(LAB), devices="1").text
    press(office, send(office, calendar(LAB), "admin").text, "admin")
    refused = press(office, mine)
    assert refused.status_code == 409
    assert "others than you were shown" in refused.text
    assert "To be changed" in refused.text
    assert standing(office) == [("<b>Lab</b>", 2)]


def test_what_does_not_fit_cannot_be_pressed(office: Office) -> None:
    shown = send(office, calendar(LAB), devices="3").text
    assert "Not all lessons fit, so none can be reserved" in shown
    assert "2 GPUs are all that this server has of this kind" in shown
    assert "Make it so" not in shown


@pytest.mark.parametrize(
    ("data", "form", "why"),
    [
        (b"nonsense", {}, "This is not a calendar"),
        (calendar(LAB.replace("COUNT=3", "INTERVAL=1")), {}, "it must end within two years"),
        (calendar(LAB), {"devices": "many"}, "devices:"),
        (calendar(LAB), {"lead": "soon"}, "lead:"),
        (calendar(LAB), {"zone": "Moon/Base"}, "there is no time zone"),
        (calendar(LAB), {"pool": "x"}, "the policy has no pool"),
        ("é".encode("latin-1"), {}, "not a text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    office: Office, data: bytes, form: dict[str, str], why: str
) -> None:
    shown = send(office, data, **form)
    assert shown.status_code == 200
    assert why in text_of(shown.text)
    assert standing(office) == []


def test_programs(office: Office) -> None:
    body: dict[str, Any] = {"calendar": calendar(LAB).decode(), "devices": 2, "pool": "teaching"}
    found = office.ask("POST", "/courses/vision/timetable/preview", "grace", body).json()
    assert [one["title"] for one in found["made"]] == ["<b>Lab</b>"]
    done = office.ask("PUT", "/courses/vision/timetable", "grace", {**body, "seen": found["version"]})
    assert done.status_code == 200
    assert office.ask("PUT", "/courses/vision/timetable", "grace", {**body, "seen": "x"}).status_code == 409
    (lesson,) = office.get("/courses/vision/timetable", "grace")["lessons"]
    assert (lesson["times"], lesson["pool"]) == (3, "teaching")
