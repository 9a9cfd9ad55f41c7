"""What is known of a session's work, look after look."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from gpuspawner.core.activity import (
    STALLED_AFTER,
    Activity,
    GpuLook,
    Kernels,
    Look,
    begin_activity,
    find_deaf,
    look_at_gpus,
    observe,
)
from gpuspawner.core.model import Sample
from support.build import NOW, ago

START = ago(3600)
ALL_SEEN = GpuLook(None, None)
NO_ONE_WORKS = Kernels(busy=0, idle=1, terminals=0, ran_at=START)
BUSY = Kernels(busy=1, idle=0, terminals=0, ran_at=START)


def samples(*seconds_and_use: tuple[float, int | None]) -> list[Sample]:
    """Samples of so many seconds ago, each with its utilisation in percent."""
    return [Sample(ago(seconds), use) for seconds, use in seconds_and_use]


def steadily(since: float, use: int | None = 0, every: int = 10) -> list[Sample]:
    return samples(*((seconds, use) for seconds in range(int(since), -1, -every)))


GPU_CASES = {
    "idle all the time": (steadily(100), GpuLook(None, None)),
    "one sample of work": (samples(*[(n, n == 20) for n in range(110, -1, -10)]), GpuLook(ago(20), None)),
    "seen late": (samples((30, 0), (20, 0), (10, 0), (0, 0)), GpuLook(None, ago(30))),
    "a gap is not idleness": (samples((100, 0), (90, 0), (20, 0), (0, 0)), GpuLook(None, ago(50))),
    "a silent sensor": (samples((30, 0), (20, None), (10, 0), (0, 0)), GpuLook(None, ago(20))),
    "no sample at all": ([], GpuLook(None, NOW)),
    "the agent is gone": (samples((95, 0), (90, 0), (80, 0)), GpuLook(None, NOW)),
    "work before the last look": (samples((120, 90), (110, 90), *[(n, 0) for n in range(100, -1, -10)]),
                                  GpuLook(None, None)),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), GPU_CASES.values(), ids=GPU_CASES)
def test_what_samples_come_to(given: list[Sample], expected: GpuLook) -> None:
    assert look_at_gpus({"a": given}, ["a"], ago(100), NOW) == expected


def test_one_gpu_that_works_or_is_not_seen_is_enough() -> None:
    idle, works, silent = steadily(100), steadily(100, 5), steadily(100, None)
    assert look_at_gpus({"a": idle, "b": works}, ["a", "b"], ago(100), NOW) == GpuLook(NOW, None)
    assert look_at_gpus({"a": idle, "b": silent}, ["a", "b"], ago(100), NOW) == GpuLook(None, NOW)
    assert look_at_gpus({"a": idle}, ["a", "b"], ago(100), NOW) == GpuLook(None, NOW)


def after(*looks: Look, has_gpus: bool = True) -> Activity:
    activity = begin_activity(START)
    for look in looks:
        activity = observe(activity, look, has_gpus=has_gpus)
    return activity


def look(seconds_ago: float, gpu: GpuLook | None = ALL_SEEN, kernels: Kernels | None = NO_ONE_WORKS,
         cpu: float | None = 0.0) -> Look:  # fmt: skip
    return Look(ago(seconds_ago), gpu, kernels, cpu)


def test_a_session_in_which_nothing_happens_was_active_at_its_start() -> None:
    found = after(look(120), look(60), look(0))
    assert (found.gpu_active_at, found.busy_at, found.unknown) == (START, START, ())
    # The first look cannot say what the processors did before it.
    assert found.active_at == ago(120)


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        ({"gpu": None}, "what its GPUs do"),
        ({"gpu": GpuLook(None, NOW)}, "what its GPUs do"),
        ({"kernels": None}, "what its notebooks do"),
    ],
)
def test_what_is_not_known_may_be_work_on_the_gpus(changed: dict, unknown: str) -> None:
    found = after(look(60), look(0, **changed))
    assert (found.gpu_active_at, found.active_at, found.unknown) == (NOW, NOW, (unknown,))


def test_processors_that_cannot_be_seen_keep_the_session_only() -> None:
    found = after(look(60), look(0, cpu=None))
    assert (found.gpu_active_at, found.active_at) == (START, NOW)
    assert found.unknown == ("what its processors do",)


def test_a_container_that_was_started_anew_has_no_processor_time_to_compare() -> None:
    assert after(look(60, cpu=500.0), look(0, cpu=1.0)).cores is None


def test_work_on_processors_keeps_the_session_only() -> None:
    found = after(look(60, cpu=0.0), look(0, cpu=60.0))
    assert (found.cores, found.gpu_active_at, found.active_at) == (1.0, START, NOW)
    idle = after(look(60, cpu=0.0), look(0, cpu=1.0))
    assert idle.active_at == ago(60)


def test_a_busy_kernel_is_work_of_every_kind() -> None:
    found = after(look(60), look(0, kernels=BUSY))
    assert (found.gpu_active_at, found.active_at, found.busy_since) == (NOW, NOW, NOW)


def test_only_work_that_was_seen_on_its_gpus_says_that_they_have_worked() -> None:
    assert not after(look(60), look(30, gpu=None), look(0, kernels=BUSY)).has_worked
    assert not after(look(60), look(0, gpu=GpuLook(None, NOW))).has_worked
    works = look(60, gpu=GpuLook(ago(70), None))
    assert after(works).has_worked
    assert after(works, look(30), look(0, gpu=None)).has_worked
    assert after(works, look(3000)).has_worked, "the clock was set back"


def test_what_was_done_by_hand_keeps_the_session_only() -> None:
    typed = Kernels(busy=0, idle=1, terminals=1, ran_at=START, typed_at=ago(20))
    found = after(look(60), look(0, kernels=typed))
    assert (found.gpu_active_at, found.active_at) == (START, ago(20))


def test_a_server_that_says_it_is_active_in_the_future_is_believed_until_now() -> None:
    forged = Kernels(busy=0, idle=1, terminals=0, ran_at=None, typed_at=NOW + timedelta(hours=1))
    assert after(look(60), look(0, kernels=forged)).active_at == NOW


def test_a_kernel_that_waits_for_input_for_an_hour_is_no_work() -> None:
    hour = STALLED_AFTER.total_seconds()
    looks = [look(seconds, kernels=BUSY) for seconds in range(int(2 * hour), -1, -60)]
    activity = begin_activity(ago(3 * hour))
    for one in looks:
        activity = observe(activity, one, has_gpus=True)
    assert activity.stalled
    assert activity.gpu_active_at == ago(hour + 60)  # until it had been so for an hour
    answered = observe(activity, Look(NOW + timedelta(minutes=1), ALL_SEEN, BUSY, 30.0), has_gpus=True)
    assert not answered.stalled
    assert answered.gpu_active_at == NOW + timedelta(minutes=1)


def test_a_kernel_on_processors_or_gpus_never_waits_for_input() -> None:
    for changed in ({"cpu": True}, {"gpu": True}, {"gpu": False}):
        activity = begin_activity(ago(10800))
        for seconds in range(7200, -1, -60):
            gpu = ALL_SEEN
            if "gpu" in changed:
                gpu = GpuLook(ago(seconds), None) if changed["gpu"] else GpuLook(None, ago(seconds))
            taken = 7200.0 - seconds if "cpu" in changed else 0.0
            activity = observe(activity, Look(ago(seconds), gpu, BUSY, taken), has_gpus=True)
        assert not activity.stalled
        assert activity.gpu_active_at == NOW


def test_a_look_that_is_hardly_later_changes_nothing() -> None:
    known = after(look(0))
    assert observe(known, look(0, kernels=BUSY), has_gpus=True) is known
    assert observe(known, look(4, kernels=BUSY), has_gpus=True) is known


def test_a_clock_that_was_set_back_begins_everything_anew() -> None:
    found = observe(after(look(0)), look(3600), has_gpus=True)
    assert (found.gpu_active_at, found.active_at, found.look) == (ago(3600), ago(3600), look(3600))


def test_what_ran_between_two_looks_is_work() -> None:
    ran = Kernels(busy=0, idle=1, terminals=0, ran_at=ago(90))
    found = after(look(1800), look(0, kernels=ran))
    assert found.gpu_active_at == ago(90)


def test_without_a_gpu_nothing_is_asked_of_gpus() -> None:
    found = after(look(60, gpu=None), look(0, gpu=None), has_gpus=False)
    assert (found.unknown, found.gpu_active_at) == ((), START)


@pytest.mark.parametrize(
    ("minutes", "gpu", "answers", "since"),
    [
        (40, ALL_SEEN, (), START),
        (20, ALL_SEEN, (), None),
        (60, ALL_SEEN, (25,), START + timedelta(minutes=25)),
        (60, ALL_SEEN, (45,), START),
        (32, ALL_SEEN, (10, 20, 29), None),
        (60, ALL_SEEN, (60,), None),
        (60, GpuLook(None, NOW), (), None),
        (60, GpuLook(NOW, None), (), None),
        (60, None, (), None),
    ],
)
def test_a_server_that_is_deaf_while_its_gpus_do_nothing(
    minutes: int, gpu: GpuLook | None, answers: tuple[int, ...], since: datetime | None
) -> None:
    activity, at = begin_activity(START), START
    for minute in range(1, minutes + 1):
        at = START + timedelta(minutes=minute)
        kernels = NO_ONE_WORKS if minute in answers else None
        seen = gpu and GpuLook(gpu.worked_at and at, gpu.unseen_at and at)
        activity = observe(activity, Look(at, seen, kernels, 0.0), has_gpus=True)
    assert find_deaf(activity) == since


@pytest.mark.parametrize(
    ("last", "stays"),
    [
        (look(0, kernels=None), True),
        (look(0, gpu=None, kernels=None), True),
        (look(0, gpu=GpuLook(None, NOW), kernels=None), True),
        (look(0, gpu=GpuLook(ago(20), None), kernels=None), False),
        (look(0, gpu=GpuLook(ago(20), NOW), kernels=None), False),
        (look(0), True),
        (look(3700, kernels=None), False),
    ],
)
def test_a_server_stays_deaf_until_it_answers_or_its_gpus_work(last: Look, stays: bool) -> None:
    silent = [look(seconds, kernels=None) for seconds in range(3540, 0, -60)]
    before = find_deaf(after(*silent))
    assert before == START
    assert find_deaf(after(*silent, last), before) == (START if stays else None)


def test_answers_now_and_then_do_not_hide_that_a_server_is_deaf() -> None:
    activity, deaf, found = begin_activity(START), None, []
    for minute in range(1, 24 * 60):
        at = START + timedelta(minutes=minute)
        kernels = BUSY if minute % 29 == 0 else None
        activity = observe(activity, Look(at, GpuLook(None, None), kernels, 0.0), has_gpus=True)
        deaf = find_deaf(activity, deaf)
        found.append(deaf)
    assert set(found) == {None, START}
    assert found.index(START) < 35, "and from then on it stays so: administrators are told once"
    assert None not in found[35:]
    for minute in range(1, 32):
        assert deaf == START
        answer = Look(at + timedelta(minutes=minute), GpuLook(None, None), NO_ONE_WORKS, 0.0)
        activity = observe(activity, answer, has_gpus=True)
        deaf = find_deaf(activity, deaf)
    assert deaf is None, "it has answered for half an hour"
