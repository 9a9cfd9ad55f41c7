"""How many devices a person may hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import RefusalKind, Refused
from .model import Lease, SpawnRequest


@dataclass(frozen=True, slots=True)
class Limits:
    """What one person may hold; the same for everybody."""

    gpus_per_server: int
    """Devices in one server."""
    gpus_per_person: int
    """Devices in all servers of a person together."""


def judge_quota(request: SpawnRequest, owner: str, live: Iterable[Lease], limits: Limits) -> None:
    """Let a request pass if the person may hold that many devices.

    Leases that are being released do not count against the person: the wait is not theirs.

    Raises:
        Refused: ``NOT_ALLOWED``, with the limit that forbids it.
    """
    if request.gpus > limits.gpus_per_server:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You asked for {request.gpus} GPUs; a server may have at most {limits.gpus_per_server}.",
        )
    holding = sum(len(lease.devices) for lease in live if lease.owner == owner and not lease.state.ending)
    if request.gpus and holding + request.gpus > limits.gpus_per_person:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You hold {holding} GPU{'' if holding == 1 else 's'} already and asked for {request.gpus} more; "
            f"one person may hold at most {limits.gpus_per_person}. Stop another server of yours first.",
        )
