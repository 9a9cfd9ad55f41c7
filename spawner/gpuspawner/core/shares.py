"""What somebody has used lately: GPU-seconds that count for less and less as they grow old.

A person's standing at a time ``t`` is the sum over all their use ``u(s)``, in GPU-seconds per second, of

    integral of u(s) * 2 ** (-(t - s) / HALF_LIFE) ds

so what was used a week ago counts half, two weeks ago a quarter. Nothing else is kept than this one figure
and its time, because it can be carried forward: for ``b`` after ``a``,

    standing(b) = standing(a) * 2 ** (-(b - a) / HALF_LIFE) + what was used from a to b, decayed within
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from .claims import Standing

HALF_LIFE = timedelta(days=7)
"""After this, use counts half."""
_HALF_LIFE_S = HALF_LIFE.total_seconds()
_NO_TIME = timedelta(0)


def decay(standing: Standing, now: datetime) -> Standing:
    """The standing as it is now.

    A clock that was set back changes no figure: it counts as the one of the new present, so that it goes on
    decaying from here however far ahead the clock was.
    """
    return Standing(standing.gpu_seconds * _fade(now - standing.at), now)


def accrue(standing: Standing, gpu_seconds: float, since: datetime, until: datetime) -> Standing:
    """The standing after some more use, which was spread evenly over a time.

    Exact, with ``r`` the rate of use, ``d`` its length and ``k = ln 2 / HALF_LIFE``: at ``until`` the use is
    worth ``r / k * (1 - exp(-k * d))``, the integral of the decayed rate. So accruing over two parts of a
    time, one after the other, gives what accruing over the whole gives.

    Args:
        standing: What there was.
        gpu_seconds: GPU-seconds in that time; a negative amount counts as none.
        since: Beginning of the use.
        until: Its end. Before ``since`` (the clock was set back) the use counts as of this one instant.

    Returns:
        The standing for ``until``, or for its own time if that is later; the order in which uses of several
        sessions are added does not matter.
    """
    turns = max(until - since, timedelta(0)) / HALF_LIFE * math.log(2)
    worth = max(gpu_seconds, 0.0) * (-math.expm1(-turns) / turns if turns else 1.0)
    at = max(standing.at, until)
    return Standing(decay(standing, at).gpu_seconds + worth * _fade(at - until), at)


def find_present_use(standing: Standing | None, now: datetime) -> float:
    """What somebody's use is worth now, in GPU-seconds; none for somebody who has never held a device."""
    return 0.0 if standing is None else standing.gpu_seconds * _fade(now - standing.at)


def _fade(age: timedelta) -> float:
    """The part that is left after so long; all of it for an age below zero."""
    return math.exp2(-age.total_seconds() / _HALF_LIFE_S) if age > _NO_TIME else 1.0
