"""The time zone in which somebody reads a calendar: the one that its address names."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import find_zone

from .page import Visit


def choose_zone(visit: Visit) -> tuple[ZoneInfo, str]:
    """The reader's time zone: UTC where none, or an unknown one, is named.

    Returns:
        The zone, and the name of one that is not known.
    """
    # A form that makes a reservation has a zone of its own, and keeps the reader's beside it.
    wanted = (visit.form.get("reader-zone") or visit.query.get("zone", "")).strip()
    try:
        return find_zone(wanted or "UTC"), ""
    except InvalidRequest:
        return ZoneInfo("UTC"), wanted[:60]
