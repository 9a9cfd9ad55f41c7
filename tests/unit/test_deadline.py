"""Calls that may never return."""

from __future__ import annotations

import threading
import time

import pytest
from gpuspawner.adapters.deadline import Calls


def test_value_and_error_are_handed_on() -> None:
    calls = Calls()
    good, bad = calls.start("a", lambda: 7), calls.start("b", lambda: 1 // 0)
    assert good
    assert bad
    assert good.result(time.monotonic() + 5) == 7
    with pytest.raises(ZeroDivisionError):
        bad.result(time.monotonic() + 5)


def test_a_call_that_hangs_is_not_begun_again_and_holds_up_no_other() -> None:
    calls, gate, begun = Calls(), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        gate.wait()

    first = calls.start("sick", hang)
    assert first
    with pytest.raises(TimeoutError):
        first.result(time.monotonic() + 0.05)
    assert calls.start("sick", hang) is None
    other = calls.start("well", lambda: 7)
    assert other
    assert other.result(time.monotonic() + 5) == 7
    assert calls.hangs_besides("well")
    assert not calls.hangs_besides("sick")
    gate.set()
    first.result(time.monotonic() + 5)
    assert calls.start("sick", hang) is not None
    assert begun == [1, 1]
