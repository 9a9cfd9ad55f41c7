"""Idle sessions, for real: all but the time that has passed, of which the ledger is told another story."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from gpuspawner.allocator import Line
from gpuspawner.core.activity import begin_activity
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Step, Verdict
from gpuspawner.core.model import Lease, LeaseState, Sample
from support.client import text_of
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for
from support.mail_server import MailStand
from support.shifted_clock import ShiftedClock

pytestmark = pytest.mark.docker

POLICY = """
groups:
  default: {gpus_per_person: 1, gpus_per_server: 1, keep: 30 min}
idle_sessions: stop
"""
LOOK = timedelta(seconds=6)
AGE = timedelta(hours=3)
SINCE = timedelta(minutes=16)
"""A little more than the first warning's time."""


@pytest.fixture(scope="module")
def mails() -> Iterator[MailStand]:
    with MailStand() as stand:
        yield stand


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mails: MailStand) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    controller = {"enabled": True, "port": free_port(), "tick": 0.2, "look": f"{LOOK.seconds} s"}
    notices = {
        "hub": "https://hub.example.org",
        "mail": {
            "host": "127.0.0.1",
            "port": mails.port,
            "security": "none",
            "sender": "gpu@example.org",
            "domain": "example.org",
        },
    }
    with Installation(
        users=("ada", "grace", "edsger", "barbara"),
        layout="2xa100-40gb,1xl40s",
        config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}",
        settings={"policy": str(policy), "controller": controller, "notices": notices},
        tick=0.2,
        controller=True,
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    with site.ledger.read() as unit:
        waiting = unit.live_tickets(HOST)
    for ticket in waiting:
        Line(site.ledger, HOST).leave(ticket.id, actor=ticket.owner)
    site.start(*(name for name in site.names if not site.alive(name)))
    for uuid in site.uuids:
        site.simulation.idle(uuid)
    site.stop_all()


def grow_old(site: Installation, user: str, age: timedelta = AGE) -> None:
    """The session has run for so long in which its GPU did nothing, as far as the ledger is told."""
    lease, now = site.lease_of(user), datetime.now(UTC)
    began = now - age
    count = int(age.total_seconds() / 10)
    times = [began + n * timedelta(seconds=10) for n in range(count)]
    found = [(uuid, Sample(at, 0)) for uuid in lease.devices for at in times]
    with site.ledger.write() as unit:
        noted = unit.watches()[lease.id]
        unit.put_watches([Watch(lease.id, noted.limits, begin_activity(began))])
        for uuid in lease.devices:  # what others did on it before
            before = (uuid, lease.created_at.strftime("%Y-%m-%d %H:%M:%S.%f"))
            unit._db.exec_driver_sql("DELETE FROM samples WHERE device = ? AND at < ?", before)
        unit.add_samples(HOST, found)
        unit.update_lease(replace(unit.lease(lease.id) or lease, created_at=began))


def works(site: Installation, lease: Lease) -> bool:
    """Whether the ledger has been told of work; samples come to it some seconds late."""
    with site.ledger.read() as unit:
        found = unit.recent_samples(HOST, lease.devices[0], lease.created_at)
    return any(sample.utilization_percent for sample in found)


def let_the_warning_pass(site: Installation, lease: Lease) -> None:
    """The first warning was given longer ago."""
    with site.ledger.write() as unit:
        watch = unit.watches()[lease.id]
        assert watch.warned_at is not None
        unit.put_watches([replace(watch, warned_at=watch.warned_at - SINCE)])


def is_warned(site: Installation, lease: Lease) -> datetime | None:
    with site.ledger.read() as unit:
        watch = unit.watches().get(lease.id)
    return watch.warned_at if watch else None


def looks(site: Installation, count: int = 1) -> None:
    """Wait until everybody who runs was looked into so often from now on."""
    for _ in range(count):
        now = datetime.now(UTC)
        wait_for(lambda: all(at > now for at in looked_at(site)), "a look at everybody")  # noqa: B023


def looked_at(site: Installation) -> list[datetime]:
    with site.ledger.read() as unit:
        watches = unit.watches()
    running = [one.id for one in site.leases() if one.state is LeaseState.ACTIVE]
    found = [watches[id_].activity.look for id_ in running]
    return [one.at if one else datetime.min.replace(tzinfo=UTC) for one in found]


def state_of(site: Installation, lease: Lease) -> LeaseState:
    """Of this very session: one that has grown old is not its server's newest any more."""
    with site.ledger.read() as unit:
        return (unit.lease(lease.id) or lease).state


def verdict_of(site: Installation, lease: Lease) -> Verdict | None:
    """The newest verdict that rests on something."""
    with site.ledger.read() as unit:
        watch = unit.watches().get(lease.id)
    verdict = watch.verdict if watch else None
    return verdict if verdict and verdict.clock else None


def claim_activity(site: Installation, user: str) -> None:
    """What a person can do with the token that is in their own server."""
    token = site.exec(user, "printf %s $JUPYTERHUB_API_TOKEN")
    later = (datetime.now(UTC) + timedelta(minutes=50)).isoformat()
    answer = requests.post(
        f"{site.hub_url}/hub/api/users/{user}/activity",
        headers={"Authorization": f"token {token}"},
        json={"last_activity": later, "servers": {"": {"last_activity": later}}},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    model = site.client(user).model()
    assert model
    assert model["last_activity"] > datetime.now(UTC).isoformat()


def start_again(site: Installation, stopped: Lease) -> None:
    """What the Hub says where the session was, its start page, and the link that starts the same again."""
    ada = site.client(stopped.owner)
    gone = ada.page(f"/user/{stopped.owner}/lab").text
    assert "Your last server was stopped: Its GPUs have been idle for" in text_of(gone)
    assert f"opt-again={stopped.id}" in gone
    form = ada.page("/hub/spawn").text
    assert "Your last server was stopped: Its GPUs have been idle for" in text_of(form)
    (link,) = re.findall(r'href="(\?opt-again=[^"]+)"', form)
    ada.page(f"/hub/spawn{link}")
    assert ada.wait_ready().ready
    again = site.lease_of(stopped.owner)
    assert (again.image, len(again.devices)) == (stopped.image, len(stopped.devices))
    assert "has ended" not in text_of(ada.page("/services/gpu/servers").text)


def open_terminal(site: Installation, user: str) -> None:
    """One that notes all that stands in it."""
    site.exec(user, "script -qfc 'sleep 600' /tmp/terminal >/dev/null 2>&1 </dev/null &")
    wait_for(lambda: site.exec(user, "ls /dev/pts").split()[0] == "0", "the terminal")


def test_who_is_idle_is_warned_and_stopped_and_nobody_else(site: Installation, mails: MailStand) -> None:
    people = ("ada", "grace", "edsger")
    for user in people:
        assert site.client(user).spawn({"gpus": 1}).ready
    idle, working, computing = (site.lease_of(user) for user in people)
    site.simulation.set_load(working.devices[0], utilization=30, memory_mib=500)
    wait_for(lambda: works(site, working), "a sample of the load")
    site.client("edsger").page("/user/edsger/kernel?state=busy")
    for user in ("ada", "edsger"):
        open_terminal(site, user)
    for user in people:
        grow_old(site, user)
    wait_for(lambda: any("is stopped in 15 min" in one for one in site.events("session.")), "the warning")
    assert "is stopped in 15 min" in text_of(site.client("ada").page("/services/gpu/servers").text)
    wait_for(
        lambda: "is stopped in 15 min" in site.exec("ada", "cat /tmp/terminal"), "the line in her terminal"
    )
    where = "See https://hub.example.org/services/gpu/servers"
    wait_for(lambda: where in site.exec("ada", "cat /tmp/terminal"), "where to look, in the same line")
    wait_for(
        lambda: any("is stopped in 15 min" in one for one in mails.texts_to("ada@example.org")), "the mail"
    )

    # The tab is open all the time, and that is no work; the server's own token may claim any activity.
    site.client("ada").page("/user/ada/")
    claim_activity(site, "ada")
    let_the_warning_pass(site, idle)
    wait_for(lambda: state_of(site, idle) is not LeaseState.ACTIVE, "the end of the idle session")
    wait_for(lambda: not site.containers("ada"), "the end of its container")
    page = text_of(site.client("ada").page("/services/gpu/servers").text)
    assert "Your session was ended: Its GPUs have been idle for" in page
    assert "of the 2 h allowed while nobody waits." in page
    start_again(site, idle)
    wait_for(
        lambda: any("was ended: Its GPUs" in one for one in mails.texts_to("ada@example.org")), "the mail"
    )
    assert len(mails.texts_to("ada@example.org")) == 2

    for lease in (working, computing):
        found = verdict_of(site, lease)
        assert found is not None
        assert found.step is Step.KEEP, f"{lease.owner}: {found.reason} {found.signals}"
    assert [one.owner for one in site.leases() if one.state is LeaseState.ACTIVE] == [
        "grace",
        "edsger",
        "ada",
    ]
    assert "***" not in site.exec("edsger", "cat /tmp/terminal")
    assert {one.to for one in mails.received} == {"ada@example.org"}
    history = site.run("gpuspawner", "history", "ada", "--host", HOST, "--ledger", str(site.ledger.path))
    assert "GPUs (samples of the driver): last worked, or not seen, at" in history


ASK = """
import json, os, sys, urllib.error, urllib.request
url, method = sys.argv[1:3]
request = urllib.request.Request(
    url, method=method, data=sys.argv[3].encode() or None,
    headers={"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]},
)
try:
    answer = urllib.request.urlopen(request, timeout=10)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("none", error)
"""


def ask_inside(site: Installation, url: str, method: str = "GET", body: str = "") -> tuple[str, str]:
    """What a program in ada's server gets with the server's own token: status and text."""
    words = " ".join(shlex.quote(word) for word in ("python3", "-c", ASK, url, method, body))
    status, _, text = site.exec("ada", words).partition(" ")
    return status, text


def test_a_server_s_own_token_keeps_no_card_and_reaches_its_own_session_only(site: Installation) -> None:
    for user in ("ada", "grace"):
        assert site.client(user).spawn({"gpus": 1}).ready
    assert site.client("ada").spawn({"gpus": 0}, "two").ready
    mine, others = site.lease_of("ada"), [site.lease_of("ada", "two").id, site.lease_of("grace").id]
    where = site.exec("ada", "printenv GPUSPAWNER_SESSION_URL").strip()

    # -- the controller, from inside: its own session, and nothing beside it
    status, text = ask_inside(site, where)
    assert status == "200", text
    seen = json.loads(text)
    assert [gpu["uuid"] for gpu in seen["gpus"]] == list(mine.devices)
    assert (seen["stop"], seen["finish"]) == (None, False)
    api = where.removesuffix("/session")
    for path in ("/me", "/leases", "/cards", *(f"/leases/{one}/stop" for one in (mine.id, *others))):
        method, body = ("POST", '{"reason": "r"}') if path.endswith("stop") else ("GET", "")
        assert ask_inside(site, f"{api}{path}", method, body)[0] == "404", "only this is to be reached there"
    token = next(
        one.partition("=")[2]
        for one in site.container("ada")["Config"]["Env"]
        if one.startswith("JUPYTERHUB_API_TOKEN=")
    )
    for path in ("/me", "/leases", f"/leases/{mine.id}", f"/leases/{others[0]}", "/cards", "/queue"):
        headers = {"Authorization": f"token {token}"}
        answer = requests.get(f"{site.url}/services/gpu/api{path}", headers=headers, timeout=10)
        assert answer.status_code == 403, path

    # -- whatever it tells the Hub of its person's activity
    hub = site.exec("ada", "printenv JUPYTERHUB_ACTIVITY_URL").strip()
    later = (datetime.now(UTC) + timedelta(minutes=55)).strftime("%Y-%m-%dT%H:%M:%SZ")
    forged = json.dumps({"last_activity": later, "servers": {"": {"last_activity": later}}})
    assert ask_inside(site, hub, "POST", forged)[0] == "200"
    grow_old(site, "ada")
    wait_for(lambda: (json.loads(ask_inside(site, where)[1])["stop"] or {}).get("warned"), "the warning")
    assert ask_inside(site, hub, "POST", forged)[0] == "200"
    shown = json.loads(ask_inside(site, where)[1])["stop"]
    assert (shown["cause"], shown["warned"]) == ("idle", 15)
    let_the_warning_pass(site, mine)
    wait_for(lambda: state_of(site, mine) is not LeaseState.ACTIVE, "the end of the idle session")
    assert [site.lease_of(*of).state for of in (("ada", "two"), ("grace",))] == [LeaseState.ACTIVE] * 2


def test_a_killed_controller_goes_on_and_without_the_agent_nobody_is_stopped(
    site: Installation,
) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    lease = site.lease_of("ada")
    grow_old(site, "ada")

    warned = wait_for(lambda: is_warned(site, lease), "the warning")
    site.kill("controller")
    site.start("controller")
    site.wait_controller()
    found = verdict_of(site, lease)
    assert found is not None
    assert (found.step, is_warned(site, lease)) == (Step.WARN, warned)

    site.kill("agent")
    wait_for(lambda: is_warned(site, lease) is None, "that nothing is known any more", seconds=60)
    found = verdict_of(site, lease)
    assert found is None, "the GPU cannot be seen"
    assert state_of(site, lease) is LeaseState.ACTIVE
    site.start("agent")


def test_who_waits_shortens_the_limit_of_whom_they_wait_for_and_keeping_has_a_bound(
    site: Installation,
) -> None:
    models = {
        "ada": "NVIDIA A100-SXM4-40GB (simulated)",
        "edsger": "NVIDIA A100-SXM4-40GB (simulated)",
        "grace": "NVIDIA L40S (simulated)",
    }
    held = {}
    for user, model in models.items():
        assert site.client(user).spawn({"gpus": 1, "model": model}).ready
        held[user] = site.lease_of(user)
        grow_old(site, user, timedelta(minutes=40))
    other, wanted = held["ada"], held["grace"]
    # Another policy is for sessions to come.
    policy = Path(site.settings["policy"])
    policy.write_text(POLICY.replace("keep:", "idle_gpu: 20 min, keep:"))
    looks(site, 2)
    assert (is_warned(site, other), is_warned(site, wanted)) == (None, None), "40 min of 2 h"

    waiting = site.client("barbara").spawn({"gpus": 1, "model": models["grace"]})
    assert "in line" in waiting.message
    wait_for(lambda: is_warned(site, wanted), "the warning of whom she waits for")
    found = verdict_of(site, wanted)
    assert found is not None
    assert found.at is not None
    assert found.at - datetime.now(UTC) > timedelta(minutes=14), "the whole first warning is left"
    assert "of the 30 min allowed while somebody waits" in found.reason
    assert is_warned(site, other) is None

    grace = site.client("grace")
    assert grace.gpu("POST", f"/leases/{wanted.id}/keep").status_code == 200
    wait_for(lambda: is_warned(site, wanted) is None, "the end of the warning")
    refused = grace.gpu("POST", f"/leases/{wanted.id}/keep")
    assert refused.status_code == 409
    assert "it may be kept for 30 min in all (default); it was kept for 30 min so far" in refused.text
    with site.ledger.write() as unit:  # the half hour passes
        unit.put_wish(wanted.id, replace(unit.wish_of(wanted.id), kept_until=datetime.now(UTC)))
    wait_for(lambda: is_warned(site, wanted), "the next warning")
    let_the_warning_pass(site, wanted)
    wait_for(lambda: [one.devices for one in site.leases(user="barbara")] == [wanted.devices], "her turn", 60)
    assert state_of(site, other) is LeaseState.ACTIVE
    policy.write_text(POLICY)


def test_finish_and_release(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    lease = site.lease_of("ada")
    ada.page("/user/ada/kernel?state=busy")
    assert ada.gpu("POST", f"/leases/{lease.id}/finish", json={"finish": True}).status_code == 200
    grow_old(site, "ada", timedelta(minutes=5))
    looks(site, 2)
    assert state_of(site, lease) is LeaseState.ACTIVE
    ada.page("/user/ada/kernel?state=idle&ran=2000-01-01T00:00:00Z")
    with site.ledger.write() as unit:  # it was idle for some minutes
        watch = unit.watches()[lease.id]
        quiet = replace(begin_activity(lease.created_at - timedelta(minutes=5)), look=watch.activity.look)
        unit.put_watches([replace(watch, activity=quiet)])
    wait_for(lambda: state_of(site, lease) is not LeaseState.ACTIVE, "the end that its person asked for")
    page = text_of(ada.page("/services/gpu/servers").text)
    assert "Nothing runs in it any more, and its person asked that it ends then." in page


def test_a_clock_that_jumps_stops_nobody(site: Installation, tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    for user in ("ada", "grace"):
        assert site.client(user).spawn({"gpus": 1}).ready
    idle, ending = site.lease_of("ada"), site.lease_of("grace")
    grow_old(site, "ada")
    now = datetime.now(UTC)
    with site.ledger.write() as unit:
        known = unit.lease(ending.id) or ending
        unit.update_lease(replace(known, ends_at=now + timedelta(minutes=30), end_reason="a lecture"))
    with clock.seen_by(site, "agent", "controller"):
        wait_for(lambda: is_warned(site, idle), "the warning")
        for shift in (timedelta(hours=1), timedelta(hours=2), timedelta(0)):
            clock.shift(shift)
            wait_for(lambda: clock.is_seen(site), "a report by the clock that was set", 60)
            time.sleep(2 * LOOK.total_seconds())
            assert [state_of(site, one) for one in (idle, ending)] == [LeaseState.ACTIVE] * 2
