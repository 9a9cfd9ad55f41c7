"""Adding accounts up."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Usage
from gpuspawner.core.model import Party
from gpuspawner.core.reports import By, Report, ReportRow, build_report

DAY = date(2026, 11, 25)
ONE = Usage(
    lease_id="l1",
    device="GPU-0",
    day=DAY,
    owner="ada",
    server="big",
    image="base",
    model="A100",
    party=Party(("lab", "staff"), ("cs1",)),
    held_seconds=7200,
    sampled_seconds=5400,
    active_seconds=3600,
    peak_memory_bytes=5,
    energy_joules=3.6e6,
)


def other(**changes: Any) -> Usage:
    """An hour of bob's that nothing is known of."""
    unknown = {"held_seconds": 3600, "sampled_seconds": 0, "active_seconds": 0}
    return replace(
        ONE,
        **{"lease_id": "l2", "owner": "bob", "server": "", "party": Party(), **unknown}
        | {"peak_memory_bytes": None, "energy_joules": None}
        | changes,
    )


def report(*accounts: Usage, by: By = By.USER, since: date = DAY, until: date = DAY) -> Report:
    return build_report(accounts, by, since, until)


def test_a_row() -> None:
    (row,) = report(ONE, replace(ONE, device="GPU-1", peak_memory_bytes=9)).rows
    assert row == ReportRow(
        key="ada",
        about="",
        held_hours=4,
        sampled_hours=3,
        active_hours=2,
        wasted_hours=1,
        peak_memory_bytes=9,
        energy_kwh=2,
        sessions=1,
    )


def test_what_is_not_known_is_not_zero() -> None:
    (row,) = report(other()).rows
    assert (row.held_hours, row.sampled_hours, row.sessions) == (1, 0, 1)
    assert row.active_hours is row.wasted_hours is row.peak_memory_bytes is row.energy_kwh is None


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (By.USER, [("ada", "", 2), ("bob", "", 1)]),
        (By.GROUP, [("lab", "", 2), ("staff", "", 2), ("", "", 1)]),
        (By.COURSE, [("cs1", "", 2), ("", "", 1)]),
        (By.IMAGE, [("base", "", 3)]),
        (By.MODEL, [("A100", "", 3)]),
        (By.DEVICE, [("GPU-0", "A100", 3)]),
        (By.DAY, [("2026-11-25", "", 3)]),
        (By.LEASE, [("l1", "ada/big", 2), ("l2", "bob", 1)]),
    ],
)
def test_by(by: By, rows: list[tuple[str, str, float]]) -> None:
    found = report(ONE, other(), by=by)
    assert [(row.key, row.about, row.held_hours) for row in found.rows] == rows
    assert (found.total.held_hours, found.total.sessions) == (3, 2)


def test_the_most_held_comes_first_and_days_come_in_order() -> None:
    earlier = other(day=DAY - timedelta(1), held_seconds=60)
    assert [row.key for row in report(other(), ONE).rows] == ["ada", "bob"]
    found = report(ONE, earlier, by=By.DAY, since=DAY - timedelta(9))
    assert [row.key for row in found.rows] == ["2026-11-24", "2026-11-25"]


def test_other_days_are_left_out() -> None:
    accounts = [other(day=DAY + timedelta(n)) for n in (-2, -1, 0, 1)]
    assert report(*accounts, since=DAY - timedelta(1)).total.held_hours == 2


def test_nothing() -> None:
    found = report()
    assert (found.rows, found.total.held_hours, found.total.sessions) == ((), 0, 0)
