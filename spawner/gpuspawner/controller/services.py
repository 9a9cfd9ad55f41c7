"""What the controller's handlers and steps are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Line, Reservations, Sessions, UsageReports
from gpuspawner.ports import HubApi

from .people import PolicyReader


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, one of each."""

    ledger: Ledger
    host: str
    sessions: Sessions
    hub: HubApi
    policies: PolicyReader
    clock: Callable[[], datetime]
    stale_after: timedelta
    line: Line
    cards: Cards
    usage: UsageReports
    reservations: Reservations
