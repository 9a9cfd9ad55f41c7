"""Looking into sessions: what their servers, and the Engine, say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from gpuspawner.core.activity import SshUse
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import Lease
from gpuspawner.ports import Address, ContainerEngine, Notebooks

from .idle import Inside

_THREADS = 16
"""Questions to the Engine at once."""


class Sweeper:
    """Looks into sessions, all at once; one that gives no answer is left out, and delays nobody.

    Args:
        engine: Knows where servers listen, and what processor time they took.
        notebooks: Asks the servers.
        clock: Says the present.
        count_ssh: Open connections by SSH, by the lease's id.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        notebooks: Notebooks,
        clock: Callable[[], datetime],
        count_ssh: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._engine, self._notebooks, self._clock = engine, notebooks, clock
        self._count_ssh = count_ssh
        self._addresses: dict[str, Address] = {}
        """By container; asked of the Engine once, and again when a server gave no answer."""

    def look(self, leases: Sequence[Lease]) -> Mapping[str, Inside]:
        """What can be learned of these sessions, by the lease's id. Raises: LedgerError."""
        connections = self._count_ssh()
        by_ssh = [lease for lease in leases if lease.id in connections]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="gpuspawner-sweep") as pool:
            typed = dict(zip(by_ssh, pool.map(self._find_typed, by_ssh), strict=True))
            asked = dict(zip(leases, pool.map(self._ask_engine, leases), strict=True))
        self._addresses = {
            lease.container_id: address
            for lease, (address, _) in asked.items()
            if lease.container_id and address
        }
        servers = {lease.id: address for lease, (address, _) in asked.items() if address}
        answers = self._notebooks.ask(servers)
        for lease in leases:
            if lease.id not in answers:
                self._addresses.pop(lease.container_id or "", None)
        now = self._clock()
        return {
            lease.id: Inside(
                now,
                answers.get(lease.id),
                seconds,
                SshUse(connections[lease.id], typed[lease]) if lease in typed else None,
            )
            for lease, (_, seconds) in asked.items()
        }

    def _find_typed(self, lease: Lease) -> datetime | None:
        """When something was last typed. What cannot be seen may have been typed just now."""
        try:
            return self._engine.typed_at(lease.container_id or "")
        except EngineError:
            return self._clock()

    def _ask_engine(self, lease: Lease) -> tuple[Address | None, float | None]:
        container = lease.container_id or ""
        try:
            address = self._addresses.get(container) or self._engine.locate(container)
            return address, self._engine.processor_seconds(container)
        except EngineError:
            return None, None
