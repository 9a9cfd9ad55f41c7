"""What somebody who is in a session by SSH keeps by it: what they type and run, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.core.activity import GpuLook, Kernels, Look, SshUse, begin_activity, observe
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Clock, Limits, Signal, Verdict, judge_session
from pydantic import TypeAdapter
from support.build import NOW, ago

IDLE = Kernels(busy=0, idle=0, terminals=0, ran_at=None)
LIMITS = Limits(session=timedelta(hours=2))


def judge(ssh: SshUse | None, cpu_seconds: float = 0.0) -> tuple[datetime, Verdict]:
    """When something was last done in a session of ten hours, and the verdict."""
    activity = begin_activity(ago(36_000))
    first = observe(activity, Look(ago(60), GpuLook(None, None), IDLE, 0.0), has_gpus=True)
    first = replace(first, cpu_at=ago(36_000))
    seen = observe(first, Look(NOW, GpuLook(None, None), IDLE, cpu_seconds, ssh), has_gpus=True)
    return seen.active_at, judge_session(seen, LIMITS, NOW, started_at=ago(36_000), has_gpus=True)


def signal(verdict: Verdict) -> Signal | None:
    return next((one for one in verdict.signals if one.what == "SSH"), None)


def test_a_connection_alone_keeps_nothing_and_the_reason_says_so() -> None:
    active_at, verdict = judge(SshUse(2))
    assert active_at == ago(36_000)
    assert verdict.step == "warn"
    assert "Somebody is in it by SSH, which is no work by itself; nothing was typed." in verdict.reason
    found = signal(verdict)
    assert found
    assert (found.source, found.says) == (
        "the gateway, and the session's terminals",
        "2 connections open; nothing typed",
    )


def test_what_is_typed_counts_for_the_session_and_not_for_its_gpus() -> None:
    active_at, verdict = judge(SshUse(1, ago(300)))
    assert active_at == ago(300)
    assert verdict.clock is Clock.GPUS
    assert f"something was last typed at {ago(300):%H:%M} UTC." in verdict.reason
    assert judge(SshUse(1, NOW + timedelta(days=1)))[0] == NOW, "a clock that runs ahead is not believed"


def test_what_runs_counts_as_it_always_does() -> None:
    assert judge(SshUse(1), cpu_seconds=30.0)[0] == NOW


def test_nobody_by_ssh_is_no_signal() -> None:
    assert signal(judge(None)[1]) is None


def test_it_is_kept_and_read_back() -> None:
    seen = observe(begin_activity(ago(60)), Look(NOW, None, IDLE, 0.0, SshUse(1, NOW)), has_gpus=False)
    stored = TypeAdapter(Watch)
    watch = Watch("lease", LIMITS, seen)
    assert stored.validate_json(stored.dump_json(watch)) == watch
