"""Which use cases the controller has, and which steps its tick takes."""

from __future__ import annotations

import socket
from collections.abc import Callable

from jupyterhub.services.auth import HubOAuth

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.mail import MailServer
from gpuspawner.adapters.notebooks import NotebookServers
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.adapters.webhook import Webhook
from gpuspawner.allocator import Cards, Line, Reservations, Rosters, Sessions, UsageReports, utc_now
from gpuspawner.allocator.identities import Identities
from gpuspawner.allocator.idle import IdleWatch
from gpuspawner.allocator.outbox import Outbox
from gpuspawner.allocator.ssh import SshDesk, count_open
from gpuspawner.allocator.ssh_rights import SshRights
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.core.notices import Channel
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.ssh import Cause
from gpuspawner.passport.known import KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.settings import Settings

from .culling import CullIdle
from .ends import EndSessions, SteadyClock
from .hubcalls import HubCalls
from .leaving import EndLeavers
from .loop import Tick
from .people import PolicyReader
from .services import Services, SshPlace
from .sshdoor import KeepSshFiles, SshDoor, WhyNot
from .sshways import Ways
from .telling import Prepare, TellPeople, by_mail, by_webhook, in_terminals
from .turns import KeepTurns
from .upkeep import EndHopeless, ExpireDrains, KeepBudgets, KeepPolicy, KeepRosters, ReturnSeats, SessionLook

ENGINE_SECONDS = 3
"""How long the Engine may take to say what an image is."""
SSH_HUB_SECONDS = 4
"""How long the Hub may take to say who may use SSH; the gateway waits 8 s for an answer."""
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
        policies=PolicyReader(settings, known, Rosters(ledger)),
        images=known,
        clock=utc_now,
        stale_after=STALE_AFTER,
        line=line,
        cards=Cards(ledger, host),
        usage=UsageReports(ledger, host),
        reservations=Reservations(ledger, host),
        ssh=_find_ssh(settings, token),
        logins=settings.login.services if settings.login else frozenset(),
    )


def make_tick(services: Services, settings: Settings) -> Tick:
    """The steps, in order: what changes what can be had, then the line, then the ends.

    Args:
        services: The use cases.
        settings: The installation's.
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
    sweeper = Sweeper(DockerEngine(), NotebookServers(), services.clock, lambda: count_open(services.ledger))
    idle = CullIdle(
        sweeper,
        watch,
        services.policies.idle_sessions,
        SteadyClock(services.clock),
        every=settings.controller.look,
    )
    ends = EndSessions(
        services.sessions, services.hub, SteadyClock(services.clock), services.policies.warn_minutes
    )
    budgets = KeepBudgets(
        services.ledger, services.host, services.sessions, services.policies, services.clock
    )

    tell = TellPeople(
        Outbox(services.ledger, services.host, services.clock), _find_channels(services, settings)
    )

    leavers = EndLeavers(
        Identities(services.ledger, clock=services.clock),
        services.sessions,
        services.line,
        services.hub,
        HubCalls(),
    )

    def finish(wait_seconds: float) -> None:
        turns.finish(wait_seconds)
        tell.finish(wait_seconds)
        ends.finish(wait_seconds)
        leavers.finish(wait_seconds)

    return Tick(
        [
            ("returns", ReturnSeats(services.reservations)),
            ("drains", ExpireDrains(services.cards)),
            ("rosters", KeepRosters(services.rosters)),
            ("policy", KeepPolicy(services.line, services.hub, services.policies)),
            ("hopeless", EndHopeless(services.line)),
            ("leavers", leavers),
            ("turns", turns),
            ("budgets", budgets),
            ("idle", idle),
            ("ends", ends),
            ("notices", tell),
            ("ssh", KeepSshFiles(services)),
        ],
        finish=finish,
    )


def _find_ssh(settings: Settings, token: str) -> SshPlace | None:
    ssh = settings.ssh
    if not ssh.enabled:
        return None
    files = SshFiles(settings.ssh_folder)
    hub = HttpHubApi(settings.hub_api_url, token, timeout_seconds=SSH_HUB_SECONDS)
    return SshPlace(settings.ssh_host, ssh.port, ssh.account, files, ssh.ways, ssh.client, hub)


def make_ssh_door(services: Services, count: Callable[[Cause], None], ways: Ways | None) -> SshDoor:
    """What answers the gateway of SSH; each refusal is counted."""
    why_not = WhyNot(services.ssh_hub, services.policies)
    desk = SshDesk(services.ledger, services.host, why_not, services.clock, count)
    return SshDoor(desk, DockerEngine(timeout_seconds=ENGINE_SECONDS), ways)


def make_ssh_ways(services: Services, auth: HubOAuth) -> Ways | None:
    """The ways to the gateway through port 443; None where there are none."""
    if services.ssh is None or not services.ssh.by_web:
        return None
    rights = SshRights(services.ledger, WhyNot(services.ssh_hub, services.policies))
    return Ways(services.ssh.port, auth, rights, services.clock)


def _find_channels(services: Services, settings: Settings) -> dict[Channel, Prepare]:
    """The ways on which messages reach people here; that of terminals is always there."""
    servers, notices = settings.servers_page, settings.notices
    found = {Channel.TERMINALS: in_terminals(DockerEngine(), servers)}
    if (mail := notices.mail) is not None:
        server = MailServer(mail.host, mail.port, mail.security, mail.sender, mail.user, mail.password_file)

        def ledger_id() -> str:
            with services.ledger.read() as unit:
                return unit.ledger_id()

        found[Channel.MAIL] = by_mail(server, mail.domain, servers, ledger_id)
    if notices.webhook is not None:
        webhook = Webhook(notices.webhook.url, notices.webhook.secret_file)
        found[Channel.WEBHOOK] = by_webhook(webhook, servers)
    return found
