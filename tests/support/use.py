"""What a GPU did lately, for tests of what shows it."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpuspawner.core.model import Sample

from .build import GIB, NOW


def use_of(
    minutes: float, *, until: datetime = NOW, step: float = 10, silent: tuple[float, float] = (0, 0)
) -> list[Sample]:
    """Samples of a GPU that computes for three of every eight minutes, and whose memory fills up.

    Args:
        minutes: For so long.
        until: The last sample is just before this.
        step: Seconds from one to the next.
        silent: From how many to how many minutes before the end the sensor said nothing.
    """
    found = []
    for n in range(round(minutes * 60 / step), 0, -1):
        ago = n * step / 60
        if silent[1] < ago <= silent[0]:
            continue
        at = until - timedelta(seconds=n * step)
        works = ago % 8 < 3
        memory = round((4 + 20 * (1 - ago / 60)) * GIB)
        found.append(Sample(at, 85 + n % 10 if works else 3, memory))
    return found
