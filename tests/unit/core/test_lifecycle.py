"""Every pair of states."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from gpuspawner.core.errors import IllegalTransition
from gpuspawner.core.lifecycle import STEPS, step
from gpuspawner.core.model import LeaseState as S
from support.build import NOW, lease

LEGAL = {
    (S.RESERVED, S.ACTIVE),
    (S.RESERVED, S.RELEASING),
    (S.ACTIVE, S.RELEASING),
    (S.RELEASING, S.RELEASED),
    (S.RELEASING, S.QUARANTINED),
    (S.QUARANTINED, S.RELEASED),
}


@pytest.mark.parametrize(("before", "after"), list(product(S, S)))
def test_every_pair(before: S, after: S) -> None:
    one = replace(lease(before), evidence="seen before")
    if (before, after) not in LEGAL:
        with pytest.raises(
            IllegalTransition, match=f"lease1 is {before.value} and cannot become {after.value}"
        ):
            step(one, after, now=NOW, reason="why")
        return
    expected = replace(one, state=after, state_since=NOW, reason="why", evidence="seen")
    if after is S.RELEASING:
        expected = replace(expected, ended_at=NOW)
    assert step(one, after, now=NOW, reason="why", evidence="seen") == expected
    assert step(one, after, now=NOW, reason="why").evidence == "seen before"


def test_the_table_names_every_state() -> None:
    assert set(STEPS) == set(S)


def test_only_released_holds_nothing() -> None:
    assert [s for s in S if not s.live] == [S.RELEASED]


def test_what_its_person_has_let_go_of() -> None:
    assert [s for s in S if not s.ending] == [S.RESERVED, S.ACTIVE]
