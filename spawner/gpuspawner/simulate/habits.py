"""Whether people whose GPUs lie idle come to use them: what our rule rests on, looked up in a trace."""

from __future__ import annotations

from dataclasses import dataclass

from .traces import Session, Trace


@dataclass(frozen=True, slots=True)
class Habits:
    """Parts of 1; None where there is nothing to take a part of."""

    begin_late: float | None
    """Of the sessions without work for so long since their start, the part that has work later."""
    come_back: float | None
    """Of the pauses so long after work, also of those until the stop, the part that ends in work."""


def find_habits(trace: Trace, pause: int) -> Habits:
    """Look up what people do who have paused.

    Args:
        trace: What was recorded.
        pause: For how long, in milliseconds.
    """
    begun, ended = [], []
    for session in trace.sessions:
        first, *later = _list_pauses(session)
        begun += [works for length, works in [first] if length > pause]
        ended += [works for length, works in later if length > pause]
    return Habits(_share(begun), _share(ended))


def _list_pauses(session: Session) -> list[tuple[int, bool]]:
    """How long each lasts, that before all work first, and whether it ends in work."""
    ends = [0, *(piece.end for piece in session.work)]
    begins = [*(piece.start for piece in session.work), session.length]
    return [
        (begin - end, n < len(session.work)) for n, (end, begin) in enumerate(zip(ends, begins, strict=True))
    ]


def _share(found: list[bool]) -> float | None:
    return sum(found) / len(found) if found else None
