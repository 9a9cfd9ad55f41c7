"""The machine is worth something: it finds out allocators with a mistake in them, in its time in CI."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.machine.budget import IN_CI
from support.machine.plants import FailOpenLedger, TrustingAllocator
from support.machine.rules import Machine

AT_ONCE = settings(IN_CI, phases=[Phase.generate], print_blob=False)


class FreesOnPoll(Machine):
    allocator_class = TrustingAllocator


class FailsOpen(Machine):
    ledger_class = FailOpenLedger


def test_one_that_frees_a_card_when_poll_says_stopped() -> None:
    with pytest.raises(
        AssertionError, match=r"was (released|granted to \w+) while|in two containers|has a lease of"
    ):
        run_state_machine_as_test(FreesOnPoll, settings=AT_ONCE)


def test_one_whose_lock_fails_open() -> None:
    found = r"has two owners|in two containers|held twice|went from \w+ to"
    with pytest.raises(AssertionError, match=found):
        run_state_machine_as_test(FailsOpen, settings=AT_ONCE)
