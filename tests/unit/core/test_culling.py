"""What idleness asks for: warnings once each, their withdrawal, and the end; and who is waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from gpuspawner.core.activity import GpuLook, Kernels, Look, begin_activity
from gpuspawner.core.claims import Holder, Pin, Terms
from gpuspawner.core.culling import (
    FINISHED,
    QUIET,
    STILL_DEMANDED,
    GivenEnd,
    Told,
    Watch,
    Wish,
    find_demanded,
    plan_idle,
    plan_keep,
)
from gpuspawner.core.idleness import IdleLimits, Limits, Step
from gpuspawner.core.model import Lease, LeaseState, SpawnRequest
from gpuspawner.core.policy import Limit
from gpuspawner.core.situation import Situation
from support.build import NOW, ago, lease, record, ticket

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LIMITS = Limits(IdleLimits(free=120 * MINUTE, wanted=30 * MINUTE, warning=15 * MINUTE))
HELD = lease(LeaseState.ACTIVE, "A100-0", id="held", owner="ada", created_at=ago(36_000))
IDLE = Kernels(busy=0, idle=1, terminals=0, ran_at=None)


def watch(now: datetime, idle_minutes: float) -> Watch:
    """Seen just now; its GPUs have been idle for so long."""
    activity = begin_activity(now - idle_minutes * MINUTE)
    seen = replace(activity, unknown=(), look=Look(now, GpuLook(None, None), IDLE, 0.0), cores=0.0)
    return Watch("held", LIMITS, seen)


def live_through(minutes: range, *, works: range = range(0), **more: object) -> list[tuple[int, str]]:
    """What is told in each minute, of a session whose GPUs work in some of them and not in the others."""
    told: list[tuple[int, str]] = []
    known = watch(NOW, 0)
    for minute in minutes:
        now = NOW + minute * MINUTE
        look = Look(now, GpuLook(now if minute in works else None, None), IDLE, 0.0)
        gpu_at = now if minute in works else known.activity.gpu_at
        known = replace(known, activity=replace(known.activity, look=look, gpu_at=gpu_at))
        known, news = plan_idle(known, HELD, now, demanded=False, **more)  # type: ignore[arg-type]
        if news is not None:
            told.append((minute, news.kind.removeprefix("session.idle_")))
            if news.gives or news.kind.endswith("stop"):
                break
    return told


def test_each_warning_is_given_once_and_then_it_stops() -> None:
    assert live_through(range(200)) == [(105, "warned"), (115, "warned"), (119, "warned"), (120, "stop")]


def test_work_withdraws_the_warning_and_the_clock_begins_anew() -> None:
    assert live_through(range(260), works=range(110, 112)) == [
        (105, "warned"),
        (110, "over"),
        (111 + 105, "warned"),
        (111 + 115, "warned"),
        (111 + 119, "warned"),
        (111 + 120, "stop"),
    ]


def test_who_asks_to_be_kept_is_warned_anew_afterwards() -> None:
    wish = Wish(NOW + 165 * MINUTE, 60 * MINUTE)
    assert live_through(range(300), wish=wish)[0] == (165, "warned")
    assert live_through(range(300), wish=wish)[-1] == (180, "stop")


def test_a_clock_that_is_not_believed_warns_and_stops_nobody() -> None:
    assert live_through(range(300), hold_stops=True) == []


def test_a_controller_that_was_away_gives_the_whole_first_warning() -> None:
    now = NOW + 300 * MINUTE
    known, news = plan_idle(watch(now, 300), HELD, now, demanded=False)
    assert news is not None
    assert (news.kind, news.gives, known.warned, known.verdict and known.verdict.at) == (
        "session.idle_warned", None, 15, now + 15 * MINUTE,
    )  # fmt: skip


def test_a_controller_that_was_away_within_the_warnings_goes_on_where_it_was() -> None:
    warned = replace(watch(NOW, 112), warned_at=ago(7 * 60), warned=15)
    known, news = plan_idle(warned, HELD, NOW, demanded=False)
    assert (news, known.verdict and known.verdict.at) == (None, NOW + 8 * MINUTE)
    late = replace(watch(NOW, 117), warned_at=ago(12 * 60), warned=15)
    _, news = plan_idle(late, HELD, NOW, demanded=False)
    assert news == Told(
        "session.idle_warned",
        f"Your session is stopped in 3 min, at {NOW + 3 * MINUTE:%H:%M} UTC, if nothing is done in it "
        "until then. Its GPUs have been idle for 117 min of the 2 h allowed while nobody waits.",
    )


def test_what_cannot_be_seen_withdraws_the_warning() -> None:
    blind = watch(NOW, 118)
    blind = replace(blind, warned_at=ago(13 * 60), warned=5)
    blind = replace(blind, activity=replace(blind.activity, unknown=("what its GPUs do",)))
    known, news = plan_idle(blind, HELD, NOW, demanded=True)
    assert news is not None
    assert (news.kind, known.warned_at, known.warned) == ("session.idle_over", None, None)


@pytest.mark.parametrize(("demanded", "step"), [(False, Step.KEEP), (True, Step.WARN)])
def test_somebody_who_waits_shortens_the_limit(demanded: bool, step: Step) -> None:
    known, _ = plan_idle(watch(NOW, 40), HELD, NOW, demanded=demanded)
    assert known.verdict is not None
    assert known.verdict.step is step


def test_nobody_waits_for_a_session_without_a_gpu() -> None:
    without = replace(HELD, devices=())
    known = replace(watch(NOW, 40), limits=Limits(LIMITS.gpus, session=50 * MINUTE))
    known, _ = plan_idle(known, without, NOW, demanded=True)
    assert known.verdict is not None
    assert "waits" not in known.verdict.reason


# -- an end that was given ----------------------------------------------------------------------------------


def given_end(idle_minutes: float = 130) -> tuple[Watch, Lease]:
    """A session whose end came ten minutes ago, and that the Hub has not stopped yet."""
    at = NOW - 10 * MINUTE
    known = replace(watch(NOW, idle_minutes), given=GivenEnd(at, NOW + 5 * HOUR, "long enough", 5))
    return known, replace(HELD, ends_at=at, end_reason="idle", warned=1)


def test_an_end_that_has_not_come_about_is_told_once_and_stays() -> None:
    known, ending = given_end()
    after, news = plan_idle(known, ending, NOW, demanded=True)
    assert (after.given, news) == (known.given, None)


def test_who_works_again_before_the_hub_stops_it_gets_the_former_end_back() -> None:
    known, ending = given_end(idle_minutes=2)
    after, news = plan_idle(known, ending, NOW, demanded=False)
    assert news is not None
    assert (news.kind, news.takes_back, after.given) == ("session.idle_over", known.given, None)


def test_what_cannot_be_seen_takes_nothing_back_and_tells_nobody_otherwise() -> None:
    known, ending = given_end(idle_minutes=2)
    blind = replace(known, activity=replace(known.activity, unknown=("what its notebooks do",)))
    assert plan_idle(blind, ending, NOW, demanded=False)[1] is None


def test_who_was_given_another_end_meanwhile_is_judged_anew() -> None:
    known, ending = given_end()
    extended = replace(ending, ends_at=NOW + HOUR)
    after, news = plan_idle(known, extended, NOW, demanded=False)
    assert (after.given, news) == (None, None)


# -- what is only reported ----------------------------------------------------------------------------------


def test_what_is_only_reported_is_written_down_once_each() -> None:
    told = live_through(range(119), only_report=True)
    assert told == [(105, "warned"), (115, "warned")]
    known, kinds = watch(NOW, 125), []
    for _ in range(3):
        known, news = plan_idle(
            replace(known, warned_at=ago(1200)), HELD, NOW, demanded=False, only_report=True
        )
        kinds += [(news.kind, news.reported, news.gives)] if news else []
    assert kinds == [("session.idle_stop", True, None)]


@pytest.mark.parametrize("idle", [119.5, 300])
def test_who_was_only_reported_gets_the_whole_warning_once_sessions_are_stopped(idle: float) -> None:
    reported = replace(watch(NOW, idle), warned_at=ago(3600), warned=1, reported=True, would_end=True)
    after, news = plan_idle(reported, HELD, NOW, demanded=False)
    assert news is not None
    assert (news.kind, after.warned, after.reported) == ("session.idle_warned", 15, False)
    assert after.verdict is not None
    assert after.verdict.at == NOW + 15 * MINUTE


# -- who joins and leaves -----------------------------------------------------------------------------------


def test_who_joins_and_leaves_over_and_over_warns_nobody_twice() -> None:
    known, told = watch(NOW, 40), []
    for half_minutes in range(24):
        now = NOW + half_minutes * MINUTE / 2
        known = replace(known, activity=replace(known.activity, look=replace(known.activity.look, at=now)))
        known, news = plan_idle(known, HELD, now, demanded=half_minutes % 2 == 0)
        told += [news.kind] if news else []
    assert told == ["session.idle_warned"] * 2, "at 15 and at 5 min"
    later = now + STILL_DEMANDED
    known = replace(known, activity=replace(known.activity, look=replace(known.activity.look, at=later)))
    assert plan_idle(known, HELD, later, demanded=False)[1] is not None, "nobody waits any more"


# -- keeping ------------------------------------------------------------------------------------------------

KEEPS = {
    "never before": (Wish(), 4, False, HOUR),
    "somebody waits, and the bound is far": (Wish(ago(60), 3 * HOUR), 4, True, 4 * HOUR),
    "the rest of an hour": (Wish(NOW + HOUR / 4, HOUR), 4, True, HOUR * 7 / 4),
    "nobody waits: there is no bound": (Wish(ago(60), 9 * HOUR), 4, False, 10 * HOUR),
    "no bound at all": (Wish(ago(60), 9 * HOUR), None, True, 10 * HOUR),
    "the bound is near and somebody waits": (Wish(ago(60), 3.5 * HOUR), 4, True, 4 * HOUR),
    "the bound is reached and somebody waits": (Wish(ago(60), 4 * HOUR), 4, True, "was kept for 4 h so far"),
    "it may not be kept at all": (Wish(), 0, True, "may be kept for 0 s in all (group `lab`)"),
    "asked a moment ago": (Wish(NOW + HOUR, HOUR), 4, False, "It is kept until 13:00 UTC already."),
}


@pytest.mark.parametrize(("wish", "bound", "demanded", "expected"), KEEPS.values(), ids=KEEPS)
def test_keeping(wish: Wish, bound: int | None, demanded: bool, expected: object) -> None:
    limit = Limit(None if bound is None else bound * HOUR, ("group `lab`",))
    found = plan_keep(wish, limit, NOW, demanded=demanded)
    if isinstance(expected, timedelta):
        more = expected - wish.kept
        assert (found.until, found.total) == (max(NOW, wish.kept_until or NOW) + more, expected)
    else:
        assert found.until is None
        assert str(expected) in found.why_not


# -- finishing ----------------------------------------------------------------------------------------------

BUSY = Kernels(busy=1, idle=0, terminals=0, ran_at=None)
STILL_RUNS = {
    "a notebook": {"kernels": BUSY},
    "a GPU": {"gpu_at": NOW},
    "a program on the processors": {"cpu_at": NOW},
    "a notebook until a moment ago": {"hand_at": NOW - QUIET / 2},
    "what cannot be seen": {"unknown": ("what its GPUs do",)},
    "a server that does not answer": {"kernels": None, "unknown": ("what its notebooks do",)},
}


def ask_to_finish(changes: dict, **more: object) -> Told | None:
    known = watch(NOW, 10)
    look = replace(known.activity.look, kernels=changes.get("kernels", IDLE))  # type: ignore[type-var]
    others = {name: value for name, value in changes.items() if name != "kernels"}
    known = replace(known, activity=replace(known.activity, look=look, **others))
    return plan_idle(known, HELD, NOW, demanded=False, wish=Wish(finish=True), **more)[1]  # type: ignore[arg-type]


def test_it_ends_by_itself_when_nothing_runs_any_more() -> None:
    given = GivenEnd(NOW, HELD.ends_at, HELD.end_reason, HELD.warned)
    assert ask_to_finish({}) == Told("session.idle_stop", FINISHED, gives=given)
    assert ask_to_finish({}, only_report=True) == Told("session.idle_stop", FINISHED, gives=given)
    assert ask_to_finish({}, hold_stops=True) is None


@pytest.mark.parametrize("changes", STILL_RUNS.values(), ids=STILL_RUNS)
def test_it_does_not_end_by_itself_while_something_runs(changes: dict) -> None:
    assert ask_to_finish(changes) is None


def test_it_ends_by_itself_once() -> None:
    known, _ = plan_idle(watch(NOW, 10), HELD, NOW, demanded=False, wish=Wish(finish=True))
    assert plan_idle(known, HELD, NOW, demanded=False, wish=Wish(finish=True))[1] is None


def test_of_gpus_that_have_worked_a_session_with_several_is_warned_sooner() -> None:
    known = watch(NOW, 40)
    known = replace(known, activity=replace(known.activity, has_worked=True))
    assert plan_idle(known, HELD, NOW, demanded=True)[1] is None, "one may be idle for 90 minutes"
    pair = replace(HELD, devices=("A100-0", "A100-1"))
    _, news = plan_idle(known, pair, NOW, demanded=True)
    assert news is not None
    assert "of the 45 min allowed while somebody waits, as they have worked before" in news.text


# -- who is waited for --------------------------------------------------------------------------------------

FLEET = [record(f"A100-{n}", model="A100", index=n) for n in range(2)] + [record("T4-0", model="T4", index=2)]
LEASES = [
    lease(LeaseState.ACTIVE, "A100-0", id="first", owner="ada"),
    lease(LeaseState.ACTIVE, "A100-1", id="second", owner="bob"),
    lease(LeaseState.ACTIVE, "T4-0", id="third", owner="cy"),
    replace(HELD, id="none", owner="di", devices=()),
]
WAITING = {
    "nobody": ([], {}, set()),
    "any GPU": ([ticket(1)], {}, {"first", "second", "third"}),
    "a model": ([ticket(SpawnRequest(1, model="T4"))], {}, {"third"}),
    "what is kept for others": (
        [ticket(SpawnRequest(1, model="A100"))],
        {"pins": [Pin("A100-0", Holder("person", "ada"), "", "root", NOW)]},
        {"second"},
    ),
    "somebody who may have no more": (
        [ticket(1, id="second-of-ada", owner="ada", terms=Terms(gpus_per_person=1))], {}, set(),
    ),
    "more than there are": ([ticket(3)], {}, set()),
}  # fmt: skip


@pytest.mark.parametrize(("tickets", "more", "expected"), WAITING.values(), ids=WAITING)
def test_whose_gpus_somebody_waits_for(tickets: list, more: dict, expected: set) -> None:
    assert find_demanded(Situation(NOW, FLEET, LEASES, tickets, **more), LEASES) == expected
