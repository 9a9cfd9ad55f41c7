"""The calendar of a host with as many series as it may have: one week of it, and the page that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Reservations, Sessions, UsageReports
from gpuspawner.allocator.line import Line
from gpuspawner.controller.identity import READ, Caller
from gpuspawner.controller.links import Links
from gpuspawner.controller.pages.page import Visit
from gpuspawner.controller.pages.reservations import load_calendar
from gpuspawner.controller.people import PolicyReader
from gpuspawner.controller.services import Services
from gpuspawner.core.claims import Actor, ActorKind, Holder, Reservation
from gpuspawner.core.occurrences import check_reservation, open_occurrences
from gpuspawner.passport.known import KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.settings import Settings

from tests.support.fake_images import FakeImages

from .crowd import COURSES, HOST, NOW, STALE_AFTER, Size, make_crowd
from .figures import Figure, median
from .places import make_folder

SERIES = 1000
"""The most that a host may have."""
RUNS = 5
"""In a repeat."""
ZONE = "Europe/Zurich"
RULES = (
    *("FREQ=WEEKLY;COUNT=52",) * 6,
    *("FREQ=WEEKLY;UNTIL=20271201T000000Z;BYDAY=MO,WE,FR",) * 2,
    "FREQ=DAILY;COUNT=365",
    "FREQ=MONTHLY;COUNT=18;BYDAY=2MO",
)
"""In turn; of ten series, so many are like this."""
FIRST_DAYS = ((2, 9), (3, 9), (4, 13), (5, 11), (6, 8), (7, 13), (8, 10), (9, 14), (10, 12), (11, 9))
"""Month and day of 2026."""


def measure_weeks(repeats: int) -> list[Figure]:
    """A week, and its page for somebody who teaches one course of twenty."""
    series = [_make_series(n) for n in range(SERIES)]
    begin = NOW - timedelta(days=NOW.weekday(), hours=NOW.hour)
    end = begin + timedelta(days=7)
    shown = len(open_occurrences(series, (), begin, end))
    with make_folder() as folder:
        visit = _visit(folder, series)
        load_calendar(visit)  # imports, the policy, the first connection
        pages = [_spend(lambda: load_calendar(visit)) for _ in range(repeats)]
        visit.services.ledger.close()
    weeks = [_spend(lambda: open_occurrences(series, (), begin, end)) for _ in range(repeats)]
    notes = {"occurrences in the week": shown}
    return [
        Figure("week", f"A week of {SERIES:,} series, p50", "ms", weeks, notes=notes),
        Figure("week-page", "The same, and all that its page says, p50", "ms", pages, notes=notes),
    ]


def _spend(work: Callable[[], object]) -> float:
    """Milliseconds, the median of some runs."""
    found = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begin))
    return median(found)


def _make_series(n: int) -> Reservation:
    """Begun in the last forty weeks, on the second Monday of a month."""
    month, day = FIRST_DAYS[n // 10 % len(FIRST_DAYS)]
    start = NOW.replace(month=month, day=day, hour=6 + n % 12)
    return check_reservation(
        Reservation(
            id=f"{n:016x}",
            host=HOST,
            title=f"Lab {n}",
            holder=Holder("course", f"course{n % COURSES:02}"),
            devices=1,
            start=start,
            length=timedelta(hours=2),
            zone=ZONE,
            actor=Actor(f"person{n % COURSES:04}", ActorKind.PERSON),
            made_at=NOW - timedelta(days=90),
            rule=RULES[n % len(RULES)],
            lead=timedelta(minutes=10),
        ),
        NOW,
    )


def _visit(folder: Path, series: list[Reservation]) -> Visit:
    ledger = make_crowd(Size(64, 0, reservations=0), folder / "policy.yml").store(folder / "ledger.db")
    with ledger.write() as unit:
        for one in series:
            unit.put_reservation(one)
    return Visit(
        _make_services(folder, ledger),
        Caller("person0001", "person0001", frozenset({"group01"}), frozenset({READ})),
        Links(hub="/hub/", service="/services/gpu/"),
        query={"zone": ZoneInfo(ZONE).key},
    )


def _make_services(folder: Path, ledger: Ledger) -> Services:
    settings = Settings.model_validate(
        {
            "state_dir": str(folder),
            "images": {f"image{n}": f"registry.example.org/image{n}:1" for n in range(4)},
            "policy": str(folder / "policy.yml"),
            "controller": {"enabled": True},
        }
    )
    return Services(
        ledger=ledger,
        host=HOST,
        sessions=Sessions(ledger, HOST, lambda: NOW),
        hub=None,  # type: ignore[arg-type]  # nothing that is measured asks it
        policies=PolicyReader(settings),
        images=KnownImages({}, FakeImages(), Shelf(folder)),
        clock=lambda: NOW,
        stale_after=STALE_AFTER,
        line=Line(ledger, HOST, STALE_AFTER, lambda: NOW),
        cards=Cards(ledger, HOST),
        usage=UsageReports(ledger, HOST, lambda: NOW),
        reservations=Reservations(ledger, HOST, lambda: NOW),
    )
