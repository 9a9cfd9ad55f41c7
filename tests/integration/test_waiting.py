"""One card, several people: places in line, turns, switching, reservations, drains, budgets, for real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from gpuspawner.allocator import Cards
from gpuspawner.controller.turns import NOT_CLAIMED
from gpuspawner.core.claims import Ticket, TicketState, Usage
from gpuspawner.core.model import LeaseState, Party
from support.client import text_of
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for

pytestmark = pytest.mark.docker

POLICY = """
groups:
  default: {gpus_per_person: 1, gpus_per_server: 1}
  lab: {}
people:
  barbara: {gpu_hours_per_week: 1}
"""
CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.JupyterHub.load_groups = {{"lab": {{"users": ["edsger"]}}}}
"""
FIRST = "You are the first in line."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    controller = {"enabled": True, "port": free_port(), "tick": 0.2, "claim_window": "5 s"}
    with Installation(
        users=("ada", "grace", "edsger", "barbara"),
        layout="1xa100-40gb",
        config=CONFIG,
        settings={"policy": str(policy), "controller": controller},
        tick=0.2,
        controller=True,
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
        installation.admin.log_in_to_controller()
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    for place in site.admin.gpu("GET", "/queue").json()["places"]:
        site.admin.gpu("DELETE", f"/queue/{place['id']}", json={"reason": "the test is over"})
    for one in site.admin.gpu("GET", "/reservations").json()["reservations"]:
        site.admin.gpu("DELETE", f"/reservations/{one['id']}", json={"reason": "the test is over"})
    site.stop_all()


def wait_in_line(site: Installation, user: str) -> Ticket:
    """Somebody asks for the card that another one has."""
    refused = site.client(user).spawn({"gpus": 1})
    assert (refused.ready, refused.status) == (False, 409), refused
    assert "in line" in refused.message
    return site.ticket_of(user)


def wait_for_turn(site: Installation, user: str) -> Ticket:
    wait_for(lambda: site.ticket_of(user).state is TicketState.OFFERED, f"the turn of {user}")
    return site.ticket_of(user)


def visit_until_claimed(site: Installation, user: str) -> None:
    """Somebody opens their server, which is then theirs."""

    def visit() -> bool:
        site.client(user).page(f"/user/{user}/")
        return site.ticket_of(user).state is TicketState.CLAIMED

    wait_for(lambda: site.lease_of(user).state is LeaseState.ACTIVE, f"the start for {user}")
    assert site.client(user).wait_ready().ready
    wait_for(visit, f"the visit of {user}")


def press(site: Installation, user: str, label: str) -> requests.Response:
    """Press a button of the page."""
    client = site.client(user)
    html = client.page("/services/gpu/queue").text
    hidden = r'<input type="hidden" name="_xsrf" value="([^"]+)">'
    form = re.search(rf'action="([^"]+)" class="d-inline">\s*{hidden}\s*<button[^>]*>{label}<', html)
    assert form, f"no button {label!r} on: {text_of(html)}"
    return client.session.post(site.url + form[1], data={"_xsrf": form[2]}, allow_redirects=False, timeout=30)


def count_ticks(site: Installation) -> float:
    """Ticks that the controller has taken."""
    text = site.admin.session.get(f"{site.url}/services/gpu/metrics", timeout=30).text
    found = re.search(r"^gpuspawner_tick_seconds_count (\S+)$", text, re.MULTILINE)
    assert found, text[:500]
    return float(found[1])


def test_the_next_in_line_gets_the_card_and_comes(site: Installation) -> None:
    assert site.client("grace").spawn({"gpus": 1}).ready
    refused = site.client("ada").spawn({"gpus": 1})
    assert (refused.ready, refused.status) == (False, 409)
    assert refused.message.startswith(f"{FIRST} You asked for 1 GPU; 0 of 1 GPU is free now (1 in use).")
    assert "nobody is ahead of you" in text_of(site.client("ada").page("/services/gpu/queue").text)
    waited = site.ticket_of("ada")

    site.client("grace").stop()
    offered = wait_for_turn(site, "ada")
    assert (offered.id, offered.asked_at) == (waited.id, waited.asked_at)
    visit_until_claimed(site, "ada")
    assert site.cards_seen("ada") == site.uuids
    assert site.lease_of("ada").ticket_id == waited.id
    assert site.events("ticket.claimed")[0] == "its person opened the server"


def test_who_does_not_come_goes_to_the_end_and_the_second_time_out(site: Installation) -> None:
    assert site.client("grace").spawn({"gpus": 1}).ready
    ada, edsger = wait_in_line(site, "ada"), wait_in_line(site, "edsger")
    site.client("grace").stop()

    wait_for(lambda: site.ticket_of("ada").returns == 1, "the end of the window")
    back = site.ticket_of("ada")
    assert (back.state, back.reason) == (TicketState.WAITING, NOT_CLAIMED)
    assert back.queued_at > edsger.queued_at
    assert back.asked_at == ada.asked_at
    wait_for_turn(site, "edsger")
    assert site.containers("ada", running=True) == []
    press(site, "edsger", "Leave the line")  # ends what is, or is being, started for the turn

    wait_for(lambda: not site.ticket_of("ada").state.live, "the end of the second window", 60)
    assert site.ticket_of("ada").reason.startswith("it was your turn, and nobody opened the server in time")
    wait_for(lambda: not site.leases() and not site.containers(), "the release")


def test_what_runs_is_restarted_with_the_gpu_only_when_its_person_says_so(site: Installation) -> None:
    assert site.client("grace").spawn({"gpus": 1}).ready
    wait_in_line(site, "ada")
    assert site.client("ada").spawn({"gpus": 0}).ready
    before = site.started("ada")
    site.client("grace").stop()
    wait_for_turn(site, "ada")
    assert site.started("ada") == before
    (place,) = site.client("ada").gpu("GET", "/queue").json()["places"]
    assert place["switch_possible"]

    pressed = press(site, "ada", "Switch now")
    assert pressed.status_code == 303
    assert pressed.headers["Location"].startswith("/services/gpu/queue?open=")
    wait_for(lambda: site.ticket_of("ada").state is TicketState.CLAIMED, "the switch")
    assert site.client("ada").wait_ready().ready
    assert site.started("ada") != before
    assert site.cards_seen("ada") == site.uuids
    opened = site.client("ada").page("/services/gpu/queue").text
    assert "your default server runs with 1 GPU." in text_of(opened)


def test_place_and_offer_outlive_controller_and_hub(site: Installation) -> None:
    Cards(site.ledger, HOST).drain(site.uuids[0], reason="until the hub is gone", actor="root")
    asked = wait_in_line(site, "ada")
    assert site.ticket_of("ada").state is TicketState.WAITING, "a drained card is not given"
    site.kill("controller", "hub")
    Cards(site.ledger, HOST).undrain(site.uuids[0], reason="it is gone", actor="root")
    site.start("controller")
    offered = wait_for_turn(site, "ada")
    # Between the turn and the start: there is no hub that could start anything.
    site.kill("controller")
    site.start("hub", "controller")
    site.wait_hub()
    site.wait_controller()
    visit_until_claimed(site, "ada")
    claimed = site.ticket_of("ada")
    assert (claimed.id, claimed.asked_at, claimed.queued_at) == (asked.id, asked.asked_at, asked.queued_at)
    assert claimed.lease_id == offered.lease_id, "the offer of before"
    assert site.events("ticket.returned")[:1] != ["its server could not be started in time"]


def test_a_reservation_keeps_the_card_from_others_and_shortens_sessions(site: Installation) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    body = {"title": "Lab", "group": "lab", "devices": 1, "start": start.isoformat(), "length": "1 h"}
    made = site.admin.gpu("POST", "/reservations", json=body)
    assert made.status_code == 201, made.text

    refused = site.client("ada").spawn({"gpus": 1, "wait": False})
    assert "GPUs are free, but only for" in refused.message
    assert "accept a shortened session" in refused.message
    assert site.client("ada").spawn({"gpus": 1, "shorten": True}).ready
    assert site.lease_of("ada").ends_at == start
    site.client("ada").stop()
    wait_for(lambda: not site.leases(), "the release")

    # With its lead time, it keeps the card from now on.
    sooner = {**body, "lead": "3 h"}
    path = f"/reservations/{made.json()['id']}"
    assert site.admin.gpu("PUT", path, json=sooner).status_code == 200
    kept = site.client("ada").spawn({"gpus": 1, "shorten": True})
    assert kept.message.startswith(FIRST)
    assert "reserved for group `lab` (Lab)" in kept.message
    assert site.client("edsger").spawn({"gpus": 1}).ready, "one of the group"
    assert site.lease_of("edsger").reservation == (made.json()["id"], start)


def test_a_drained_card_is_not_given(site: Installation) -> None:
    url = f"/cards/{site.uuids[0]}"
    assert site.admin.gpu("POST", f"{url}/drain", json={"reason": "a new fan"}).status_code == 200
    wait_in_line(site, "ada")
    ticks = count_ticks(site)
    wait_for(lambda: count_ticks(site) > ticks + 2, "three ticks")
    assert site.ticket_of("ada").state is TicketState.WAITING
    assert site.admin.gpu("POST", f"{url}/undrain", json={"reason": "it turns"}).status_code == 200
    wait_for_turn(site, "ada")


def test_a_budget_that_is_used_up_refuses(site: Installation) -> None:
    today = datetime.now(UTC).date()
    used = Usage("old", site.uuids[0], today, "barbara", "", "", "A100", Party(), held_seconds=3600)
    with site.ledger.write() as unit:
        unit.add_usage(HOST, [used])
    refused = site.client("barbara").spawn({"gpus": 1})
    assert not refused.ready
    assert "GPU-hours in" in refused.message
    assert "seven days" in refused.message
    budget = site.client("barbara").gpu("GET", "/me").json()["budget"]
    assert (budget["limit_hours"], budget["left_hours"]) == (1.0, 0.0)
    assert site.client("barbara").spawn({"gpus": 0}).ready
