"""Short words for tests of the reservations pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import requests

from .client import text_of

if TYPE_CHECKING:
    from .controller import Office

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


def shown(office: Office, reservation: str, who: str) -> str:
    """What the forms on the page of a reservation send back, so that nothing else is done than was shown."""
    found = re.findall('name="seen" value="([0-9a-f]{16})"', page(office, f"/{reservation}", who))
    assert len(set(found)) == 1
    return str(found[0])


def listed(office: Office) -> list[str]:
    return [one.title for one in office.services.reservations.standing()]


def form_of(html: str) -> dict[str, str]:
    """What the form of a page would send."""
    form = html.partition('id="gpu-reserve"')[2].partition("</form>")[0]
    inputs = re.findall(r"<input ([^>]*)>", form)
    found = {}
    for attributes in inputs:
        named = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
        if named["name"] == "_xsrf":
            continue  # it has the present second in it
        if named.get("type") != "checkbox" or attributes.endswith("checked"):
            found[named["name"]] = named.get("value", "")
    for name, body in re.findall(r'(?s)<select [^>]*name="(\w+)"[^>]*>(.*?)</select>', form):
        chosen = re.findall(r'<option value="([^"]*)" selected>', body)
        found[name] = chosen[0] if chosen else re.findall(r'<option value="([^"]*)"', body)[0]
    found |= dict(re.findall(r'(?s)<textarea[^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form))
    return found
