"""What a session does, folded from one look after another: when work was last seen, or could not be excluded.

What was not known at a look may have been work, so it counts as work then: nobody is stopped for what nobody
saw. What the Hub says of a person's activity is not asked for: a server's own token may write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from .model import Sample
from .usage import SAMPLE_SPEAKS_FOR, find_stretches
from .words import mark

BUSY_CORES = 0.1
"""Processors in use, on average between two looks, from which on that is work. A JupyterLab that nobody looks
at takes a hundredth of one, an open page of it some hundredths."""
STALLED_AFTER = timedelta(hours=1)
"""A kernel that is busy for so long, while neither processors nor GPUs work, waits for somebody's input."""
GPUS_UNKNOWN = mark("what its GPUs do")
NOTEBOOKS_UNKNOWN = mark("what its notebooks do")
PROCESSORS_UNKNOWN = mark("what its processors do")
"""Among what is not known of a session."""
DEAF_AFTER = timedelta(minutes=30)
"""A server that has not answered for so long, while its GPUs did nothing, is for somebody to look at. Answers
now and then do not help it; answers for so long in a row do."""
LEAST_BETWEEN = timedelta(seconds=5)
"""Between two looks; processor time that was taken in less than this says nothing."""


@dataclass(frozen=True, slots=True)
class GpuLook:
    """What the samples since the last look say of all GPUs of a session together."""

    worked_at: datetime | None
    """When a kernel last ran; None for not at all."""
    unseen_at: datetime | None
    """The end of the last time that no sample speaks for; None when all of it was seen."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a session's server says of its notebooks and terminals; its person may have changed it."""

    busy: int
    """Kernels that run something."""
    idle: int
    terminals: int
    ran_at: datetime | None
    """When a kernel last did anything; None for never."""
    typed_at: datetime | None = None
    """When something last happened in a terminal; None for never."""


@dataclass(frozen=True, slots=True)
class SshUse:
    """Who is in a session by SSH. That a connection is open is no work: editors keep theirs for days."""

    connections: int
    """Those that are open."""
    typed_at: datetime | None = None
    """When something was last typed into any terminal of the session; None for never."""


@dataclass(frozen=True, slots=True)
class Look:
    """What could be learned of a session at one time; None where it could not."""

    at: datetime
    gpu: GpuLook | None = None
    """None also for a session without a GPU."""
    kernels: Kernels | None = None
    cpu_seconds: float | None = None
    """Processor time that its container has taken in all."""
    ssh: SshUse | None = None
    """None where nobody is in it by SSH."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known of a session after all looks at it. Its start counts as activity of every kind."""

    gpu_at: datetime
    """When its GPUs last worked, or may have."""
    busy_at: datetime
    """When a notebook's kernel last ran something, or may have."""
    cpu_at: datetime
    """When its processors last worked, or may have."""
    hand_at: datetime
    """When something last happened in a terminal: as far as its server says, or was typed by SSH."""
    heard_at: datetime | None = None
    """When its server last answered; None for not yet."""
    answers_since: datetime | None = None
    """Since when it has answered at every look; None where it did not at the newest."""
    silent_since: datetime | None = None
    """Since when it has not answered for :data:`DEAF_AFTER` in a row; None where it did."""
    silent: timedelta = timedelta(0)
    """For how long of that it gave no answer while its GPUs were seen to do nothing; work begins it anew."""
    busy_since: datetime | None = None
    """Since when some kernel was busy at every look; None when none is."""
    stalled: bool = False
    """A kernel is busy and does nothing: it waits for input."""
    cores: float | None = None
    """Processors in use between the last two looks; None when that is not known."""
    has_worked: bool = False
    """Whether its GPUs were ever seen at work."""
    unknown: tuple[str, ...] = ("what it does",)
    """What the newest look could not tell, in words."""
    look: Look | None = None
    """The newest look."""

    @property
    def gpu_active_at(self) -> datetime:
        """When the session last used its GPUs: they worked, or a kernel ran something that may use them."""
        return max(self.gpu_at, self.busy_at)

    @property
    def active_at(self) -> datetime:
        """When anything was last done in the session."""
        return max(self.gpu_at, self.busy_at, self.cpu_at, self.hand_at)


def begin_activity(started_at: datetime) -> Activity:
    """Of a session that nobody has looked at yet."""
    return Activity(started_at, started_at, started_at, started_at)


def look_at_gpus(
    samples: Mapping[str, Sequence[Sample]], devices: Iterable[str], since: datetime, now: datetime
) -> GpuLook:
    """Say what the samples of a session's GPUs come to.

    Args:
        samples: By UUID, oldest first; the last one before ``since`` tells where the next one begins.
        devices: The session's.
        since: The last look, or the session's start.
        now: The present.
    """
    looks = [_look_at_gpu(samples.get(uuid, ()), since, now) for uuid in devices]
    return GpuLook(_newest(*(one.worked_at for one in looks)), _newest(*(one.unseen_at for one in looks)))


def _look_at_gpu(samples: Sequence[Sample], since: datetime, now: datetime) -> GpuLook:
    worked_at: datetime | None = None
    unseen_at: datetime | None = None
    seen_until: datetime | None = None
    for stretch in find_stretches(samples):
        before, seen_until = seen_until, stretch.end
        if stretch.end <= since:
            continue
        if stretch.start > (before or since):
            unseen_at = stretch.start
        if stretch.sample.utilization_percent is None:
            unseen_at = stretch.end
        elif stretch.sample.utilization_percent > 0:
            worked_at = stretch.end
    # The newest sample is some seconds old; what follows it is told by the next one.
    if seen_until is None or now - seen_until > SAMPLE_SPEAKS_FOR:
        unseen_at = now
    return GpuLook(worked_at, unseen_at)


def observe(activity: Activity, look: Look, *, has_gpus: bool) -> Activity:
    """Fold a look into what is known.

    Args:
        activity: What was known before.
        look: What was seen now. One that comes too soon after the newest one changes nothing; one that is
            long before it says that the clock was set back, and all begins anew from there.
        has_gpus: Whether the session holds any.
    """
    if activity.look is not None and look.at < activity.look.at + LEAST_BETWEEN:
        if look.at > activity.look.at - LEAST_BETWEEN:
            return activity
        activity = replace(begin_activity(look.at), has_worked=activity.has_worked)
    cores = _find_cores(activity.look, look)
    gpu_at = activity.gpu_at
    if has_gpus:
        gpu_at = (
            look.at if look.gpu is None else max([gpu_at, *_known(look.gpu.worked_at, look.gpu.unseen_at)])
        )
    cpu_at = activity.cpu_at if cores is not None and cores < BUSY_CORES else look.at
    busy = look.kernels is not None and look.kernels.busy > 0
    busy_since = (activity.busy_since or look.at) if busy else None
    quiet_since = max(gpu_at if has_gpus else cpu_at, cpu_at, busy_since or look.at)
    stalled = busy and look.at - quiet_since >= STALLED_AFTER
    ran_at = look.kernels.ran_at if look.kernels is not None and not stalled else None
    typed_at = look.kernels.typed_at if look.kernels is not None else None
    typed_by_ssh = look.ssh.typed_at if look.ssh is not None else None
    busy_at = look.at if look.kernels is None or (busy and not stalled) else activity.busy_at
    return replace(
        activity,
        gpu_at=gpu_at,
        busy_at=max([busy_at, *(min(one, look.at) for one in _known(ran_at))]),
        cpu_at=cpu_at,
        hand_at=max([activity.hand_at, *(min(one, look.at) for one in _known(typed_at, typed_by_ssh))]),
        heard_at=activity.heard_at if look.kernels is None else look.at,
        busy_since=busy_since,
        stalled=stalled,
        cores=cores,
        **_hear(activity, look, gpu_at),
        has_worked=activity.has_worked or (look.gpu is not None and look.gpu.worked_at is not None),
        unknown=_name_unknown(look, cores, has_gpus=has_gpus),
        look=look,
    )


def find_deaf(activity: Activity, before: datetime | None = None) -> datetime | None:
    """Since when a session's server has hardly answered, if that keeps GPUs from others that do nothing.

    What a server does not say may be work, so that nobody is stopped for it: whoever wants to keep a GPU only
    has to make theirs silent, or nearly so. None where its GPUs work or cannot be seen.

    Args:
        activity: What is known of the session.
        before: What was found at the look before. It holds at a look that is answered, until answers come for
            long enough, and where its GPUs cannot be seen for a while.
    """
    look, since = activity.look, activity.silent_since
    if look is None or since is None or (look.gpu is not None and look.gpu.worked_at is not None):
        return None
    held = before if before is not None and before <= look.at else None
    if look.kernels is not None or look.gpu is None or activity.silent < DEAF_AFTER:
        return held
    at_a_stretch = activity.heard_at is not None and look.at - activity.heard_at >= DEAF_AFTER
    return held or (activity.heard_at if at_a_stretch else since)


class _Heard(TypedDict):
    """What becomes of the parts of an activity that are about answers."""

    answers_since: datetime | None
    silent_since: datetime | None
    silent: timedelta


def _hear(activity: Activity, look: Look, gpu_at: datetime) -> _Heard:
    since, silent = activity.silent_since, activity.silent
    if look.kernels is not None:
        answers = activity.answers_since or look.at
        if look.at - answers >= DEAF_AFTER:
            since, silent = None, timedelta(0)
        return _Heard(answers_since=answers, silent_since=since, silent=silent)
    # Before the first look there is the session's start.
    before = activity.look.at if activity.look is not None else activity.hand_at
    if gpu_at > before:
        before, silent = gpu_at, timedelta(0)
    return _Heard(answers_since=None, silent_since=since or before, silent=silent + (look.at - before))


def _find_cores(before: Look | None, look: Look) -> float | None:
    """Processors in use between two looks; None for a first look, and for a container that is another one."""
    if before is None or before.cpu_seconds is None or look.cpu_seconds is None:
        return None
    taken = look.cpu_seconds - before.cpu_seconds
    return taken / (look.at - before.at).total_seconds() if taken >= 0 else None


def _name_unknown(look: Look, cores: float | None, *, has_gpus: bool) -> tuple[str, ...]:
    unseen = look.gpu is None or look.gpu.unseen_at == look.at
    parts = {
        GPUS_UNKNOWN: has_gpus and unseen,
        NOTEBOOKS_UNKNOWN: look.kernels is None,
        PROCESSORS_UNKNOWN: cores is None,
    }
    return tuple(name for name, missing in parts.items() if missing)


def _known(*times: datetime | None) -> list[datetime]:
    return [one for one in times if one is not None]


def _newest(*times: datetime | None) -> datetime | None:
    return max(_known(*times), default=None)
