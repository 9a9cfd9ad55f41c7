"""Why a device is out of service, and what brings it back.

Sources: NVIDIA's XID catalogue, NVML's field 230 (``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``) and NVML's errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

LOOKS_APART = timedelta(seconds=30)
"""Looks further apart are not consecutive: what happened in between is not known."""
MOST_EVIDENCE = 1000
"""Characters of evidence that are kept with a device; all of it is in the audit trail."""


class Cause(StrEnum):
    """Why a device is out of service. What cures each, and why, is in :data:`CURES`."""

    XID = "xid"
    """The driver reported an XID that is not a program's fault."""
    RECOVERY = "recovery"
    """The driver asks for a recovery action (field 230)."""
    LOST = "lost"
    """The driver has lost the card (NVML error 15)."""
    DRIVER = "driver"
    """The driver was upgraded under us (NVML error 18): no card of the host may be given out."""
    UNLISTED = "unlisted"
    """The driver does not list the device any more."""
    SILENT = "silent"
    """The driver, or the card, did not answer, or did not say what a release needs."""


@dataclass(frozen=True, slots=True)
class Cure:
    """What brings a device back."""

    check: timedelta | None
    """It comes back by itself after looks without a fault for so long; None: an administrator clears it."""
    why: str
    """Why that is enough, and why it is needed, for people."""

    @property
    def soft(self) -> bool:
        """Whether the device comes back by itself."""
        return self.check is not None


_MINUTE = timedelta(seconds=60)

CURES: dict[Cause, Cure] = {
    # Hard. An XID is told once, and nothing that the driver says later takes it back: a card with an
    # uncorrected memory error looks well at the next look. What an unknown XID means is not known, so it is
    # no better.
    Cause.XID: Cure(None, "the driver tells an XID once, and a later look does not show whether it is cured"),
    # Soft: the driver takes the wish back when the reset or reboot has been made, and not before. An XID that
    # came with it stands by itself.
    Cause.RECOVERY: Cure(_MINUTE, "the driver takes it back when it has been done"),
    # Soft: it answers again only after somebody reset it or the host was rebooted. Where the driver called it
    # a hardware fault it also raised XID 79, which stands.
    Cause.LOST: Cure(_MINUTE, "a lost card answers again only after a reset or a reboot"),
    # Soft: library and driver fit together again only after a reboot, or a reload and a restart of the agent.
    Cause.DRIVER: Cure(_MINUTE, "the driver answers again only when it fits its library"),
    # Soft: a card is back in the list after a reset, a reload, a reboot, a new seat, or the end of MIG mode.
    Cause.UNLISTED: Cure(_MINUTE, "a card is listed again only after somebody did something to it"),
    # Soft, and short: on a busy host a call may be late once. Nobody said that anything is wrong; the check
    # only keeps a card out that answers now and then.
    Cause.SILENT: Cure(timedelta(seconds=10), "a late answer alone is no fault"),
}
"""By cause. Who uses a card without a lease is not among them: that is no fault, and the look that shows
nobody is the same proof on which a release rests, so such a card is free at that look."""

WORST_FIRST = (Cause.XID, Cause.DRIVER, Cause.LOST, Cause.RECOVERY, Cause.UNLISTED, Cause.SILENT)
"""A worse cause is not forgotten for a milder one that is seen later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a device is out of service, kept until it is back."""

    cause: Cause
    reason: str
    """What is wrong, for people."""
    evidence: str
    """What was read, and when."""
    since: datetime
    """Since when the device is out of service, whatever the first cause was."""
    check_since: datetime | None = None
    """The first of the consecutive looks, up to now, that showed nothing wrong; None while there is none."""


def choose_worse(old: Fault | None, new: Fault) -> Fault:
    """What is kept of a fault that was known and one that is seen now; a check begins anew.

    The newer one stands for both unless it is milder. The device is out of service since the first.
    """
    if old is None:
        return new
    milder = WORST_FIRST.index(new.cause) > WORST_FIRST.index(old.cause)
    if milder or (new.cause, new.reason) == (old.cause, old.reason):
        return replace(old, check_since=None)
    evidence = f"{old.evidence}; {new.evidence}"
    return replace(
        new, evidence=evidence if len(evidence) <= MOST_EVIDENCE else new.evidence, since=old.since
    )


def continue_check(fault: Fault, *, now: datetime, seen_at: datetime) -> Fault | None:
    """Go on with the check of a soft fault at a look that shows nothing wrong.

    Args:
        fault: What was wrong.
        now: The look.
        seen_at: When the device was seen before this look.

    Returns:
        None when the check is passed, else the fault with its check under way.
    """
    check = CURES[fault.cause].check
    if check is None:
        return fault
    since = fault.check_since
    # A clock that was set back, or a pause of the agent, begins the check anew.
    if since is None or since > now or not timedelta(0) <= now - seen_at <= LOOKS_APART:
        since = now
    if now - since >= check:
        return None
    return replace(fault, check_since=since)
