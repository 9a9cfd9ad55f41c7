"""Idle sessions, for real: all but the time that has passed, of which the ledger is told another story."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
from gpuspawner.core.idleness import Step, Verdict
from gpuspawner.core.model import Lease, LeaseState, Sample
from support.client import text_of
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for

pytestmark = pytest.mark.docker

POLICY = """
groups:
  default: {gpus_per_person: 1, gpus_per_server: 1}
idle_sessions: stop
"""
LOOK = timedelta(seconds=6)
AGE = timedelta(hours=3)
SINCE = timedelta(minutes=16)
"""A little more than the first warning's time."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    controller = {"enabled": True, "port": free_port(), "tick": 0.2, "look": f"{LOOK.seconds} s"}
    with Installation(
        users=("ada", "grace", "edsger"),
        layout="3xa100-40gb",
        config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}",
        settings={"policy": str(policy), "controller": controller},
        tick=0.2,
        controller=True,
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    for uuid in site.uuids:
        site.simulation.idle(uuid)
    site.stop_all()


def grow_old(site: Installation, user: str) -> None:
    """The session has run for three hours in which its GPU did nothing, as far as the ledger is told."""
    lease, now = site.lease_of(user), datetime.now(UTC)
    began = now - AGE
    count = int(AGE.total_seconds() / 10)
    times = [began + n * timedelta(seconds=10) for n in range(count)]
    found = [(uuid, Sample(at, 0)) for uuid in lease.devices for at in times]
    with site.ledger.write() as unit:
        unit.drop_watches([lease.id])
        unit.add_samples(HOST, found)
        unit.update_lease(replace(unit.lease(lease.id) or lease, created_at=began))


def let_the_warning_pass(site: Installation, lease: Lease) -> None:
    """The first warning was given longer ago."""
    with site.ledger.write() as unit:
        watch = unit.watches()[lease.id]
        assert watch.warned_at is not None
        unit.put_watches([replace(watch, warned_at=watch.warned_at - SINCE)])


def verdict_of(site: Installation, lease: Lease) -> Verdict | None:
    """The newest verdict that rests on something."""
    with site.ledger.read() as unit:
        watch = unit.watches().get(lease.id)
    verdict = watch.verdict if watch else None
    return verdict if verdict and verdict.clock else None


def test_who_is_idle_is_warned_and_stopped_and_nobody_else(site: Installation) -> None:
    for user in site.users:
        assert site.client(user).spawn({"gpus": 1}).ready
    idle, working, computing = (site.lease_of(user) for user in site.users)
    site.simulation.set_load(working.devices[0], utilization=30, memory_mib=500)
    site.client("edsger").page("/user/edsger/kernel?state=busy")
    for user in site.users:
        grow_old(site, user)
    wait_for(lambda: any("is stopped in 15 min" in one for one in site.events("session.")), "the warning")
    assert "is stopped in 15 min" in text_of(site.client("ada").page("/services/gpu/servers").text)

    # The tab is open all the time, and that is no work; the server's own token may claim any activity.
    site.client("ada").page("/user/ada/")
    let_the_warning_pass(site, idle)
    wait_for(lambda: site.lease_of("ada").state is not LeaseState.ACTIVE, "the end of the idle session")
    wait_for(lambda: not site.containers("ada"), "the end of its container")
    page = text_of(site.client("ada").page("/services/gpu/servers").text)
    assert "Your session was ended: Its GPUs have been idle for" in page
    assert "of the 2 h allowed while nobody waits." in page

    for lease in (working, computing):
        found = verdict_of(site, lease)
        assert found is not None
        assert found.step is Step.KEEP
    assert [one.owner for one in site.leases() if one.state is LeaseState.ACTIVE] == ["grace", "edsger"]
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
    wait_for(lambda: site.lease_of("ada").state is not LeaseState.ACTIVE, "the end of the idle session")
    assert [site.lease_of(*of).state for of in (("ada", "two"), ("grace",))] == [LeaseState.ACTIVE] * 2


def test_a_killed_controller_goes_on_and_without_the_agent_nobody_is_stopped(
    site: Installation,
) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    lease = site.lease_of("ada")
    grow_old(site, "ada")

    def warned_at() -> datetime | None:
        with site.ledger.read() as unit:
            watch = unit.watches().get(lease.id)
        return watch.warned_at if watch else None

    warned = wait_for(warned_at, "the warning")
    site.kill("controller")
    site.start("controller")
    site.wait_controller()
    found = verdict_of(site, lease)
    assert found is not None
    assert (found.step, warned_at()) == (Step.WARN, warned)

    site.kill("agent")
    wait_for(lambda: warned_at() is None, "that nothing is known any more", seconds=60)
    found = verdict_of(site, lease)
    assert found is None, "the GPU cannot be seen"
    assert site.lease_of("ada").state is LeaseState.ACTIVE
    site.start("agent")
