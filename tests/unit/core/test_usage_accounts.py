"""Accounts of leases: held, sampled, active, peak, energy; by day; and clocks that jump."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Standing, Usage
from gpuspawner.core.model import Device, Lease, Outcome, Party, Sample
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.shares import accrue
from gpuspawner.core.usage import Accounts, find_end, held_by_day, split_days, take_accounts
from hypothesis import given
from hypothesis import strategies as st
from support.build import GIB, NOW, ago, device, lease, sample

HOUR = timedelta(hours=1)
CARD = device()
SLICE = device("MIG-0", parent="GPU-0", model="A100 MIG 1g.5gb")
LEASE = lease(created_at=ago(60))


def account(
    one: Lease | Sequence[Lease] = LEASE,
    samples: Iterable[Sample] = (),
    until: datetime = NOW,
    devices: Sequence[Device] = (CARD, SLICE),
    **more: Any,
) -> Accounts:
    """Accounts until now, with the same samples for every device."""
    seen = list(samples)
    return take_accounts(
        [one] if isinstance(one, Lease) else one,
        {d.uuid: d for d in devices},
        {d.uuid: seen for d in devices},
        **{"standings": {}, "until": until, "now": until} | more,
    )


def only(found: Accounts) -> Usage:
    (one,) = found.usage
    return one


def looks(*at_and_load: tuple[float, int | None], **changes: Any) -> list[Sample]:
    """Samples, each given by how many seconds ago it was and the utilisation."""
    return [sample(at=ago(s), utilization_percent=load, **changes) for s, load in at_and_load]


# -- held time ----------------------------------------------------------------------------------------------


def test_a_whole_account() -> None:
    held = replace(LEASE, image="base", server="big", party=Party(("lab",)), accounted_at=ago(20))
    found = account(held, looks((20, 0), (10, 90), (0, 0), power_milliwatts=300_000, memory_used_bytes=GIB))
    assert found.usage == (
        Usage(
            lease_id="lease1",
            device="GPU-0",
            day=NOW.date(),
            owner="ada",
            server="big",
            image="base",
            model="A100",
            party=Party(("lab",)),
            held_seconds=20,
            sampled_seconds=20,
            active_seconds=10,
            peak_memory_bytes=GIB,
            energy_joules=6000,
        ),
    )
    assert found.accounted_at == {"lease1": NOW}
    assert found.standings == {"ada": accrue(Standing(0, NOW), 20, ago(20), NOW)}


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 60),
        ({"accounted_at": ago(10)}, 10),
        ({"accounted_at": NOW}, 0),
        ({"state": S.RESERVED}, 60),
        ({"state": S.RELEASING, "ended_at": ago(40)}, 20),
        ({"state": S.QUARANTINED, "ended_at": ago(40), "state_since": ago(5)}, 20),
        ({"state": S.RELEASING, "ended_at": ago(-5)}, 60),
        ({"state": S.RELEASING, "ended_at": ago(40), "accounted_at": ago(50)}, 10),
        ({"state": S.RELEASING, "ended_at": ago(40), "accounted_at": ago(40)}, 0),
        ({"state": S.RELEASING, "ended_at": ago(40), "accounted_at": ago(30)}, 0),
        ({"state": S.RELEASING, "state_since": ago(15)}, 45),
        ({"state": S.QUARANTINED, "accounted_at": ago(15)}, 0),
        ({"outcome": Outcome(1, finished_at=ago(25))}, 35),
        ({"outcome": Outcome(1, finished_at=ago(3600))}, 60),
        ({"outcome": Outcome(1)}, 60),
        ({"devices": ()}, 0),
    ],
    ids=str,
)
def test_held_time(changes: dict[str, Any], seconds: float) -> None:
    found = account(replace(LEASE, **changes))
    assert sum(one.held_seconds for one in found.usage) == seconds
    assert list(found.accounted_at) == (["lease1"] if seconds else [])


def test_every_device_of_a_lease_and_a_slice_like_a_card() -> None:
    found = account(lease(S.ACTIVE, "GPU-0", "MIG-0"))
    assert [(one.device, one.model, one.held_seconds) for one in found.usage] == [
        ("GPU-0", "A100", 60),
        ("MIG-0", "A100 MIG 1g.5gb", 60),
    ]
    assert found.standings["ada"].gpu_seconds == pytest.approx(120, rel=1e-4)


def test_a_device_that_is_not_in_the_inventory() -> None:
    assert only(account(devices=())).model == "unknown"


def test_a_container_that_ended_by_itself_while_nobody_looked() -> None:
    found = account(outcomes={"lease1": Outcome(1, finished_at=ago(50))})
    assert only(found).held_seconds == 10
    assert found.accounted_at == {"lease1": ago(50)}


def test_two_sessions_of_a_person_count_together() -> None:
    before = Standing(1000, ago(60))
    found = account([LEASE, replace(LEASE, id="b", devices=("GPU-1",))], standings={"ada": before})
    assert found.standings["ada"].gpu_seconds == pytest.approx(1120, rel=1e-3)
    assert list(found.standings) == ["ada"]


@pytest.mark.parametrize(
    ("finished", "end"),
    [(None, NOW), (ago(10), ago(10)), (ago(61), NOW), (ago(-1), NOW), (ago(60), ago(60))],
)
def test_when_a_lease_ended(finished: datetime | None, end: datetime) -> None:
    assert find_end(LEASE, Outcome(0, finished_at=finished), NOW) == end
    assert find_end(LEASE, None, NOW) == NOW


# -- days ---------------------------------------------------------------------------------------------------

MIDNIGHT = datetime(2030, 5, 18, tzinfo=UTC)


def test_days_are_those_of_utc() -> None:
    found = account(
        replace(LEASE, created_at=MIDNIGHT - 2 * HOUR),
        [
            sample(at=MIDNIGHT + timedelta(seconds=s), utilization_percent=1, memory_used_bytes=m)
            for s, m in ((-10, 1), (0, 2), (10, 3))
        ],
        until=MIDNIGHT + HOUR,
    )
    assert [
        (one.day, one.held_seconds, one.active_seconds, one.peak_memory_bytes) for one in found.usage
    ] == [
        (date(2030, 5, 17), 7200, 10, 2),
        (date(2030, 5, 18), 3600, 10, 3),
    ]


MOMENTS = st.datetimes(datetime(2029, 12, 1), datetime(2031, 2, 1)).map(lambda t: t.replace(tzinfo=UTC))


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_the_days_of_a_time_come_to_its_length(since: datetime, length: timedelta) -> None:
    days = list(split_days(since, since + length))
    assert sum((end - start for _, start, end in days), timedelta(0)) == length
    assert all(start.date() == day and end - start <= timedelta(days=1) for day, start, end in days)
    assert len({day for day, *_ in days}) == len(days)
    assert [start for _, start, _ in days[1:]] == [end for *_, end in days[:-1]]


def test_no_days_of_a_negative_time() -> None:
    assert list(split_days(NOW, ago(1))) == []


def test_held_and_not_accounted_yet() -> None:
    two = lease(S.ACTIVE, "GPU-0", "GPU-1", created_at=MIDNIGHT - HOUR)
    over = lease(S.RELEASING, created_at=MIDNIGHT - HOUR, ended_at=MIDNIGHT, accounted_at=MIDNIGHT)
    assert held_by_day([two, over], MIDNIGHT + HOUR / 2) == {
        date(2030, 5, 17): 7200,
        date(2030, 5, 18): 3600,
    }
    assert held_by_day([two], MIDNIGHT - 2 * HOUR) == {}


# -- samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "sampled", "active"),
    [
        ([], 0, 0),
        (looks((0, 90)), 0, 0),
        (looks((10, 0), (0, 90)), 10, 10),
        (looks((10, 90), (0, 0)), 10, 0),
        (looks((10, 0), (0, 1)), 10, 10),
        (looks((10, 0), (0, None)), 0, 0),
        (looks((10, None), (0, 50)), 10, 10),
        (looks((55, 0), (0, 90)), 30, 30),
        (looks((90, 0), (50, 90)), 10, 10),
        (looks((10, 0), (-10, 90)), 10, 10),
        (looks((70, 0), (65, 90)), 0, 0),
        (looks((10, 0), (10, 90), (5, 90)), 5, 5),
        (looks((20, 0), (10, 90), (15, 90), (5, 90)), 15, 15),
        (looks((20, 0), (10, 0), (3610, 90), (3600, 90), (0, 0)), 20, 0),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, list) else str(value),
)
def test_what_samples_speak_for(samples: list[Sample], sampled: float, active: float) -> None:
    """Seconds ago and utilisation of each; the lease is a minute old."""
    one = only(account(samples=samples))
    assert (one.sampled_seconds, one.active_seconds, one.held_seconds) == (sampled, active, 60)


def test_peak_memory_is_of_the_lease_alone() -> None:
    taken = [sample(at=ago(s), memory_used_bytes=m) for s, m in ((60, 9), (40, 2), (20, 3), (10, None))]
    taken.append(sample(at=ago(-5), memory_used_bytes=9))
    assert only(account(samples=taken)).peak_memory_bytes == 3
    assert only(account(samples=looks((10, 0), (0, 0), memory_used_bytes=None))).peak_memory_bytes is None


def test_energy() -> None:
    taken = [sample(at=ago(s), power_milliwatts=p) for s, p in ((20, 1), (10, 300_000), (0, 100_000))]
    assert only(account(samples=taken)).energy_joules == 4000
    assert only(account(samples=looks((10, 0), (0, 0)))).energy_joules is None
    of_no_use = [sample(at=ago(s), power_milliwatts=0) for s in (10, 0)]
    assert only(account(samples=of_no_use)).energy_joules == 0


def test_the_power_of_a_card_is_not_that_of_its_slice() -> None:
    taken = looks((10, None), (0, None), power_milliwatts=300_000, memory_used_bytes=GIB)
    one = only(account(lease(S.ACTIVE, "MIG-0"), taken))
    assert (one.energy_joules, one.peak_memory_bytes, one.sampled_seconds) == (None, GIB, 0)


# -- whatever the clock does --------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from([2, 10, 10, 10, 25, 60, 3600, -3600, -10]), min_size=1, max_size=30)


@given(STEPS, st.integers(0, 30), st.lists(st.sampled_from([0, 50, None]), min_size=31, max_size=31))
def test_nothing_is_counted_twice_and_nothing_is_negative(
    steps: list[int], ends: int, loads: list[int | None]
) -> None:
    """A lease from its grant to its end, accounted for at every step of a clock that may jump.

    Conservation: what is held comes to the time from the grant to ``accounted_at``, whatever the way there.
    """
    now, one, taken, rows = NOW, replace(LEASE, created_at=NOW), [sample(at=NOW)], []
    standing: dict[str, Standing] = {}
    for n, step in enumerate(steps):
        now += timedelta(seconds=step)
        taken.append(sample(at=now, utilization_percent=loads[n], power_milliwatts=1000))
        if n == ends:
            one = replace(one, state=S.RELEASING, ended_at=now)
        found = account(one, taken, until=now, standings=standing)
        assert all(0 <= row.active_seconds <= row.sampled_seconds <= row.held_seconds for row in found.usage)
        assert all(row.held_seconds > 0 for row in found.usage)
        assert all((row.energy_joules or 0) <= row.held_seconds for row in found.usage)
        assert all(at > (one.accounted_at or NOW) for at in found.accounted_at.values())
        one = replace(one, accounted_at=found.accounted_at.get(one.id, one.accounted_at))
        rows += found.usage
        standing |= found.standings
        assert all(s.gpu_seconds >= 0 for s in standing.values())
    held = sum(row.held_seconds for row in rows)
    assert held == ((one.accounted_at or NOW) - NOW).total_seconds()
    assert sum(s.gpu_seconds for s in standing.values()) <= held + 1e-6


def test_a_clock_that_goes_on_by_an_hour_and_comes_back() -> None:
    one, held = LEASE, 0.0
    for now in (NOW, NOW + HOUR, NOW + timedelta(seconds=10), NOW + HOUR + timedelta(seconds=10)):
        found = account(one, until=now)
        one = replace(one, accounted_at=found.accounted_at.get(one.id, one.accounted_at))
        held += sum(row.held_seconds for row in found.usage)
    assert held == 60 + 3600 + 10
