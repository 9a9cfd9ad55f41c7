from __future__ import annotations

from collections import defaultdict
from dataclasses import FrozenInstanceError, astuple
from hashlib import sha256
from itertools import pairwise

import pytest
from gpuspawner.simulate.csvfiles import read_trace, write_events, write_sessions
from gpuspawner.simulate.generate import PARAMETERS, generate_rows, quote_sizes
from gpuspawner.simulate.traces import MINUTE, build_trace


@pytest.fixture(scope="module")
def rows():
    return generate_rows(3000, 7)


@pytest.fixture(scope="module")
def trace(rows):
    return build_trace(*rows)


def quantile(values, part: float) -> float:
    return sorted(values)[int(len(values) * part)]


def test_the_parameters_are_those_that_were_committed_before_any_rule_was_tuned() -> None:
    digest = sha256(repr(astuple(PARAMETERS)).encode()).hexdigest()
    assert digest[:16] == "0de45eff2bae212b"
    with pytest.raises(FrozenInstanceError):
        PARAMETERS.task_median = 1.0  # type: ignore[misc]


def test_durations_of_tasks_are_as_published(rows) -> None:
    durations = [event.duration / MINUTE for event in rows[1]]
    assert quantile(durations, 0.50) == pytest.approx(2.0, rel=0.05)
    assert quantile(durations, 0.75) == pytest.approx(5.0, rel=0.05)


def test_times_between_starts_of_tasks_are_as_published(rows) -> None:
    starts = defaultdict(list)
    for event in rows[1]:
        starts[event.session].append(event.start / MINUTE)
    steps = [later - earlier for mine in starts.values() for earlier, later in pairwise(mine)]
    assert quantile(steps, 0.5) == pytest.approx(5.0, rel=0.05)
    assert min(steps) == pytest.approx(4.0, abs=0.03)


def test_idleness_is_as_published(trace) -> None:
    held = sum(s.gpus * s.length for s in trace.sessions)
    busy = sum(s.gpus * s.busy for s in trace.sessions)
    unused = sum(s.gpus for s in trace.sessions if not s.work) / sum(s.gpus for s in trace.sessions)
    lightly = sum(s.busy <= 0.05 * s.length for s in trace.sessions) / len(trace.sessions)
    assert 1 - busy / held == pytest.approx(0.82, abs=0.02)
    assert unused == pytest.approx(0.69, abs=0.02)
    assert lightly == pytest.approx(0.75, abs=0.02)


def test_the_mean_utilisation_is_as_published(trace) -> None:
    computed = sum(s.computed or 0 for s in trace.sessions)
    assert computed / sum(s.gpu_work for s in trace.sessions) == pytest.approx(0.52, abs=0.02)


def test_tasks_lie_within_their_sessions_and_apart(trace) -> None:
    for session in trace.sessions:
        edges = [moment for piece in session.work for moment in (piece.start, piece.end)]
        assert edges == sorted(set(edges))
        assert not edges or (edges[0] >= 0 and edges[-1] <= session.length)


def test_the_same_seed_makes_the_same_trace_and_another_one_another(rows) -> None:
    assert generate_rows(3000, 7) == rows
    assert generate_rows(30, 1) != generate_rows(30, 2)


def test_one_session() -> None:
    rows, events = generate_rows(1, 0)
    assert len(rows) == 1
    assert quote_sizes(rows, events).startswith("1 sessions of 1 users")


def test_what_is_written_reads_back_the_same(tmp_path, rows, trace) -> None:
    write_sessions(tmp_path / "s.csv", rows[0])
    write_events(tmp_path / "e.csv", rows[1])
    assert read_trace(tmp_path / "s.csv", tmp_path / "e.csv") == trace
