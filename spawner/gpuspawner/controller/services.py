"""What the controller's handlers and steps are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.allocator import Cards, Line, Reservations, Rosters, Sessions, Undo, UsageReports
from gpuspawner.allocator.places import LineView
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.allocator.timetables import Timetables
from gpuspawner.passport.known import KnownImages
from gpuspawner.ports import HubApi

from .kept import Kept
from .people import PolicyReader
from .together import Together
from .views.servers import Drawn


@dataclass(frozen=True, slots=True)
class SshPlace:
    """Where people's programs come in by SSH."""

    host: str
    port: int
    account: str
    files: SshFiles
    ways: str = "both"
    """``both``, ``port`` or ``web``, as in the settings."""
    client: str = ""
    """How people install the program that port 443 takes."""
    hub: HubApi | None = None
    """The Hub, asked with less patience: what must end waits for it, and programs that connect."""

    @property
    def by_port(self) -> bool:
        """Whether people come in by the gateway's own port."""
        return self.ways != "web"

    @property
    def by_web(self) -> bool:
        """Whether people come in through the hub's own address."""
        return self.ways != "port"


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, one of each."""

    ledger: Ledger
    host: str
    sessions: Sessions
    hub: HubApi
    policies: PolicyReader
    images: KnownImages
    clock: Callable[[], datetime]
    stale_after: timedelta
    line: Line
    cards: Cards
    usage: UsageReports
    reservations: Reservations
    ssh: SshPlace | None = None
    """Where people's programs come in; None where there is no gateway."""
    logins: frozenset[str] = frozenset()
    """The login services; none where they are not known."""
    see_line: Callable[[], LineView] = field(init=False)
    """The line at one moment, worked out once for all who ask at the same time. Raises: LedgerError."""

    undo: Undo = field(init=False)
    rosters: Rosters = field(init=False)
    keys: SshKeys = field(init=False)
    timetables: Timetables = field(init=False)
    drawn: Kept[Drawn] = field(init=False, default_factory=Kept)
    """What is drawn of the GPUs of sessions, until the plots move on."""

    @property
    def ssh_hub(self) -> HubApi:
        """The Hub, as what has to do with SSH asks it."""
        return self.hub if self.ssh is None or self.ssh.hub is None else self.ssh.hub

    def __post_init__(self) -> None:
        """Share what takes long, and make what rests on others."""
        object.__setattr__(self, "see_line", Together(self.line.view))
        object.__setattr__(self, "rosters", Rosters(self.ledger, self.clock, self.logins))
        object.__setattr__(self, "timetables", Timetables(self.ledger, self.host, self.clock))
        object.__setattr__(self, "undo", Undo(self.ledger, self.host, self.line, self.clock))
        object.__setattr__(
            self, "keys", SshKeys(self.ledger, self.clock, self.ssh.files if self.ssh else None)
        )
