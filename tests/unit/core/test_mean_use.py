"""What several looks at a card come to."""

from __future__ import annotations

import pytest
from gpuspawner.core.model import Sample
from gpuspawner.core.usage import mean_use
from support.build import NOW

CASES = {
    "nothing": ([], None),
    "idle": ([0, 0, 0], 0),
    "a little work is not none": ([0, 0, 0, 0, 1], 1),
    "work": ([10, 30], 20),
    "unknown": ([None, None], None),
    "partly unknown, else idle": ([0, None], None),
    "partly unknown, else work": ([None, 10, 20], 15),
}


@pytest.mark.parametrize(("values", "expected"), CASES.values(), ids=CASES)
def test_mean_use(values: list[int | None], expected: int | None) -> None:
    assert mean_use([Sample(NOW, value) for value in values]) == expected
