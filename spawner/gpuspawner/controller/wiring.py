"""Which use cases the controller has, and which steps its tick takes."""

from __future__ import annotations

import socket
from datetime import timedelta

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.notebooks import NotebookServers
from gpuspawner.allocator import Cards, Line, Reservations, Sessions, UsageReports, utc_now
from gpuspawner.allocator.idle import IdleWatch
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.passport.known import KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.settings import Settings

from .culling import CullIdle
from .ends import EndSessions, SteadyClock
from .hubcalls import HubCalls
from .loop import Tick
from .people import PolicyReader
from .services import Services
from .turns import KeepTurns
from .upkeep import EndHopeless, ExpireDrains, KeepBudgets, KeepPolicy, ReturnSeats, SessionLook

ENGINE_SECONDS = 3
"""How long the Engine may take to say what an image is."""
LOOK_AGAIN_SECONDS = 2.0
"""How often a server whose person may have come is asked."""


def make_services(settings: Settings, ledger: Ledger, token: str) -> Services:
    """The use cases of this installation; nothing is read or asked yet."""
    host = settings.host or socket.gethostname()
    known = KnownImages(
        settings.images,
        DockerImages(timeout_seconds=ENGINE_SECONDS),
        Shelf(settings.passports_path),
        candidates=settings.candidates,
        frozen=settings.frozen,
    )
    line = Line(ledger, host, STALE_AFTER, window=settings.controller.claim_window)
    return Services(
        ledger=ledger,
        host=host,
        sessions=Sessions(ledger, host),
        hub=HttpHubApi(settings.hub_api_url, token),
        policies=PolicyReader(settings, known),
        images=known,
        clock=utc_now,
        stale_after=STALE_AFTER,
        line=line,
        cards=Cards(ledger, host),
        usage=UsageReports(ledger, host),
        reservations=Reservations(ledger, host),
    )


def make_tick(services: Services, look_every: timedelta) -> Tick:
    """The steps, in order: what changes what can be had, then the line, then the ends.

    Args:
        services: The use cases.
        look_every: From one look into all sessions to the next.
    """
    turns = KeepTurns(
        services.line,
        services.hub,
        was_opened=SessionLook(DockerEngine(), services.hub),
        clock=services.clock,
        calls=HubCalls(),
        looks=HubCalls(again_seconds=LOOK_AGAIN_SECONDS),
    )
    watch = IdleWatch(
        services.ledger, services.host, services.policies.idle_limits, services.stale_after, services.clock
    )
    sweeper = Sweeper(DockerEngine(), NotebookServers(), services.clock)
    idle = CullIdle(
        sweeper, watch, services.policies.idle_sessions, SteadyClock(services.clock), every=look_every
    )
    ends = EndSessions(services.sessions, services.hub, SteadyClock(services.clock))
    budgets = KeepBudgets(
        services.ledger, services.host, services.sessions, services.policies, services.clock
    )

    def finish(wait_seconds: float) -> None:
        turns.finish(wait_seconds)
        ends.finish(wait_seconds)

    return Tick(
        [
            ("returns", ReturnSeats(services.reservations)),
            ("drains", ExpireDrains(services.cards)),
            ("policy", KeepPolicy(services.line, services.hub, services.policies)),
            ("hopeless", EndHopeless(services.line)),
            ("turns", turns),
            ("budgets", budgets),
            ("idle", idle),
            ("ends", ends),
        ],
        finish=finish,
    )
