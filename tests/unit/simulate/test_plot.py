"""The picture of the plane: what is where in it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from gpuspawner.cli import main
from gpuspawner.simulate.compare import CardCount, Options, Results, study, summarize
from gpuspawner.simulate.plot import BOTTOM, LEFT, RIGHT, TOP, draw
from support.traces import trace

SVG = "{http://www.w3.org/2000/svg}"
WHAT = trace(
    ("a", 0, 300, 1, [(10, 20), (60, 70), (200, 210)]),
    ("b", 0, 300, 1, []),
    ("c", 30, 60, 2, [(40, 50)]),
)


def results(*cards: CardCount, runs: int = 1) -> Results:
    options = Options(cards, timeouts=(15, 60))
    return summarize([study(WHAT, options)] * runs, options)


def read(found: Results) -> ElementTree.Element:
    return ElementTree.fromstring(draw(found))


def circles(panel: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in panel.iter(f"{SVG}circle")]


def test_each_rule_is_where_its_figures_say() -> None:
    found = results(CardCount(2))
    panel = read(found).findall(f"{SVG}g")[0]
    rules = found.summaries[0].rules
    middle = [one.text or "" for one in panel.findall(f"{SVG}text") if one.get("text-anchor") == "middle"]
    last = max(float(text) for text in middle if text[0].isdigit())
    for place, rule in zip(circles(panel), ("idle 15 min", "idle 60 min"), strict=True):
        x, y = rules[rule]["reacquisitions"], rules[rule]["recovered"]
        assert x is not None
        assert y is not None
        assert place == (
            pytest.approx(LEFT + x.mean / last * (RIGHT - LEFT), abs=0.06),
            pytest.approx(BOTTOM - y.mean * (BOTTOM - TOP), abs=0.06),
        )


def test_the_line_goes_from_holding_through_the_time_outs_in_order() -> None:
    panel = read(results(CardCount(2))).findall(f"{SVG}g")[0]
    line = panel.findall(f"{SVG}polyline")[0].attrib["points"]
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert points[0] == (LEFT, BOTTOM)
    assert sorted(points[1:]) == sorted(circles(panel))
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_there_is_a_panel_for_each_number_of_gpus_and_words_for_who_sees_nothing() -> None:
    picture = read(results(CardCount(2), CardCount(100, of_mean_held=True)))
    titles = [panel.findall(f"{SVG}text")[0].text for panel in picture.findall(f"{SVG}g")[:-1]]
    assert titles == ["2 GPUs", "2 GPUs (100% of the mean held)"]
    said = picture.findall(f"{SVG}desc")[0].text or ""
    assert re.search(
        r"1 trace: 3 sessions.*2 GPUs: ours: [+-]\d+\.\d points above the line\.", said, re.DOTALL
    )


def test_nobody_to_stop_leaves_a_picture_all_the_same() -> None:
    options = Options((CardCount(1),), timeouts=(15,))
    idle = study(trace(("a", 0, 5, 1, [(0, 5)])), options)
    assert "our rule" in draw(summarize([idle], options))


def test_the_command_writes_it_for_a_trace_of_ones_own(tmp_path: Path) -> None:
    said = ["--generated", "30", "--seeds", "2", "--jobs", "1", "--gpus", "60%", "--timeouts", "30"]
    done = CliRunner().invoke(main, ["simulate", *said, "--plot", f"{tmp_path}/plane.svg"])
    assert done.exit_code == 0
    assert "confidence intervals" in (tmp_path / "plane.svg").read_text()
    lost = CliRunner().invoke(main, ["simulate", *said, "--plot", f"{tmp_path}/no/plane.svg"])
    assert lost.exit_code == 1
    assert "cannot be written: No such file or directory" in lost.output
