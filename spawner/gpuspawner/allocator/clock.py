"""The one place where the use cases ask for the time; tests give another clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present, timezone-aware."""
    return datetime.now(UTC)
