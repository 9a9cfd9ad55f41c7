"""The reservations calendar as a page: what it says to whom, and what its buttons do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office


def test_it_is_there(office: Office) -> None:
    for who in ("ada", "grace", "planner", "admin", "service-ada"):
        for path in ("/reservations", "/reservations?view=list", "/reservations/new", "/reservations/import"):
            answer = office.raw("GET", path, who)
            assert answer.status_code == 200, text_of(answer.text)
