"""Sessions that were looked into, made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gpuspawner.core.activity import GpuLook, Kernels, Look, begin_activity
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Limits, judge_session

from .build import NOW

CALM = Kernels(busy=0, idle=1, terminals=1, ran_at=None)


def watched(lease_id: str, idle: timedelta) -> Watch:
    """A session that was looked into just now, and whose GPUs have been idle for so long."""
    activity = begin_activity(NOW - idle)
    look = Look(NOW, GpuLook(None, None), CALM, 0.0)
    activity = replace(activity, unknown=(), cores=0.02, look=look)
    verdict = judge_session(activity, Limits(), NOW, started_at=NOW - timedelta(hours=9), has_gpus=True)
    return Watch(lease_id, Limits(), activity, verdict)
