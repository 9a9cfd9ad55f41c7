"""JupyterHub's hooks: a start reserves, a stop lets go, and a restart of the hub loses nothing.

Decisions are in :mod:`gpuspawner.core`, what the ledger does in :mod:`gpuspawner.allocator`. Docstrings name
the habit of JupyterHub that forces the code.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuspawner.adapters.docker_calls import ENGINE_FAILURES
from gpuspawner.adapters.docker_engine import read_outcome
from gpuspawner.adapters.homes import create_home_directory, name_home
from gpuspawner.core.claims import Terms
from gpuspawner.core.container import LABEL_LEASE
from gpuspawner.core.errors import (
    EngineError,
    GpuSpawnerError,
    IllegalTransition,
    InLine,
    LedgerError,
    RefusalKind,
    Refused,
    RunLockHeld,
)
from gpuspawner.core.model import Home, HomeKind, Lease, Party, SpawnRequest
from gpuspawner.core.words import mark
from gpuspawner.policy.options import split_turn

from .choices import ChoosingSpawner
from .containers import explain_engine
from .refusals import CPU_HINT, refuse, refuse_for, refuse_in_line


class GPUSpawner(ChoosingSpawner):
    """Runs each server in a container of its own, with GPUs that nobody else has."""

    # Set by start() and load_state(), and in use after JupyterHub has cleared all traits.
    lease_id: str | None = None
    _started: asyncio.Event | None = None
    """Set when the last start has ended; None before the first."""
    _building: bool = False
    """Whether the last start came as far as to the container."""
    _clearing: asyncio.Task[None] | None = None
    """Clears a failed start away; kept, because asyncio keeps no task."""
    _vouched: bool = False
    _step: tuple[int, str] = (0, "Waiting")

    async def start(self) -> Any:
        """Reserve, create, start; on any failure, cancellation included, clear away and let go.

        The deadline is our own and shorter than ``start_timeout``, which would cut off the clearing away and
        shows people an empty message.
        """
        if self._started is not None:
            # What a cancelled start left is still being cleared away, by the same name and attributes.
            await self._started.wait()
        deadline = max(self.start_timeout - self.settle_seconds, 1)
        self._started = asyncio.Event()
        self._building, self._failed_start, self._vouched = False, False, False
        self.lease_id, self.lease = None, None
        try:
            async with asyncio.timeout(deadline):
                address = await self._start()
        except BaseException as error:
            self._failed_start = True
            self._clearing = asyncio.create_task(self._clear_away(self._started))
            if isinstance(error, asyncio.CancelledError):
                # JupyterHub gives a cancelled start one second; stop() then waits for the clearing away.
                raise
            await asyncio.shield(self._clearing)
            if isinstance(error, TimeoutError):
                raise refuse(
                    f"Your server did not start within {deadline} s. Try again; if it happens again, "
                    "tell the administrator.",
                    reason="start_too_slow",
                    status=503,
                ) from error
            if isinstance(error, GpuSpawnerError):
                raise refuse_for(error) from error
            if isinstance(error, ENGINE_FAILURES):
                raise refuse(
                    explain_engine(str(error), self.course_mounts), reason="engine_failed", status=503
                ) from error
            raise
        self._started.set()
        return address

    @property
    def _starting(self) -> bool:
        return self._started is not None and not self._started.is_set()

    async def _start(self) -> Any:
        access = await self.find_access()
        request, image = self.judge_request(self.user_options)
        if request.image is None:
            request, image = self.judge_request(self.user_options, await self.find_held_back())
        choices = replace(request, image=image)
        self.orm_spawner.user_options, turn = split_turn(self.user_options)
        self.image = self.catalogue[image]
        self._step = (10, mark("Choosing your GPU" if request.gpus else "Preparing your server"))
        party = access.party(request.course)
        self.digest = await self.find_digest(self.image)
        request = await self._add_needs(request, image)
        self.lease = await self._reserve(request, party, access.terms(party), turn, choices)
        self.home = await self._find_home()
        await self.find_coursework(access, choices)
        self.ssh_mount = await self.prepare_ssh()
        self._step = (30, mark("Creating your server"))
        self._building = True
        address = await super().start()
        self._step = (60, mark("Starting JupyterLab"))
        if self.lease is not None:
            await self._activate(self.lease.id)
        return address

    async def _add_needs(self, request: SpawnRequest, image: str) -> SpawnRequest:
        """The request with what its image needs of a GPU. Raises: PassportError."""
        if request.gpus == 0:
            return request
        passport = await self.find_passport(self.digest)
        return replace(request, needs=passport.needs(image) if passport else None)

    async def _reserve(
        self, request: SpawnRequest, party: Party, terms: Terms, turn: str | None, choices: SpawnRequest
    ) -> Lease | None:
        # Names come from JupyterHub's database session, which is not for threads.
        owner, server, image, digest = self.user.name, self.name, self.image, self.digest
        idle_limits = self.access.idle_limits() if self.access else None
        queue = bool(self.queue_url)

        def reserve() -> Lease:
            claimant = self.run.claim()
            self.run.ledger_id()
            lease = self.allocator.reserve(
                request,
                owner=owner,
                server=server,
                claimant=claimant,
                image=image,
                digest=digest,
                party=party,
                terms=terms,
                queue=queue,
                turn=turn,
                choices=choices,
                idle_limits=idle_limits,
            )
            self.lease_id = lease.id
            return lease

        try:
            return await self._off_loop(reserve)
        except LedgerError as error:
            if request.gpus:
                raise refuse_for(error, hint=CPU_HINT) from error
            self.log.warning("%s starts without a lease: %s", self._log_name, error)
            return None
        except RunLockHeld as error:
            # Another hub lives: a start here would remove its container of the same name.
            raise refuse_for(error) from error
        except InLine as error:
            raise refuse_in_line(error, self.queue_url) from error
        except Refused as error:
            if error.kind is RefusalKind.NEVER:
                # JupyterHub would ask for the same again at every later start without options.
                self.orm_spawner.user_options = {}
            raise refuse_for(error, hint=CPU_HINT if request.gpus else "") from error
        except GpuSpawnerError as error:
            raise refuse_for(error, hint=CPU_HINT) from error

    async def _find_home(self) -> Home:
        """The person's home: from the ledger, or while that is silent from what the hub remembers."""

        owner = self.user.name
        remembered = self.home or self._remembered_home()

        def make() -> Home:
            home = name_home(owner, HomeKind(self.home_kind), Path(self.home_base))
            create_home_directory(home, uid=self.uid, gid=self.gid)
            return home

        def find() -> Home:
            allocator = self.allocator
            try:
                known = allocator.home_of(owner)
            except LedgerError as error:
                self.log.warning("The home of %s comes from the hub's own records: %s", owner, error)
                return remembered or self.run.new_home(owner, make)
            if known is not None:
                return known
            fresh = remembered or self.run.new_home(owner, make)
            try:
                return allocator.ensure_home(fresh)
            except LedgerError as error:
                self.log.warning("The home of %s is not in the ledger yet: %s", owner, error)
                return fresh

        return await self._off_loop(find)

    def _remembered_home(self) -> Home | None:
        """The home that any of this person's servers last had."""
        for orm_spawner in self.user.orm_user.orm_spawners.values():
            home = (orm_spawner.state or {}).get("home")
            if home:
                return Home(self.user.name, HomeKind(home["kind"]), home["source"])
        return None

    async def start_object(self) -> Any:
        """Start the container, unless its lease was let go of since: another may have its GPU by now."""
        if self.lease is not None and self.lease.devices:
            await self._off_loop(self.allocator.confirm, self.lease.id)
        return await super().start_object()

    async def _activate(self, lease_id: str) -> None:
        container_id = self.object_id

        def activate() -> None:
            self.allocator.activate(lease_id, container_id=container_id, claimant=self.run.claim())

        try:
            await self._off_loop(activate)
        except LedgerError as error:
            # The container runs and the lease is held; the agent activates it when the ledger is back.
            self.log.warning("Lease %s could not be marked as active: %s", lease_id, error)
        self._vouched = True

    async def _clear_away(self, started: asyncio.Event) -> None:
        """After a failed start: no container first, then let go of the lease; then the start has ended.

        Bounded, because Docker may hang; what is left then is the agent's to end. A container that is there
        although this start never came to it is not of this start, and stays.
        """
        try:
            if self._building:
                # The rest of settle_seconds is for the ledger: JupyterHub's own time-out has no words.
                async with asyncio.timeout(self.settle_seconds * 0.5):
                    if await self.get_object() is not None:
                        await self.remove_object()
                        self.object_id = ""
        except (EngineError, TimeoutError, *ENGINE_FAILURES) as error:
            self.log.error("The container of %s is left to the agent: %r", self._log_name, error)
        finally:
            try:
                await self._let_go(mark("the server did not start"))
            finally:
                started.set()

    async def _let_go(self, reason: str) -> None:
        if self.lease_id is None:
            return
        try:
            await self._off_loop(self.allocator.request_release, self.lease_id, reason=reason, actor="hub")
        except LedgerError as error:
            # The agent sees that the lease has no container, and lets go of it when the ledger is back.
            self.log.error("Lease %s could not be let go of: %s", self.lease_id, error)
        else:
            self.lease_id = None

    async def poll(self) -> Any:
        """None while it runs or while that cannot be told.

        An exception here makes the Hub forget a server whose container goes on holding its GPU.
        """
        if self._starting:
            return None
        if self._failed_start and not self._building:
            return 0  # or the Hub would stop a container of the same name that this start never came to
        try:
            container = await self.get_object()
        except EngineError as error:
            self.log.warning("%s counts as running: %s", self._log_name, error)
            return None
        if container is None:
            return 0
        state = container["State"]
        if state["Running"]:
            if not self._vouched:
                await self._vouch(container)
            return None
        memory = ", memory ran out" if read_outcome(container).oom_killed else ""
        return f"ended with exit code {state['ExitCode']}{memory}"

    async def _vouch(self, container: dict[str, Any]) -> None:
        """Take a server over that an earlier run of the hub started; the container's label is the truth.

        JupyterHub saves a spawner's state only after ``start()``, so a hub that was killed in between knows
        neither lease nor home.
        """
        labels = container["Config"].get("Labels") or {}
        self.lease_id = labels.get(LABEL_LEASE) or self.lease_id
        if self.home is None:
            self.home = _mounted_home(container, self.user.name, self.home_dir)
        if self.lease_id is None:
            self._vouched = True
            return
        try:
            await self._activate(self.lease_id)
        except (IllegalTransition, RunLockHeld) as error:
            self.log.error("%s runs without a lease of its own: %s", self._log_name, error)
            self._vouched = True

    @property
    def ready(self) -> bool:
        """Not while a failed start is cleared away, nor after: the page would be sent to a dead server.

        After a cancelled start nobody looks for a second or longer, and the server counts as there meanwhile.
        """
        return bool(super().ready) and not self._starting and not self._failed_start

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the pending page shows."""
        shown = None
        while self._started is None or self._starting:
            if self._step != shown:
                shown = self._step
                yield {"progress": shown[0], "message": shown[1]}
            await asyncio.sleep(0.2)
        yield {"progress": 80, "message": mark("Waiting for JupyterLab to answer")}

    # -- stop -----------------------------------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:
        """Stop and remove the container.

        The lease is let go of first: if the hub is killed on the way, the agent finishes the stop.
        """
        if self._started is not None:
            await self._started.wait()
        await self._let_go(mark("the server was stopped"))
        if self._failed_start and not (self._building and self.object_id):
            return  # a start that was cancelled, and has been cleared away or never came to a container
        await super().stop(now)

    async def run_post_stop_hook(self) -> None:
        """Let go of the lease, after whatever kind of end.

        JupyterHub calls ``stop()`` only for a server that polls as running; this hook runs after every stop,
        failed start and cancelled start. A spawn refused in validation comes by as well, with no lease.
        """
        if self._started is not None:
            await self._started.wait()
        await self._let_go(mark("the server ended"))
        result = super().run_post_stop_hook()
        if inspect.isawaitable(result):
            await result

    # -- what the hub keeps ---------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """DockerSpawner's state, the lease while a container exists, and always the home."""
        state: dict[str, Any] = super().get_state()
        if self.object_id and self.lease_id:
            state["lease_id"] = self.lease_id
        if self.home is not None:
            state["home"] = {"kind": self.home.kind.value, "source": self.home.source}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """The way back of :meth:`get_state`."""
        super().load_state(state)
        self.lease_id = state.get("lease_id")
        if "home" in state:
            self.home = Home(self.user.name, HomeKind(state["home"]["kind"]), state["home"]["source"])

    async def rename(self, old_name: str, new_name: str) -> None:
        """Refuse: containers and leases are found by the server's name."""
        raise refuse(
            "A server cannot be renamed here. Make a new one instead; all your servers have the same files.",
            reason="rename",
            status=400,
        )

    async def delete_forever(self) -> None:
        """Keep the home: only an administrator deletes one, by an explicit act.

        JupyterHub deletes the default server with its person only, so their keys for SSH end with that.
        """
        if not self.name:
            await self.end_keys()
        self.log.info("%s is deleted; the home of %s is kept", self._log_name, self.user.name)


def _mounted_home(container: dict[str, Any], owner: str, home_dir: str) -> Home | None:
    for mount in container.get("Mounts", []):
        if mount.get("Destination") == home_dir and mount.get("Type") in set(HomeKind):
            kind = HomeKind(mount["Type"])
            return Home(owner, kind, mount["Name"] if kind is HomeKind.VOLUME else mount["Source"])
    return None
