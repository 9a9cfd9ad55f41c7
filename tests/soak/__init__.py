"""The state machine of tests/unit/machine, for long, and at random."""
