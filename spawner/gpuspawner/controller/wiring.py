"""Which use cases the controller has, and which steps its tick takes."""

from __future__ import annotations

import socket

from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Sessions, utc_now
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.policy.settings import Settings

from .ends import EndSessions, SteadyClock
from .loop import Tick
from .people import PolicyReader
from .services import Services


def make_services(settings: Settings, ledger: Ledger, token: str) -> Services:
    """The use cases of this installation; nothing is read or asked yet."""
    host = settings.host or socket.gethostname()
    return Services(
        ledger=ledger,
        host=host,
        sessions=Sessions(ledger, host),
        hub=HttpHubApi(settings.hub_api_url, token),
        policies=PolicyReader(settings),
        clock=utc_now,
        stale_after=STALE_AFTER,
    )


def make_tick(services: Services) -> Tick:
    """The steps, in order."""
    ends = EndSessions(services.sessions, services.hub, SteadyClock(services.clock))
    return Tick([("ends", ends)], finish=ends.finish)
