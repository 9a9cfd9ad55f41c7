"""What the outside systems must be able to do, in terms of core values.

The adapters implement these; fakes in ``tests/support`` do too, and pass the same contract tests. The ledger
has no port: it is a library over SQLite that tests use for real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from .core.activity import Kernels
from .core.model import Container, DeviceReading


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """One look at all devices of the host."""

    driver_version: str | None
    """None when the driver did not say."""
    devices: tuple[DeviceReading, ...]
    """One for each device the driver lists, the ones that fail included."""
    missing_reason: str | None = None
    """Why the list of devices itself is not known; None when it is complete."""
    driver_replaced: bool = False
    """The driver was upgraded under us (NVML error 18): no card may be given out. What a process that was
    there before can still see of the devices is reported all the same."""


class GpuProbe(Protocol):
    """The driver's view of the GPUs."""

    def look(self) -> ProbeReport:
        """Look at every device, within a bounded time.

        A device that fails or hangs is reported as such and does not hide the others. Never raises for what
        a driver can do wrong.
        """


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the Docker Engine says of itself."""

    version: str
    cdi_spec_dirs: tuple[str, ...]
    """Empty when CDI is off."""
    default_runtime: str
    runc_version: str
    root_dir: str
    """Where it keeps images and volumes."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the Engine says of an image."""

    digest: str
    """Its id, ``sha256:…``."""
    created: str
    """When it was built, as RFC 3339."""
    size_bytes: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a person's server listens, past the proxy."""

    url: str
    """Such as ``http://172.20.0.3:8888/user/ada/``."""
    token: str
    """The server's own, which its person can read anyway."""


class ContainerEngine(Protocol):
    """The Docker Engine.

    Every method raises ``EngineError`` when it cannot tell or cannot do; that proves nothing.
    """

    def info(self) -> EngineInfo:
        """Describe the Engine."""

    def list_containers(self) -> Sequence[Container]:
        """List every container, in any state, that carries our label or may use a GPU."""

    def read_log_tail(self, container_id: str, lines: int) -> str:
        """Return the last lines that a container printed; empty when it is gone."""

    def locate(self, container_id: str) -> Address | None:
        """Where the server in a container listens; None when it is gone, ended, or in no network."""

    def processor_seconds(self, container_id: str) -> float | None:
        """Processor time that a container has taken so far; None when it is gone, ended, or not measured."""

    def typed_at(self, container_id: str) -> datetime | None:
        """When something was last typed into a terminal of a container, to some seconds; None for never."""

    def write_to_terminals(self, container_id: str, line: str) -> None:
        """Write a line into every terminal that is open in a container, as its own user.

        One that takes nothing is left after a moment, and a container that is gone or does not run has none.
        Nobody waits for what the container does with it.
        """

    def stop(self, container_id: str, grace_seconds: int) -> None:
        """End a container; one that is gone or has ended is success."""

    def remove(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes; one that is gone is success."""


class Images(Protocol):
    """The images of the Docker Engine. Every method raises ``EngineError`` when it cannot tell or do."""

    def inspect(self, reference: str) -> ImageFacts | None:
        """Describe an image; None when there is none of that name or id."""

    def run_python(self, digest: str, source: str) -> str:
        """Run a program by an image's own Python, walled off, and return what it prints.

        Raises:
            EngineError: Also when there is no Python in it, or when the program fails; with its last words.
        """


@dataclass(frozen=True, slots=True)
class HubServer:
    """What the Hub says of one server."""

    ready: bool
    """Whether its person can use it."""
    pending: str | None
    """``spawn`` or ``stop`` while that is under way."""
    started: datetime | None
    last_activity: datetime | None
    """What the Hub was told, also by the server itself; cannot be trusted alone."""
    user_options: Mapping[str, object]
    """What it was started with, unchecked."""


@dataclass(frozen=True, slots=True)
class SessionActivity:
    """What a server says of itself; its person may have changed it."""

    started: datetime | None
    last_activity: datetime
    """The same as ``started`` until somebody comes."""


class Notebooks(Protocol):
    """The servers of people's sessions."""

    def ask(self, servers: Mapping[str, Address]) -> Mapping[str, Kernels]:
        """Ask them what runs in their notebooks and terminals, within a bounded time for all of them.

        Args:
            servers: By any name.

        Returns:
            By the same names; who gives no answer that makes sense is left out.
        """


class HubApi(Protocol):
    """The Hub.

    Every method raises ``HubError`` when the Hub cannot tell or does not do it; that proves nothing: a start
    whose answer was lost may be under way.
    """

    def start_server(self, user: str, server: str, options: Mapping[str, object]) -> None:
        """Ask for a start, and wait for the Hub's first answer: not until the server is ready.

        One that is being started already is success.
        """

    def stop_server(self, user: str, server: str) -> None:
        """Ask for a stop; one that does not run is success."""

    def server(self, user: str, server: str) -> HubServer | None:
        """What there is of a server; None when the Hub knows no such person or server."""

    def groups_of(self, user: str) -> frozenset[str] | None:
        """The groups of a person; None when the Hub knows no such person."""

    def servers_of(self, user: str) -> frozenset[str] | None:
        """Names of all servers of a person, also of those that do not run; None for an unknown person."""

    def users(self) -> Mapping[str, frozenset[str]]:
        """Everybody, with their groups."""

    def remove_user(self, user: str) -> None:
        """Forget a person, with their logins and API tokens; one who is not known is success.

        Not while they have servers. What the ledger knows of them, such as their home, stays.
        """

    def session_activity(self, address: str, token: str) -> SessionActivity | None:
        """Ask a server itself when it was last active, without that counting as activity.

        Args:
            address: Where it listens, such as ``http://172.20.0.3:8888/user/ada/``; not the proxy.
            token: The server's own, which its person can read anyway. Never one of ours.

        Returns:
            None when it says nothing that can be understood.
        """
