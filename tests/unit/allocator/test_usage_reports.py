"""Reports and budgets over the real ledger, with sessions that run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.usage import UsageReports, count_running, held_in_window
from gpuspawner.core.claims import Usage
from gpuspawner.core.errors import InvalidRequest, RefusalKind, Refused
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.model import Party
from gpuspawner.core.order import Claim
from gpuspawner.core.policy import allow
from gpuspawner.core.waits import Refusals
from support.build import HOST, NOW, ago, lease, record
from support.office import Office

TODAY = NOW.date()
BEFORE = Usage(
    "old", "GPU-0", TODAY - timedelta(6), "ada", "", "base", "A100", lease().party, 7200, 7200, 3600
)
RUNS = lease(S.ACTIVE, "GPU-0", "GPU-1", created_at=ago(7200), accounted_at=ago(3600))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Ada had two hours six days ago, and holds two cards since two hours, one of which is accounted for."""
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        for n in range(3):
            unit.put_device(record(f"GPU-{n}", index=n))
        unit.add_lease(RUNS)
        unit.add_lease(lease(S.RELEASING, "GPU-2", id="b", owner="bob", ended_at=ago(0), created_at=ago(900)))
        today = replace(BEFORE, lease_id=RUNS.id, day=TODAY, held_seconds=3600)
        unit.add_usage(HOST, [BEFORE, today, replace(today, device="GPU-1")])
        unit.add_usage(HOST, [replace(BEFORE, day=TODAY - timedelta(7), held_seconds=99 * 3600)])
    yield made
    made.close()


@pytest.fixture
def reports(ledger: Ledger) -> UsageReports:
    return UsageReports(ledger, HOST, lambda: NOW)


def rows(reports: UsageReports, by: str, since: date, until: date, owner: str | None = None):
    return [(r.key, r.held_hours, r.sessions) for r in reports.report(by, since, until, owner).rows]


def test_what_runs_is_in_the_report(reports: UsageReports) -> None:
    assert rows(reports, "user", TODAY, TODAY) == [("ada", 4, 1), ("bob", 0.25, 1)]
    assert rows(reports, "user", TODAY - timedelta(6), TODAY) == [("ada", 6, 2), ("bob", 0.25, 1)]
    assert rows(reports, "model", TODAY, TODAY) == [("A100", 4.25, 2)]
    assert rows(reports, "device", TODAY, TODAY, "ada") == [("GPU-0", 2, 1), ("GPU-1", 2, 1)]


def test_what_runs_is_not_in_a_report_on_other_days(reports: UsageReports) -> None:
    assert rows(reports, "user", TODAY - timedelta(6), TODAY - timedelta(1)) == [("ada", 2, 1)]
    assert rows(reports, "user", TODAY, TODAY, "nobody") == []


def test_what_runs_is_held_and_not_known(reports: UsageReports) -> None:
    row = reports.report("lease", TODAY, TODAY, "ada").rows[0]
    assert (row.key, row.held_hours, row.sampled_hours, row.active_hours) == ("lease1", 4, 4, 2)


def test_wrong_questions(reports: UsageReports) -> None:
    with pytest.raises(InvalidRequest, match=r"no report by 'shoe'; there are: user, group, course"):
        reports.report("shoe", TODAY, TODAY)
    with pytest.raises(InvalidRequest, match=r"2030-05-16, is before the first, 2030-05-17"):
        reports.report("user", TODAY, TODAY - timedelta(1))


def test_a_budget(reports: UsageReports) -> None:
    balance = reports.budget_of("ada", allow(gpu_hours_per_week=10.0))
    assert (balance.used_hours, balance.left_hours) == (6, 4)
    assert balance.limit.rule == "settings"
    assert balance.back_on == TODAY + timedelta(1)
    assert balance.ends_at == NOW + timedelta(hours=2)
    assert reports.budget_of("bob", allow(gpu_hours_per_week=10.0)).ends_at is None
    assert reports.budget_of("eve", allow()).used_hours == 0


def test_everybody_at_once_for_a_tick(ledger: Ledger) -> None:
    with ledger.read() as unit:
        live = unit.live_leases(HOST)
        found = held_in_window(unit, HOST, live, NOW)
    assert found == {"ada": {TODAY - timedelta(6): 7200, TODAY: 4 * 3600}, "bob": {TODAY: 900}}
    assert [count_running(live, name) for name in ("ada", "bob", "eve")] == [2, 0, 0]


def test_a_session_that_began_before_the_window(ledger: Ledger) -> None:
    old = lease(S.ACTIVE, "GPU-9", id="c", owner="eve", created_at=NOW - timedelta(days=30))
    with ledger.read() as unit:
        held = held_in_window(unit, HOST, [old], NOW, owner="eve")["eve"]
    assert sum(held.values()) == 6.5 * 86400


def test_waits_of_what_really_happens(tmp_path: Path) -> None:
    """Bob begins at once; ada and cyd have turns, of which cyd's is taken; dan leaves; fay is refused."""
    book = Ledger(tmp_path / "line.db")
    office = Office(book)
    held = office.start(2, "bob")
    for owner in ("ada", "cyd", "dan"):
        office.ask(owner=owner)
        office.wait(1)
    with pytest.raises(Refused):
        office.start(3, "fay")
    office.line.leave(office.line.view().places[2].ticket.id, actor="dan")
    office.wait(7)
    office.free(held)
    assert [ticket.owner for ticket in office.line.grant_turns()] == ["ada", "cyd"]
    ada, cyd = (place.ticket for place in office.line.view().places)
    office.line.lapse(ada.id, reason="nobody came", at_the_end=True)
    office.start(1, "cyd")
    office.line.opened(cyd.id)
    office.line.leave(ada.id, actor="ada")
    reports = UsageReports(book, HOST, office.clock)
    waits, refusals = reports.waits(TODAY, TODAY)
    assert (waits.turns.count, waits.turns.p50_seconds, waits.turns.longest_seconds) == (2, 9 * 60, 10 * 60)
    assert {claim: spread.count for claim, spread in waits.by_claim.items()} == {Claim.USE: 2}
    assert waits.self_started.count == 0, "cyd's turn had come before"
    assert (waits.left.count, waits.left.p50_seconds, waits.untaken.count) == (1, 60, 1)
    assert waits.at_once == 1, "only bob's"
    assert refusals == (Refusals(RefusalKind.NOT_ALLOWED, 1, 1),)
    assert reports.waits(TODAY + timedelta(1), TODAY + timedelta(1))[0].turns.count == 0
    book.close()


def test_who_starts_the_server_while_they_wait(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "line.db")
    office = Office(book)
    held = office.start(2, "bob")
    office.ask(owner="ada")
    office.wait(4)
    office.free(held)
    office.start(1, "ada")
    waits, _ = UsageReports(book, HOST, office.clock).waits(TODAY, TODAY)
    assert waits.turns == waits.self_started
    assert (waits.turns.count, waits.turns.p50_seconds, waits.at_once) == (1, 240, 1)
    book.close()


def test_a_course_s_report_is_the_sum_of_what_the_ledger_holds_of_its_sessions(
    ledger: Ledger, reports: UsageReports
) -> None:
    vision = Party(("students",), ("vision",))
    accounts = [
        replace(
            BEFORE,
            lease_id=f"lesson{n}",
            owner=f"student{n % 7}",
            day=TODAY - timedelta(n % 3),
            party=vision if n % 4 else Party(("students",), ("vision", "sound")),
            held_seconds=100.0 * n,
        )
        for n in range(30)
    ]
    runs = lease(S.ACTIVE, id="now", owner="student1", devices=("GPU-7",), party=vision, created_at=ago(1800))
    with ledger.write() as unit:
        unit.add_usage(HOST, accounts)
        unit.add_lease(runs)
        held = [one for one in unit.usage(HOST, TODAY - timedelta(2), TODAY) if "vision" in one.party.courses]
    total = sum(one.held_seconds for one in held) + 1800
    found = {key: hours for key, hours, _ in rows(reports, "course", TODAY - timedelta(2), TODAY)}
    assert found["vision"] * 3600 == pytest.approx(total)
    assert total == sum(one.held_seconds for one in accounts) + 1800
    lesson = sum(one.held_seconds for one in accounts if "sound" in one.party.courses)
    assert found["sound"] * 3600 == pytest.approx(lesson)
