"""The administrators' pages over HTTP, as a browser without scripts uses them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from .client import text_of

if TYPE_CHECKING:
    from .controller import Office

HOUR = timedelta(hours=1)
WHY = {"reason": "exam <b>"}


def page(office: Office, path: str = "/board", who: str = "admin") -> str:
    answer = office.raw("GET", path, who)
    assert answer.status_code == 200, answer.text
    return answer.text


def form_of(html: str) -> tuple[str, dict[str, str]]:
    """Where the action's form leads, and its hidden fields."""
    form = re.search(
        r'(?s)<form method="post" action="/services/gpu([^"]*)" class="action-form">.*?</form>', html
    )
    assert form, text_of(html)
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0])
    return form[1], {name: value for name, value in hidden if name != "_xsrf"}


def press(office: Office, confirm: str, fields: dict[str, str]) -> requests.Response:
    """Press a button as a browser does; the page to which it leads."""
    browser = requests.Session()
    browser.headers["Authorization"] = "token admin"
    return browser.post(f"{office.url}/services/gpu{confirm}", data=fields, timeout=10)


def do(office: Office, action: str, what: str, **fields: str) -> requests.Response:
    """Look at the page of an action, fill it in, and press its button."""
    confirm, hidden = form_of(page(office, f"/board/do/{action}/{what}"))
    return press(office, confirm, hidden | fields)


def done(office: Office, action: str, what: str, **fields: str) -> str:
    """The board after it is done."""
    answer = do(office, action, what, **fields)
    assert urlsplit(answer.url).path == "/services/gpu/board", answer.url
    return text_of(answer.text)
