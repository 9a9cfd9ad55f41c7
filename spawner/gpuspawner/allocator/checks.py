"""A card for the check of an image: through a lease, as for everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from gpuspawner.adapters.docker_checks import DockerChecks
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import CHECK, RunLock, check_lock
from gpuspawner.core.checkrun import CheckRun
from gpuspawner.core.container import build_labels
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import SpawnRequest
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.policy import allow
from gpuspawner.core.words import mark

from .clock import utc_now
from .leases import Allocator

OWNER = "gpuspawner/check"
"""Who holds a card that an image is checked on. No person of the hub can have a name with a slash."""
CHECK_OVER = mark("the check of the image is over")


@dataclass(frozen=True, slots=True)
class Loan:
    """A card that is held."""

    devices: tuple[str, ...]
    """Its UUID."""
    labels: dict[str, str]
    """Of every container on it."""
    confirm: Callable[[], object]
    """To be called between the making and the start of each: it raises when the card is not held any more."""


def claim_checks(ledger_path: Path) -> RunLock:
    """The right to check images with cards of this ledger, one command at a time.

    Raises:
        RunLockHeld: Another command has it.
        LedgerError: The lock file cannot be made.
    """
    path = check_lock(ledger_path)
    try:
        return RunLock(path, "image check")
    except OSError as error:
        raise LedgerError(f"The lock {path} cannot be made: {error.strerror}.") from error


@contextmanager
def lend_card(
    ledger: Ledger,
    host: str,
    engine: DockerChecks,
    holder: CheckRun,
    *,
    lock: RunLock,
    server: str,
    model: str | None,
    card: str | None,
    length: timedelta,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[Loan]:
    """Hold one free card while images are checked on it; nobody who waits is overtaken.

    A container that only is there holds it, so that it stays held between two others, and is given back also
    when this process is killed: the container ends with it, and the agent does the rest.

    Args:
        ledger: Where leases are.
        host: The host.
        engine: Where the containers are.
        holder: That container; its devices and labels are filled in here.
        lock: What :func:`claim_checks` gave.
        server: Name of the image, for people who see who holds the card.
        model: Model of the card; None for any.
        card: UUID of the card; None for any.
        length: How long it may be held.
        clock: Says the present.

    Yields:
        What the containers on the card need.

    Raises:
        Refused: No such card is free, or nothing is known of the cards.
        LedgerError: The ledger cannot be used; nothing is held.
        EngineError: The container could not be started; nothing is held.
    """
    allowance = allow(cards=frozenset({card}) if card else None, longest_session=length)
    allocator = Allocator(ledger, host, allowance, STALE_AFTER, clock)
    claimant = f"{CHECK}{lock.run_id}"
    request = SpawnRequest(gpus=1, model=model, image=server, session=length, wait=False)
    lease = allocator.reserve(request, owner=OWNER, server=server, claimant=claimant, image=holder.image)
    try:
        labels = build_labels(allocator.ledger_id(), OWNER, server, lease)
        run = replace(holder, devices=lease.devices, labels=labels, waits=True)
        with engine.hold(run, before_start=lambda: allocator.confirm(lease.id)) as container:
            lease = allocator.activate(lease.id, container_id=container, claimant=claimant)
            try:
                yield Loan(lease.devices, labels, lambda: allocator.confirm(lease.id))
            finally:
                # Before the container goes, or else the agent would wonder who took it away.
                allocator.request_release(lease.id, reason=CHECK_OVER, actor=OWNER)
    finally:
        allocator.request_release(lease.id, reason=CHECK_OVER, actor=OWNER)
