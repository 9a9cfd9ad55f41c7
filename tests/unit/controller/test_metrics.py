"""Metrics: what is there is counted, what is not known is absent, and nobody's name is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gpuspawner.allocator.ssh import Entrance, SshDesk
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.controller.loop import TickReport
from gpuspawner.core.activity import Look, begin_activity
from gpuspawner.core.claims import Actor, ActorKind, Ticket, TicketState
from gpuspawner.core.culling import FINISHED, Watch
from gpuspawner.core.errors import RefusalKind
from gpuspawner.core.idleness import Clock, Limits, Step, Verdict
from gpuspawner.core.model import Event, LeaseState, Message, SpawnRequest
from gpuspawner.core.notices import Channel
from prometheus_client.parser import text_string_to_metric_families
from support.build import GIB, HOST, NOW, ago, record, sample
from support.ssh import KEYS

if TYPE_CHECKING:
    from support.controller import Office

Key = tuple[str, tuple[tuple[str, str], ...]]


def scrape(office: Office) -> dict[Key, float]:
    text = office.metrics.render().decode()
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def labels(found: dict[Key, float]) -> set[str]:
    """Every value of a label."""
    return {value for _, pairs in found for _, value in pairs}


def key(name: str, **labels: str) -> Key:
    return f"gpuspawner_{name}", tuple(sorted(labels.items()))


def ticket(id_: str, state: TicketState, minutes: float = 0, **changes: object) -> Ticket:
    at = NOW + timedelta(minutes=minutes)
    return replace(
        Ticket(id_, HOST, "ada", id_, SpawnRequest(1), "i", NOW, NOW, state, at, "r"),
        **changes,  # type: ignore[arg-type]
    )


def test_cards_and_leases(office: Office) -> None:
    office.add_lease("ada")
    office.add_lease("bob", "cpu-only", LeaseState.RESERVED, devices=())
    with office.services.ledger.write() as unit:
        busy = sample(
            utilization_percent=50, memory_used_bytes=GIB, temperature_celsius=61, power_milliwatts=250_500
        )
        unit.put_device(record("GPU-0", sample=busy))
        unit.put_device(record("GPU-1", index=1, sample=sample(utilization_percent=None)))
    found = scrape(office)
    states = {state: found[key("devices", state=state)] for state in ("free", "held", "drained", "unknown")}
    assert states == {"free": 1, "held": 1, "drained": 0, "unknown": 0}
    first = {"device": "GPU-0", "model": "A100"}
    assert found[key("device_utilization_ratio", **first)] == 0.5
    assert found[key("device_memory_used_bytes", **first)] == GIB
    assert found[key("device_temperature_celsius", **first)] == 61
    assert found[key("device_power_watts", **first)] == 250.5
    second = {"device": "GPU-1", "model": "A100"}
    assert key("device_utilization_ratio", **second) not in found, "unknown is not 0"
    assert key("device_temperature_celsius", **second) not in found
    assert found[key("leases", state="active")] == found[key("leases", state="reserved")] == 1
    assert found[key("ledger_readable")] == 1
    assert "ada" not in labels(found)


def test_what_is_old_is_absent(office: Office) -> None:
    office.now[0] = NOW + timedelta(minutes=1)
    found = scrape(office)
    assert found[key("devices", state="unknown")] == 2
    assert not [name for name, _ in found if "utilization" in name]
    assert found[key("device_memory_bytes", device="GPU-0", model="A100")] == 40 * GIB


def test_the_line(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.add_ticket(ticket("a", TicketState.WAITING))
        unit.add_ticket(ticket("b", TicketState.OFFERED))
    office.now[0] = NOW + timedelta(minutes=10)
    found = scrape(office)
    assert found[key("queue_tickets", state="waiting")] == found[key("queue_tickets", state="offered")] == 1
    assert found[key("queue_longest_wait_seconds")] == 600


def test_waits_are_counted_once(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.add_ticket(ticket("old", TicketState.CLAIMED, -5))
        unit.add_ticket(ticket("a", TicketState.CLAIMED, 2))
        unit.add_ticket(ticket("b", TicketState.ENDED, 3))
    office.now[0] = NOW + timedelta(minutes=4)
    for _ in range(2):
        found = scrape(office)
        assert found[key("queue_wait_seconds_count")] == 1
        assert found[key("queue_wait_seconds_sum")] == 120
        assert found[key("queue_ended_total", how="claimed")] == 1
        assert found[key("queue_ended_total", how="ended")] == 1
    with office.services.ledger.write() as unit:
        unit.add_ticket(ticket("c", TicketState.CLAIMED, 5))
    office.now[0] = NOW + timedelta(minutes=6)
    assert scrape(office)[key("queue_wait_seconds_count")] == 2


def test_refusals_by_kind(office: Office) -> None:
    def refuse(minutes: float, kind: object) -> None:
        at = NOW + timedelta(minutes=minutes)
        with office.services.ledger.write() as unit:
            unit.add_event(Event(at, "lease.refused", "why", "ada", data={"kind": kind}))

    refuse(-1, "not_allowed")
    refuse(1, "not_allowed")
    refuse(2, "never_possible")
    refuse(2, "ada-made-this-up")
    office.now[0] = NOW + timedelta(minutes=3)
    for _ in range(2):
        found = scrape(office)
        counts = {kind.value: found[key("refusals_total", kind=kind.value)] for kind in RefusalKind}
        assert counts == {"not_allowed": 1, "never_possible": 1, "not_free_now": 0, "no_inventory": 0}
    assert "ada" not in labels(found)


def test_a_clock_that_was_set_back_counts_nothing_twice(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.add_ticket(ticket("a", TicketState.CLAIMED, 2))
    for minutes in (4, -60, 3, 5):
        office.now[0] = NOW + timedelta(minutes=minutes)
        found = scrape(office)
        assert found[key("queue_wait_seconds_count")] == 1


def test_ticks(office: Office) -> None:
    assert scrape(office)[key("tick_failures_total", step="grant")] == 0
    office.metrics.observe_tick(TickReport(0.25, (), ("grant",)))
    found = scrape(office)
    assert found[key("tick_seconds_sum")] == 0.25
    assert found[key("tick_failures_total", step="grant")] == 1


def test_sessions_by_verdict_and_what_cannot_be_seen(office: Office) -> None:
    quiet = begin_activity(ago(3600))
    seen = replace(quiet, unknown=(), look=Look(ago(1)))
    blind = replace(seen, unknown=("what its GPUs do", "what its notebooks do"))
    old = replace(quiet, unknown=(), look=Look(ago(1000)))
    warned = Verdict(Step.WARN, Clock.GPUS, NOW, "idle", ())
    watches = {"warned": seen, "blind": blind, "old": old}
    for n, name in enumerate((*watches, "never")):
        office.add_lease("ada", name, devices=(f"GPU-{n}",), server=name)
    office.add_lease("ada", "starts", LeaseState.RESERVED, devices=(), server="starts")
    with office.services.ledger.write() as unit:
        for name, activity in watches.items():
            deaf = ago(1900) if name == "blind" else None
            unit.put_watches([Watch(name, Limits(), activity, warned, deaf_since=deaf)])
    found = scrape(office)
    verdicts = {v: found[key("session_verdicts", verdict=v)] for v in ("keep", "warn", "stop", "unknown")}
    assert verdicts == {"keep": 0, "warn": 1, "stop": 0, "unknown": 3}
    sources = ("gpus", "notebooks", "processors", "everything")
    assert [found[key("session_signals_unknown", source=one)] for one in sources] == [1, 1, 0, 2]
    assert found[key("sessions_deaf")] == 1


def test_why_sessions_were_stopped(office: Office) -> None:
    def stop(name: str, *idle: Event, end: str | None = None) -> None:
        lease = office.add_lease("ada", name, LeaseState.RELEASED, devices=(), server=name)
        with office.services.ledger.write() as unit:
            why = end or next((one.reason for one in reversed(idle)), "its time is over")
            unit.update_lease(replace(lease, end_reason=why))
            for event in (*idle, Event(office.now[0], "session.ended", "over", "controller", name)):
                unit.add_event(replace(event, lease_id=name))

    def idle(clock: str, reason: str = "idle", **data: object) -> Event:
        return Event(office.now[0], "session.idle_stop", reason, "culler", data={"clock": clock, **data})

    stop("before")
    scrape(office)
    office.now[0] += timedelta(seconds=10)
    stop("gpus", idle("gpus"))
    stop("session", idle("session"))
    stop("finished", idle("gpus", FINISHED))
    stop("only reported, then its time was over", idle("gpus", dry_run=True))
    over = Event(office.now[0], "session.idle_over", "goes on", "culler")
    stop("withdrawn, then its time was over", idle("gpus"), over, end="its time is over")
    stop("put off by a teacher, then that was over", idle("gpus"), end="grace extended it until then: exam")
    stop("withdrawn, then idle again", idle("session"), over, idle("session"))
    with office.services.ledger.write() as unit:
        unit.add_event(Event(office.now[0], "session.stopping", "why", "root", "before"))
    for _ in range(2):
        found = scrape(office)
        reasons = ("idle_gpus", "idle_session", "finished", "end", "by_hand")
        assert [found[key("session_stops_total", reason=one)] for one in reasons] == [1, 2, 1, 3, 1]


def test_messages_that_were_delivered_or_not(office: Office) -> None:
    scrape(office)
    office.now[0] += timedelta(seconds=10)
    with office.services.ledger.write() as unit:
        for n in range(3):
            unit.add_message(Message(office.now[0], "ada", str(n), "culler"))
        unit.put_delivery(1, Channel.MAIL, ended_at=office.now[0], outcome="sent")
        unit.put_delivery(2, Channel.MAIL, ended_at=office.now[0], outcome="given_up")
        unit.put_delivery(3, Channel.MAIL, tries=1, not_before=office.now[0])
    for _ in range(2):
        found = scrape(office)
        assert found[key("notices_total", channel="mail", outcome="sent")] == 1
        assert found[key("notices_total", channel="mail", outcome="given_up")] == 1
        assert found[key("notices_total", channel="webhook", outcome="sent")] == 0
        assert found[key("notices_failing", channel="mail")] == 1


def test_logins(office: Office) -> None:
    assert scrape(office)[key("login_service_silent")] == 0
    assert scrape(office)[key("login_trouble_total", what="bad_token")] == 0
    office.now[0] += timedelta(seconds=1)
    with office.services.ledger.write() as unit:
        for kind in ("login.silent", "login.bad-token", "login.bad-token", "login.no-groups", "login.first"):
            unit.add_event(Event(office.now[0], kind, "r", "login"))
    found = scrape(office)
    assert found[key("login_service_silent")] == 1
    assert found[key("login_trouble_total", what="bad_token")] == 2
    assert found[key("login_trouble_total", what="no_groups")] == 1
    assert scrape(office)[key("login_trouble_total", what="bad_token")] == 2


def test_ssh(office: Office) -> None:
    keys = SshKeys(office.services.ledger)
    keys.add("ada", KEYS[0], actor=Actor("ada", ActorKind.PERSON))
    desk = SshDesk(
        office.services.ledger, HOST, lambda _: None, lambda: NOW, office.metrics.count_ssh_refusal
    )
    fingerprint = keys.list("ada")[0].fingerprint
    assert desk.ask("SHA256:nobody") is None
    assert desk.ask(fingerprint) is None
    found = scrape(office)
    assert found[key("ssh_keys")] == 1
    assert found[key("ssh_connections")] == 0
    assert found[key("ssh_refusals_total", cause="unknown_key")] == 1
    assert found[key("ssh_refusals_total", cause="no_server")] == 1
    assert found[key("ssh_refusals_total", cause="too_many")] == 0
    office.add_lease("ada", "l1", container_id="c1")
    entered = desk.enter(fingerprint, "127.64.0.0", "", "g")
    assert isinstance(entered, Entrance)
    assert desk.enter(fingerprint, "127.64.0.7", "", "g") == "There is no such server of yours."
    assert scrape(office)[key("ssh_connections")] == 1
    desk.fail(entered.session.id, "Nothing answers.")
    found = scrape(office)
    assert found[key("ssh_connections")] == 0
    assert found[key("ssh_refusals_total", cause="no_answer")] == 1
    assert found[key("ssh_refusals_total", cause="not_theirs")] == 1
    assert "ada" not in labels(found)
