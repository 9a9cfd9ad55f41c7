"""How much of the machine runs in CI."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

STEPS_OF_A_RUN = 50

IN_CI = settings(
    max_examples=40,
    stateful_step_count=STEPS_OF_A_RUN,
    # The same in every run: what is random is for ``make soak``.
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
"""2,000 steps."""
