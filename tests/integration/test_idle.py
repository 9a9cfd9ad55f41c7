"""Idle sessions, for real: all but the time that has passed, of which the ledger is told another story."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gpuspawner.core.idleness import Step, Verdict
from gpuspawner.core.model import Lease, LeaseState, Sample
from support.client import text_of
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for
from support.mail_server import MailStand

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
        users=("ada", "grace", "edsger"),
        layout="3xa100-40gb",
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


def verdict_of(site: Installation, lease: Lease) -> Verdict | None:
    """The newest verdict that rests on something."""
    with site.ledger.read() as unit:
        watch = unit.watches().get(lease.id)
    verdict = watch.verdict if watch else None
    return verdict if verdict and verdict.clock else None


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
    for user in site.users:
        assert site.client(user).spawn({"gpus": 1}).ready
    idle, working, computing = (site.lease_of(user) for user in site.users)
    site.simulation.set_load(working.devices[0], utilization=30, memory_mib=500)
    wait_for(lambda: works(site, working), "a sample of the load")
    site.client("edsger").page("/user/edsger/kernel?state=busy")
    for user in ("ada", "edsger"):
        open_terminal(site, user)
    for user in site.users:
        grow_old(site, user)
    wait_for(lambda: any("is stopped in 15 min" in one for one in site.events("session.")), "the warning")
    assert "is stopped in 15 min" in text_of(site.client("ada").page("/services/gpu/servers").text)
    wait_for(
        lambda: "is stopped in 15 min" in site.exec("ada", "cat /tmp/terminal"), "the line in her terminal"
    )
    assert "See https://hub.example.org/services/gpu/servers" in site.exec("ada", "cat /tmp/terminal")
    wait_for(
        lambda: any("is stopped in 15 min" in one for one in mails.texts_to("ada@example.org")), "the mail"
    )

    # The tab is open all the time, and that is no work; the server's own token may claim any activity.
    site.client("ada").page("/user/ada/")
    let_the_warning_pass(site, idle)
    wait_for(lambda: site.lease_of("ada").state is not LeaseState.ACTIVE, "the end of the idle session")
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
