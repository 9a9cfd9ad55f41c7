"""A Hub with our spawner, step by step: what GPUSpawner does in JupyterHub's hooks, without JupyterHub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gpuspawner.adapters.runlock import RunLock
from gpuspawner.allocator import Allocator
from gpuspawner.core.container import LABEL_LEASE, build_labels
from gpuspawner.core.coursechoice import find_courses, keep_course
from gpuspawner.core.errors import (
    EngineError,
    GpuSpawnerError,
    HubError,
    IllegalTransition,
    InvalidRequest,
    LedgerError,
    RefusalKind,
    Refused,
)
from gpuspawner.core.model import ContainerState, Lease
from gpuspawner.core.policy import Policy, find_party, find_terms
from gpuspawner.core.quota import choose_image
from gpuspawner.policy.options import parse_options, split_turn
from gpuspawner.ports import HubServer

from support.fake_engine import FakeContainer, FakeEngine

from .ledger import WatchedLedger
from .people import CATALOGUE, GROUPS, find_allowance

Key = tuple[str, str]
"""A server: whose, and its name."""

STEPS = ("reserve", "create", "confirm", "docker start", "activate")
"""What a start does, in order; each may fail, and the hub may be killed before each."""
_STATUS = {RefusalKind.NEVER: 400, RefusalKind.NOT_ALLOWED: 403, RefusalKind.NOT_NOW: 409}


class Place(Protocol):
    """What a hub needs of the world around it."""

    ledger: WatchedLedger
    engine: FakeEngine
    lock_path: Path
    policy: Policy
    wrongs: list[str]
    make_allocator: Callable[..., Allocator]

    def clock(self) -> datetime: ...


@dataclass
class Server:
    """A server as the hub's memory has it."""

    options: Mapping[str, object]
    done: int = 0
    """Steps of its start that are done."""
    stopping: bool = False
    lease_id: str | None = None
    lease: Lease | None = None
    container: str | None = None

    @property
    def pending(self) -> str | None:
        if self.stopping:
            return "stop"
        return "spawn" if self.done < len(STEPS) else None


class Hub:
    """Implements the port that the controller has, and does at once or later what it is asked to.

    Attributes:
        known: Servers in its database, which outlives it, with the lease that was saved after the start.
        eager: Whether it does the whole of a start or stop before it answers.
        answers_lost: So many answers are lost after the deed.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.lock: RunLock | None = None
        self.servers: dict[Key, Server] = {}
        self.known: dict[Key, str | None] = {}
        self.eager = False
        self.answers_lost = 0
        self._busy = threading.RLock()

    # -- its life -------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.lock is not None

    def crash(self) -> None:
        if self.lock:
            self.lock.release()
        self.lock = None
        self.servers.clear()

    def boot(self) -> None:
        """Start, and look for the servers of the last run."""
        self.lock = RunLock(self._place.lock_path, "hub")
        for key in sorted(self.known):
            self.servers[key] = Server({}, done=len(STEPS), lease_id=self.known[key])
            self.poll(key)

    # -- the port -------------------------------------------------------------------------------------------

    def start_server(self, user: str, server: str, options: Mapping[str, object]) -> None:
        with self._busy, self._place.ledger.fuse.paused():
            self._require_alive()
            key = user, server
            if self.servers.get(key) and self.servers[key].pending is None:
                self.poll(key)
            found = self.servers.get(key)
            if found is not None and found.pending == "spawn":
                return
            if found is not None:
                what = "pending stop" if found.stopping else "already running"
                raise HubError(f"The Hub does not start it (HTTP 400): it is {what}", 400)
            self.servers[key] = Server(dict(options))
            self.known[key] = None
            if self.eager:
                self.finish(key)
            self._answer()

    def stop_server(self, user: str, server: str) -> None:
        with self._busy, self._place.ledger.fuse.paused():
            self._require_alive()
            self.stop((user, server))
            if self.eager:
                self.finish((user, server), quiet=True)
            self._answer()

    def server(self, user: str, server: str) -> HubServer | None:
        with self._busy:
            self._require_alive()
            found = self.servers.get((user, server))
            if found is None:
                return None
            return HubServer(found.pending is None, found.pending, None, None, dict(found.options))

    def groups_of(self, user: str) -> frozenset[str] | None:
        self._require_alive()
        return frozenset(GROUPS[user])

    def servers_of(self, user: str) -> frozenset[str] | None:
        raise NotImplementedError("nobody looks at a page in this world")

    def users(self) -> Mapping[str, frozenset[str]]:
        self._require_alive()
        return {user: frozenset(groups) for user, groups in GROUPS.items()}

    def remove_user(self, user: str) -> None:
        raise NotImplementedError("nobody is removed in this world")

    def session_activity(self, address: str, token: str) -> datetime | None:
        raise NotImplementedError("the world says itself who works in a server")

    def _require_alive(self) -> None:
        if not self.alive:
            raise HubError("The Hub gives no answer: connection refused.")

    def _answer(self) -> None:
        if self.answers_lost:
            self.answers_lost -= 1
            raise HubError("The Hub gives no answer: no answer within 20 s.")

    # -- a start, a stop ------------------------------------------------------------------------------------

    def advance(self, key: Key, *, failing: bool = False) -> None:
        """Take the next step of what is pending for a server; what goes wrong is cleared away.

        Raises:
            HubError: The start failed; with the status that the Hub answers.
        """
        found = self.servers[key]
        if found.stopping:
            self._end_stop(key, found)
            return
        step = STEPS[found.done]
        try:
            if failing:
                raise EngineError(f"The Docker Engine did not do {step}.")
            getattr(self, f"_{step.replace(' ', '_')}")(key, found)
            found.done += 1
            if found.pending is None:
                self.known[key] = found.lease_id
        except GpuSpawnerError as error:
            if isinstance(error, LedgerError):
                self._place.wrongs.append(str(error))
            self.cancel(key)
            raise HubError(f"The Hub does not start it: {error}", _status(error)) from error

    def finish(self, key: Key, *, quiet: bool = False) -> None:
        """Do all that is pending for a server."""
        try:
            while key in self.servers and self.servers[key].pending:
                self.advance(key)
        except HubError:
            if not quiet:
                raise

    def stop(self, key: Key) -> None:
        """What a stop does first: let go of the lease. A start that is under way is cancelled."""
        found = self.servers.get(key)
        if found is None or found.stopping:
            return
        if found.pending == "spawn":
            self.cancel(key)
            return
        if self.poll(key):
            self._let_go(found, "the server was stopped")
            found.stopping = True

    def cancel(self, key: Key) -> None:
        """After a start that failed or was cancelled: no container first, then let go of the lease."""
        found = self.servers.pop(key)
        self.known.pop(key, None)
        try:
            if found.done >= STEPS.index("create"):
                self._remove_container(key)
        except EngineError:
            pass  # it is left to the agent
        finally:
            self._let_go(found, "the server did not start")

    def _end_stop(self, key: Key, found: Server) -> None:
        found.stopping = False
        try:
            self._remove_container(key)
        except EngineError:
            return  # it failed: for JupyterHub the server is still there
        del self.servers[key]
        self.known.pop(key, None)
        self._let_go(found, "the server ended")

    # -- the steps of a start -------------------------------------------------------------------------------

    def _reserve(self, key: Key, found: Server) -> None:
        owner, server = key
        policy = self._place.policy
        allowance = find_allowance(policy, owner)
        request = parse_options(found.options, images=CATALOGUE, most_gpus=8)
        image = choose_image(request, list(CATALOGUE), allowance)
        request = keep_course(request, image, find_courses(policy, owner, GROUPS[owner]))
        party = find_party(policy, owner, GROUPS[owner], request.course)
        assert self.lock
        found.lease = self._place.make_allocator(allowance).reserve(
            request,
            owner=owner,
            server=server,
            claimant=self.lock.run_id,
            image=CATALOGUE[image],
            party=party,
            terms=find_terms(policy, party, allowance),
            queue=True,
            turn=split_turn(found.options)[1],
        )
        found.lease_id = found.lease.id

    def _create(self, key: Key, found: Server) -> None:
        self._remove_container(key)
        engine, lease = self._place.engine, found.lease
        engine.list_containers()  # fails while the Engine is down
        assert lease
        labels = build_labels(str(engine.ledger_id), *key, lease)
        found.container = engine.create(_name(key), labels, lease.devices)

    def _confirm(self, key: Key, found: Server) -> None:
        assert found.lease_id
        self._allocator.confirm(found.lease_id)

    def _docker_start(self, key: Key, found: Server) -> None:
        engine = self._place.engine
        engine.list_containers()
        if found.container not in engine.containers:
            raise EngineError("No such container.")
        engine.start(found.container)

    def _activate(self, key: Key, found: Server) -> None:
        assert self.lock
        assert found.lease_id
        assert found.container
        self._allocator.activate(found.lease_id, container_id=found.container, claimant=self.lock.run_id)

    # -- looking after --------------------------------------------------------------------------------------

    def poll(self, key: Key) -> bool:
        """Whether a server runs as far as the hub can tell; one that has ended is forgotten."""
        found = self.servers[key]
        try:
            self._place.engine.list_containers()
        except EngineError:
            return True
        container = self._find_container(key)
        if container is None or container.state is not ContainerState.RUNNING:
            del self.servers[key]
            self.known.pop(key, None)
            self._let_go(found, "the server ended")
            return False
        if found.container is None:
            self._vouch(found, container)
        return True

    def _vouch(self, found: Server, container: FakeContainer) -> None:
        """Take over a server of an earlier run; the container's label is the truth."""
        found.container, found.lease_id = container.id, container.labels[LABEL_LEASE]
        assert self.lock
        # One that runs without a lease of its own is ended by the agent.
        with suppress(IllegalTransition):
            self._allocator.activate(found.lease_id, container_id=container.id, claimant=self.lock.run_id)

    @property
    def _allocator(self) -> Allocator:
        return self._place.make_allocator()

    def _let_go(self, found: Server, reason: str) -> None:
        if found.lease_id is not None:
            self._allocator.request_release(found.lease_id, reason=reason, actor="hub")
            found.lease_id = None

    def _find_container(self, key: Key) -> FakeContainer | None:
        return next((c for c in self._place.engine.containers.values() if c.name == _name(key)), None)

    def _remove_container(self, key: Key) -> None:
        self._place.engine.list_containers()
        container = self._find_container(key)
        if container is not None:
            self._place.engine.remove(container.id)


def _name(key: Key) -> str:
    return f"jupyter-{key[0]}--{key[1]}"


def _status(error: GpuSpawnerError) -> int:
    if isinstance(error, InvalidRequest):
        return 400
    return _STATUS.get(error.kind, 503) if isinstance(error, Refused) else 503
