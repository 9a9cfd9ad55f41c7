"""The life of a lease: one table of legal steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from .errors import IllegalTransition
from .model import Lease, LeaseState

_S = LeaseState

STEPS: dict[LeaseState, frozenset[LeaseState]] = {
    _S.RESERVED: frozenset({_S.ACTIVE, _S.RELEASING}),
    _S.ACTIVE: frozenset({_S.RELEASING}),
    _S.RELEASING: frozenset({_S.RELEASED, _S.QUARANTINED}),
    _S.QUARANTINED: frozenset({_S.RELEASED}),
    _S.RELEASED: frozenset(),
}
"""From each state, the states that may follow. There is no way from anywhere to RELEASED but by proof."""


def step(lease: Lease, to: LeaseState, *, now: datetime, reason: str, evidence: str = "") -> Lease:
    """Return the lease after one step.

    Args:
        lease: The lease as it is.
        to: The state to go to.
        now: When.
        reason: Why, for people.
        evidence: What was seen that justifies it; kept beside the reason.

    Raises:
        IllegalTransition: The table has no such step.
    """
    if to not in STEPS[lease.state]:
        raise IllegalTransition(f"Lease {lease.id} is {lease.state.value} and cannot become {to.value}.")
    ended_at = lease.ended_at or (now if to is LeaseState.RELEASING else None)
    evidence = evidence or lease.evidence
    return replace(lease, state=to, state_since=now, reason=reason, evidence=evidence, ended_at=ended_at)
