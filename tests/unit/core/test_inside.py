"""What stops a session first, and what Keep for 1 h does about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from gpuspawner.core.culling import NO_WISH, Watch, Wish
from gpuspawner.core.idleness import Step
from gpuspawner.core.inside import Ahead, Cause, Remedy, choose_remedy, find_stop
from support.build import NOW, lease
from support.idling import watched

IDLE_STOP = NOW + timedelta(minutes=15)
"""Of who has been idle for 105 min of 120 and was warned now."""


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def idle(**changes: object) -> Watch:
    return replace(watched("lease1", timedelta(minutes=105)), **{"warned_at": NOW, "warned": 15} | changes)


def test_nothing_is_known() -> None:
    assert find_stop(lease(), None, NO_WISH, NOW, acts=True) is None


def test_an_end_that_was_set() -> None:
    found = find_stop(
        lease(ends_at=at(30), end_reason="grace stops it: exam", warned=15), None, NO_WISH, NOW, acts=False
    )
    assert found == Ahead(at(30), Cause.END, "Grace stops it: exam.", 15)


def test_idleness_that_was_warned_of() -> None:
    found = find_stop(lease(), idle(), NO_WISH, NOW, acts=True)
    assert found is not None
    assert (found.at, found.cause, found.warned) == (IDLE_STOP, Cause.IDLE, 15)
    assert "idle for 105 min of the 2 h allowed" in found.reason


@pytest.mark.parametrize(
    ("watch", "wish", "acts"),
    [
        (idle(), NO_WISH, False),
        (idle(reported=True), NO_WISH, True),
        (idle(warned_at=None, warned=None), NO_WISH, True),
        (idle(verdict=None), NO_WISH, True),
        (idle(), Wish(kept_until=at(1)), True),
        (watched("lease1", timedelta(minutes=20)), NO_WISH, True),
    ],
    ids=["not acted on", "only reported", "not warned", "no look", "kept meanwhile", "not idle for long"],
)
def test_idleness_that_stops_nobody(watch: Watch, wish: Wish, acts: bool) -> None:
    assert find_stop(lease(), watch, wish, NOW, acts=acts) is None


def test_who_was_kept_until_a_moment_ago_may_be_stopped() -> None:
    found = find_stop(lease(), idle(), Wish(kept_until=NOW), NOW, acts=True)
    assert found is not None
    assert found.cause is Cause.IDLE


@pytest.mark.parametrize(("end", "cause"), [(14, Cause.END), (16, Cause.IDLE)])
def test_what_comes_first_is_told(end: float, cause: Cause) -> None:
    found = find_stop(lease(ends_at=at(end)), idle(), NO_WISH, NOW, acts=True)
    assert found is not None
    assert found.cause is cause


def test_a_step_that_is_no_warning_is_no_stop() -> None:
    watch = idle()
    assert watch.verdict is not None
    kept = replace(watch, verdict=replace(watch.verdict, step=Step.KEEP))
    assert find_stop(lease(), kept, NO_WISH, NOW, acts=True) is None


@pytest.mark.parametrize(
    ("stop", "remedy"),
    [
        (None, Remedy.KEEP),
        (Ahead(at(5), Cause.IDLE, "", None), Remedy.KEEP),
        (Ahead(at(59), Cause.END, "", None), Remedy.EXTEND),
        (Ahead(at(60), Cause.END, "", None), Remedy.KEEP),
    ],
)
def test_what_lets_it_go_on(stop: Ahead | None, remedy: Remedy) -> None:
    assert choose_remedy(stop, NOW) is remedy
