"""NumPy, pandas and Matplotlib."""

from __future__ import annotations

import pytest
from support.sessions import Session

pytestmark = pytest.mark.docker
PLOT = """
import matplotlib.pyplot as plt, numpy, pandas
frame = pandas.DataFrame({"x": numpy.arange(10.0)}).rolling(2).mean()
frame.plot().figure.savefig("plot.png")
print(frame.x.sum(), open("plot.png", "rb").read(4))
"""


def test_a_table_is_plotted(session: Session) -> None:
    assert session.run_cell(PLOT).split() == ["40.5", "b'\\x89PNG'"]
