"""One's place in line as a page: what it says, what its buttons do, and whose they are."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import requests
from gpuspawner.core.model import Lease, LeaseState
from support.build import NOW
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office


@pytest.fixture
def full(office: Office) -> Lease:
    """Nothing is free, so that who asks waits."""
    return office.fill()


def join(office: Office, who: str = "ada", server: str = "", **options: object) -> str:
    body = {"server": server, "options": {"gpus": 1, **options}}
    answer = office.ask("POST", "/queue", who, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def free(office: Office) -> None:
    """Both cards are free, and whose turn it is gets an offer."""
    with office.services.ledger.write() as unit:
        held = unit.lease("full")
        assert held
        unit.update_lease(replace(held, state=LeaseState.RELEASED))
    office.line.grant_turns()


def page(office: Office, who: str = "ada") -> str:
    answer = office.raw("GET", "/queue", who)
    assert answer.status_code == 200
    return answer.text


def buttons(html: str) -> dict[str, str]:
    """Where each button leads, by its label."""
    form = r'<form method="post" action="/services/gpu([^"]*)" class="d-inline">'
    found = re.findall(rf"(?s){form}.*?<button[^>]*>(.*?)</button>", html)
    return {label: action for action, label in found}


def press(office: Office, label: str, who: str = "ada") -> requests.Response:
    return office.raw("POST", buttons(page(office, who))[label], who)


def test_login_and_the_way_there(office: Office) -> None:
    away = office.raw("GET", "/queue", None)
    assert away.status_code == 302
    assert away.headers["Location"].startswith("/hub/api/oauth2/authorize?client_id=service-gpu")
    assert office.raw("GET", "/").headers["Location"] == "/services/gpu/queue"
    assert office.raw("GET", "/queue", "stranger").status_code == 403


def test_nobody_is_in_line(office: Office) -> None:
    html = page(office)
    assert "You are not in line. Nobody is in line now." in text_of(html)
    assert buttons(html) == {}


def test_waiting(office: Office, full: Lease) -> None:
    ticket = join(office, server="<b>")
    html = page(office)
    assert "1 GPU for server &lt;b&gt;" in html
    text = text_of(html)
    assert "Place 1: nobody is ahead of you You asked for 1 GPU; 0 of 2 GPUs are free now" in text.replace(
        " :", ":"
    )
    assert "When it will be cannot be said yet" in text
    assert buttons(html) == {"Leave the line": f"/queue/{ticket}/leave"}
    others = page(office, "bob")
    assert "You are not in line. 1 is in line now." in text_of(others)
    assert ticket not in others


def test_an_estimate_in_utc_that_a_script_may_put_into_the_viewer_s_zone(office: Office, full: Lease) -> None:
    with office.services.ledger.write() as unit:
        unit.update_lease(replace(full, ends_at=NOW + timedelta(hours=1)))
    join(office)
    html = page(office)
    assert '<time datetime="2030-05-17T13:00:00Z" data-show="time">2030-05-17 13:00 UTC</time>' in html
    answer = office.raw("GET", "/queue", "ada")
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy, "nothing that people wrote can run"


def test_it_is_one_s_turn(office: Office, full: Lease) -> None:
    ticket = join(office, session="110 min")
    free(office)
    html = page(office)
    text = text_of(html)
    at = "2030-05-17 12:05 UTC"
    assert f"It is your turn. Take it by {at} ( {at} left); then the next in line gets it." in text
    assert "The session would last until 2030-05-17 13:50 UTC ." in text
    assert buttons(html) == {
        "Open my server": f"/queue/{ticket}/claim", "Leave the line": f"/queue/{ticket}/leave",
    }  # fmt: skip
    assert 'data-notice="It is your turn."' in html


def test_opening_what_is_not_started_yet_leads_back(office: Office, full: Lease) -> None:
    ticket = join(office)
    free(office)
    answer = press(office, "Open my server")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/services/gpu/queue?open={ticket}"
    html = page(office)
    assert "Your server is being started; it takes a moment." in html
    assert list(buttons(html)) == ["Leave the line"]
    assert office.get(f"/queue/{ticket}")["claimed_at"]
    office.hub_starts("ada")
    office.line.opened(ticket)
    waiting = office.raw("GET", f"/queue?open={ticket}").text
    assert 'data-goes="/user/ada"' in waiting
    assert "data-goes" not in office.raw("GET", f"/queue?open={ticket}", "bob").text


@pytest.mark.parametrize(
    ("server", "runs", "leads"),
    [
        ("", False, "/hub/spawn-pending/ada"),
        ("", True, "/user/ada"),
        ("a b", False, "/hub/spawn-pending/ada/a%20b"),
        ("a b", True, "/user/ada/a%20b"),
    ],
)
def test_opening_claims_and_leads_to_the_server(
    office: Office, full: Lease, server: str, runs: bool, leads: str
) -> None:
    ticket = join(office, server=server)
    free(office)
    office.hub_starts("ada", server, runs=runs)
    answer = press(office, "Open my server")
    assert (answer.status_code, answer.headers["Location"]) == (303, leads)
    assert office.get(f"/queue/{ticket}")["state"] == "claimed"
    html = page(office)
    assert buttons(html) == {}
    assert ("runs with 1 GPU" in text_of(html)) == runs


def test_switching(office: Office, full: Lease) -> None:
    ticket = join(office)
    office.hub_starts("ada", gpus=0)
    free(office)
    html = page(office)
    assert "the kernels that run there end, what is saved stays" in html
    assert list(buttons(html)) == ["Switch now", "Leave the line"]
    answer = press(office, "Switch now")
    assert answer.headers["Location"] == f"/services/gpu/queue?open={ticket}"
    assert "Your server is being started anew" in page(office)
    assert office.get(f"/queue/{ticket}")["state"] == "offered"


def test_leaving(office: Office, full: Lease) -> None:
    ticket = join(office)
    answer = press(office, "Leave the line")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/gpu/queue")
    assert office.get(f"/queue/{ticket}")["state"] == "ended"
    again = office.raw("POST", f"/queue/{ticket}/leave", "ada")
    assert again.status_code == 404
    assert "There is no such place in line, or not any more." in again.text


def test_a_claim_that_comes_too_early_is_told(office: Office, full: Lease) -> None:
    ticket = join(office)
    browser = requests.Session()
    url = f"{office.url}/services/gpu/queue"
    browser.headers["Authorization"] = "token ada"
    told = browser.post(f"{url}/{ticket}/claim", timeout=10)
    assert told.url == url
    assert "Your turn has not come yet" in told.text
    assert "alert-danger" in told.text
    assert "Your turn has not come yet" not in browser.get(url, timeout=10).text, "it is told once"


@pytest.mark.parametrize("what", ["claim", "leave"])
def test_other_people_s_places_are_not_there(office: Office, full: Lease, what: str) -> None:
    ticket = join(office, "bob")
    free(office)
    for who in ("ada", "admin", "service-ada"):
        answer = office.raw("POST", f"/queue/{ticket}/{what}", who)
        assert answer.status_code == 404
        assert text_of(answer.text) == text_of(office.raw("POST", f"/queue/nothing/{what}", who).text)
    assert office.get(f"/queue/{ticket}", "bob")["claimed_at"] is None


@pytest.mark.parametrize("what", ["claim", "leave"])
def test_a_press_is_a_post(office: Office, full: Lease, what: str) -> None:
    ticket = join(office)
    assert office.raw("GET", f"/queue/{ticket}/{what}", "ada").status_code == 405
    assert office.raw("POST", f"/queue/{ticket}/{what}", None).status_code == 403


def test_a_form_of_another_site_does_nothing(office: Office, full: Lease) -> None:
    ticket = join(office)
    browser = requests.Session()
    browser.cookies.set("service-gpu", office.cookie("ada"), path="/services/gpu/")
    url = f"{office.url}/services/gpu/queue"
    navigate = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
    html = browser.get(url, headers=navigate, timeout=10).text
    assert "nobody is ahead of you" in html
    leave, cross = f"{url}/{ticket}/leave", {**navigate, "Sec-Fetch-Site": "cross-site"}
    for data in ({}, {"_xsrf": "guessed"}):
        forged = browser.post(leave, data=data, headers=cross, timeout=10, allow_redirects=False)
        assert forged.status_code == 403
    assert office.get(f"/queue/{ticket}")["state"] == "waiting"
    token = re.search(r'name="_xsrf" value="([^"]+)"', html)
    assert token
    pressed = browser.post(
        leave, data={"_xsrf": token[1]}, headers=navigate, timeout=10, allow_redirects=False
    )
    assert pressed.status_code == 303
    assert office.get(f"/queue/{ticket}")["state"] == "ended"
