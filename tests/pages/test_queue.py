"""One's place in line, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from gpuspawner.core.model import LeaseState
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import expect
from support.build import NOW
from support.controller import Office

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]


def join(office: Office, who: str = "ada", **options: object) -> str:
    answer = office.ask("POST", "/queue", who, {"server": "", "options": {"gpus": 1, **options}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def free(office: Office) -> None:
    """Both cards are free, and whose turn it is gets an offer."""
    with office.services.ledger.write() as unit:
        held = unit.lease("full")
        assert held
        unit.update_lease(replace(held, state=LeaseState.RELEASED))
    office.line.grant_turns()


@LOOKS
def test_the_page(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    full = office.fill()
    with office.services.ledger.write() as unit:
        unit.update_lease(replace(full, ends_at=NOW + timedelta(hours=1)))
    join(office, "bob")
    office.now[0] += timedelta(seconds=1)
    join(office)
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/queue")
    expect(page.get_by_text("Place 2")).to_be_visible()
    ada.check(f"queue{suffix}")


def test_the_turn_comes_while_the_page_is_open(office: Office, reader: Meet) -> None:
    office.fill()
    join(office)
    ada = reader("ada")
    page = ada.visit("/queue")
    expect(page.get_by_text("Place 1")).to_be_visible()
    page.get_by_role("button", name="Leave the line").focus()
    free(office)
    expect(page.get_by_text("It is your turn.")).to_be_visible()
    expect(page.get_by_role("button", name="Leave the line")).to_be_visible()
    expect(page).to_have_title("● Your place in line")
    ada.check("queue-turn")
    page.get_by_role("button", name="Open my server").click()
    expect(page.get_by_text("Your server is being started")).to_be_visible()
    office.hub_starts("ada")
    office.line.opened(office.get("/queue")["places"][0]["id"])
    page.wait_for_url("**/user/ada")


def test_nobody_waits(reader: Meet) -> None:
    ada = reader("ada")
    expect(ada.visit("/queue").get_by_text("Nobody is in line now.")).to_be_visible()
    ada.check("queue-empty")


def test_a_connection_on_which_nothing_is_said_is_not_believed(office: Office, reader: Meet) -> None:
    """As behind a proxy that keeps it open after the controller was killed."""
    office.fill()
    join(office)
    ada = reader("ada")
    silent: list[str] = []
    ada.page.route("**/live/queue**", lambda route: silent.append(route.request.url))
    ada.page.clock.install()
    page = ada.visit("/queue")
    away = page.get_by_text("No news from the server.")
    page.clock.fast_forward("00:20")
    expect(away).to_be_hidden()
    page.clock.fast_forward("00:10")
    expect(away).to_be_visible()
    expect(page.get_by_text("Place 1")).to_be_visible()
    assert len(silent) == 2, "it asks anew"
    ada.check("queue-away")
    page.unroute_all()
    page.clock.fast_forward("00:30")
    expect(away).to_be_hidden()
    free(office)
    expect(page.get_by_text("It is your turn.")).to_be_visible()
