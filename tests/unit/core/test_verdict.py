"""Keep, warn or stop: with every signal there, missing, old or contradictory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from gpuspawner.core.activity import Activity, GpuLook, Kernels, Look, begin_activity, observe
from gpuspawner.core.idleness import Clock, IdleLimits, Limits, Step, Verdict, judge_session
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, ago

MINUTE = timedelta(minutes=1)
BOTH = Limits(IdleLimits(), session=timedelta(hours=4))
IDLE = Kernels(busy=0, idle=1, terminals=0, ran_at=None)
BUSY = Kernels(busy=1, idle=0, terminals=0, ran_at=None)


def known(**minutes_ago: float) -> Activity:
    """A session of ten hours, seen now; in it something was last done so many minutes ago."""
    times = {"gpu_at": 600, "busy_at": 600, "cpu_at": 600, "hand_at": 600} | minutes_ago
    at = {name: ago(60 * minutes) for name, minutes in times.items()}
    look = Look(NOW, GpuLook(None, None), IDLE, 0.0)
    return Activity(**at, cores=0.0, unknown=(), look=look)


def judge(activity: Activity, limits: Limits = BOTH, **more: Any) -> Verdict:
    values: dict[str, Any] = {"started_at": ago(36_000), "has_gpus": True}
    return judge_session(activity, limits, NOW, **values | more)


def outcome(activity: Activity, **more: Any) -> tuple[Step, Clock | None, float | None]:
    """The step, whose clock, and minutes from now to what comes."""
    found = judge(activity, **more)
    return found.step, found.clock, None if found.at is None else (found.at - NOW) / MINUTE


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[Step, Clock | None, float | None]]] = {
    "GPUs work": ({"gpu_at": 0}, {}, (Step.KEEP, Clock.GPUS, 105)),
    "a kernel is busy": ({"busy_at": 0}, {}, (Step.KEEP, Clock.GPUS, 105)),
    "GPUs idle for a while": ({"gpu_at": 100, "hand_at": 0}, {}, (Step.KEEP, Clock.GPUS, 5)),
    "GPUs idle, time to warn": ({"gpu_at": 105, "hand_at": 0}, {}, (Step.WARN, Clock.GPUS, 15)),
    "processors work, GPUs idle: it is warned": (
        {"gpu_at": 200, "cpu_at": 0}, {}, (Step.WARN, Clock.GPUS, 15),
    ),
    "processors work, GPUs idle, and it was warned": (
        {"gpu_at": 200, "cpu_at": 0}, {"warned_at": ago(900)}, (Step.STOP, Clock.GPUS, 0),
    ),
    "somebody waits, GPUs idle": ({"gpu_at": 20}, {"demanded": True}, (Step.WARN, Clock.GPUS, 15)),
    "somebody waits, GPUs work": ({"gpu_at": 0}, {"demanded": True}, (Step.KEEP, Clock.GPUS, 15)),
    "the limit got shorter: the first warning is whole": (
        {"gpu_at": 100}, {"demanded": True}, (Step.WARN, Clock.GPUS, 15),
    ),
    "warned for less than the whole warning": (
        {"gpu_at": 130}, {"warned_at": ago(600)}, (Step.WARN, Clock.GPUS, 5),
    ),
    "a warning from before it worked does not count": (
        {"gpu_at": 120}, {"warned_at": ago(130 * 60)}, (Step.WARN, Clock.GPUS, 15),
    ),
    "no GPU, something done lately": ({"hand_at": 10}, {"has_gpus": False}, (Step.KEEP, Clock.SESSION, 215)),
    "no GPU, nothing done": ({"hand_at": 230}, {"has_gpus": False}, (Step.WARN, Clock.SESSION, 15)),
    "no GPU: nobody can wait for it": (
        {"hand_at": 100}, {"has_gpus": False, "demanded": True}, (Step.KEEP, Clock.SESSION, 125),
    ),
    "it was asked to be kept": (
        {"gpu_at": 200}, {"kept_until": NOW + 30 * MINUTE}, (Step.KEEP, Clock.GPUS, 30),
    ),
    "what it was kept for is over": ({"gpu_at": 200}, {"kept_until": NOW}, (Step.WARN, Clock.GPUS, 15)),
}  # fmt: skip


@pytest.mark.parametrize(("times", "more", "expected"), CASES.values(), ids=CASES)
def test_each_case(times: dict, more: dict, expected: tuple) -> None:
    assert outcome(known(**times), **more) == expected


def test_nobody_is_warned_in_the_first_minutes() -> None:
    eager = Limits(IdleLimits(free=5 * MINUTE, wanted=5 * MINUTE), grace=15 * MINUTE)
    young = begin_activity(ago(360))
    young = replace(young, look=Look(NOW, GpuLook(None, None), IDLE, 0.0), unknown=())
    found = judge(young, eager, started_at=ago(360))
    assert (found.step, found.at) == (Step.KEEP, NOW + 9 * MINUTE)
    assert "just begun" in found.reason


UNKNOWN = {
    "never looked at": begin_activity(ago(36_000)),
    "looked at too long ago": replace(known(), look=Look(ago(150), GpuLook(None, None), IDLE, 0.0)),
    "GPUs not seen": replace(known(), unknown=("what its GPUs do",)),
    "its server does not answer": replace(known(), unknown=("what its notebooks do",)),
    "the clock was set back": replace(known(), look=Look(NOW + MINUTE, GpuLook(None, None), IDLE, 0.0)),
}


@pytest.mark.parametrize("activity", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("more", [{}, {"demanded": True}, {"warned_at": ago(3600)}])
def test_what_is_not_known_stops_and_warns_nobody(activity: Activity, more: dict) -> None:
    found = judge(activity, **more)
    assert (found.step, found.at) == (Step.KEEP, None)
    assert found.reason.startswith("It is not known what")


def test_processors_that_are_not_seen_are_no_matter_of_the_gpus() -> None:
    unseen = replace(known(gpu_at=105), unknown=("what its processors do",))
    assert outcome(unseen) == (Step.WARN, Clock.GPUS, 15)
    assert outcome(unseen, has_gpus=False) == (Step.KEEP, None, None)


@pytest.mark.parametrize(("minutes", "step"), [(0, Step.KEEP), (1, Step.KEEP), (2, Step.WARN)])
def test_a_limit_as_short_as_the_warning_warns_nobody_who_works(minutes: float, step: Step) -> None:
    short = Limits(IdleLimits(free=10 * MINUTE, wanted=10 * MINUTE))
    assert outcome(known(gpu_at=minutes), limits=short)[0] is step


def test_no_limit_no_stop() -> None:
    found = judge(known(), Limits(gpus=None, session=None))
    assert (found.step, found.at, found.reason) == (Step.KEEP, None, "No limit is set for it.")


def test_the_reason_and_what_it_rests_on() -> None:
    found = judge(replace(known(gpu_at=130, cpu_at=0), cores=1.5))
    assert found.reason == (
        "Its GPUs have been idle for 2 h of the 2 h allowed while nobody waits. "
        "1.5 processors work, which keeps the session and not its GPUs."
    )
    assert [(one.what, one.source) for one in found.signals] == [
        ("GPUs", "samples of the driver"),
        ("Notebooks and terminals", "its server"),
        ("Processors", "the Docker Engine"),
    ]
    assert all(one.says for one in found.signals)


def test_a_notebook_that_waits_for_input_is_named() -> None:
    stalled = replace(known(gpu_at=110), stalled=True, busy_since=ago(3 * 3600))
    assert (
        "busy for 3 h without using processors or GPUs: it seems to wait for input" in judge(stalled).reason
    )


# -- whatever is seen ---------------------------------------------------------------------------------------

WINDOW = timedelta(minutes=30)
EAGER = Limits(IdleLimits(free=WINDOW, wanted=WINDOW, warning=5 * MINUTE), session=WINDOW, grace=0 * MINUTE)
SEEN = st.fixed_dictionaries(
    {
        "gpu": st.sampled_from(["idle", "works", "unseen", "unknown"]),
        "kernels": st.sampled_from([IDLE, BUSY, None]),
        "cores": st.sampled_from([0.0, 0.5, None]),
        "minutes": st.sampled_from([0.2, 1, 1.5, 7, 20]),
    }
)


@given(st.lists(SEEN, min_size=1, max_size=60), st.booleans(), st.booleans())
def test_nothing_that_works_or_is_not_known_is_ever_stopped(seen: list, has_gpus: bool, warned: bool) -> None:
    now, cpu = NOW, 0.0
    activity = begin_activity(now)
    working_at: datetime = now
    """When GPU work or a busy kernel was last there, or was not known; one that waits for input aside."""
    for one in seen:
        step = one["minutes"] * MINUTE
        now += step
        cpu += (one["cores"] or 0.0) * step.total_seconds()
        gpu = {
            "idle": GpuLook(None, None),
            "works": GpuLook(now, None),
            "unseen": GpuLook(None, now),
            "unknown": None,
        }[one["gpu"]]
        if not has_gpus:
            gpu = None
        look = Look(now, gpu, one["kernels"], None if one["cores"] is None else cpu)
        activity = observe(activity, look, has_gpus=has_gpus)
        missing = one["kernels"] is None or (has_gpus and one["gpu"] in ("unseen", "unknown"))
        works = (has_gpus and one["gpu"] != "idle") or (one["kernels"] is not IDLE and not activity.stalled)
        working_at = now if works else working_at
        found = judge_session(
            activity,
            EAGER,
            now,
            started_at=NOW,
            has_gpus=has_gpus,
            demanded=True,
            warned_at=NOW if warned else None,
        )
        if missing or (one["cores"] is None and not has_gpus):
            assert (found.step, found.at) == (Step.KEEP, None)
        if now - working_at < WINDOW:
            assert found.step is not Step.STOP
        if found.step is Step.STOP:
            assert not missing
