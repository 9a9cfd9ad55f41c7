"""Whether an image computes the same again: in one process, in two containers, and as it was recorded.

What is compared is a small training with fixed seeds (``gpuspawner-session verify``). It comes to the same,
bit for bit, for the same Python packages, architecture of the GPU, and test; nothing else is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Key(NamedTuple):
    """What a result holds for."""

    lock_hash: str
    """sha256 over the lock files of the image and of those it stands on."""
    architecture: str
    """``sm_90``, or ``cpu-avx2``."""
    test: str
    """Name of the training; it changes when the training does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to. All are sha256 in hexadecimal; they differ if anything does."""

    weights: str
    """Of the final weights."""
    losses_hash: str
    """Of the loss curve."""
    data: str
    """Of what the workers of the loader drew."""
    rng: tuple[tuple[str, str], ...]
    """Of the first numbers of each random generator, by its name."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one container told of two trainings in one process."""

    key: Key
    runs: tuple[Outcome, ...]
    losses: tuple[float, ...]
    """Of the first training, one for each step."""
    step_seconds: float
    """Median time of a step of the first training."""
    versions: tuple[tuple[str, str | None], ...]
    """Of Python, torch and CUDA's libraries; None where there is none."""
    device: str
    """Model of the card or of the processor."""
    card_uuid: str | None
    driver: str | None
    """Version of the NVIDIA driver; None without a GPU, or where it did not say."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Golden:
    """A result that others are compared with, and where it comes from."""

    key: Key
    outcome: Outcome
    losses: tuple[float, ...]
    step_seconds: float
    versions: tuple[tuple[str, str | None], ...]
    image: str
    """Name of the image."""
    digest: str
    """Id of the image that it was recorded with; another build of the same lock has another one."""
    device: str
    driver: str | None
    recorded: datetime


class Result(StrEnum):
    """What a comparison came to."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_RECORDED = "not recorded"
    """There is nothing to compare with; that is no pass."""


class Level(NamedTuple):
    """One comparison."""

    name: str
    result: Result
    detail: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All comparisons."""

    levels: tuple[Level, ...]

    @property
    def result(self) -> Result:
        """The worst of all: a difference, else something that was not recorded."""
        found = {level.result for level in self.levels}
        return next(one for one in (Result.DIFFERENT, Result.NOT_RECORDED, Result.SAME) if one in found)


def judge(reports: Sequence[Report], golden: Golden | None) -> Verdict:
    """Compare.

    Args:
        reports: What the containers told, at least two.
        golden: What was recorded for the first one's key; None when nothing was.
    """
    first = reports[0]
    return Verdict((_in_one_process(reports), _in_containers(reports), _with_golden(first, golden)))


def _in_one_process(reports: Sequence[Report]) -> Level:
    name = "same process twice"
    for report in reports:
        for again in report.runs[1:]:
            if again != report.runs[0]:
                return Level(name, Result.DIFFERENT, explain(report.runs[0], again))
    return Level(name, Result.SAME, f"{len(reports)} processes came to the same twice")


def _in_containers(reports: Sequence[Report]) -> Level:
    name = "two containers"
    first = reports[0]
    for other in reports[1:]:
        if other.key != first.key:
            difference = f"they cannot be compared: {_describe(first.key)} and {_describe(other.key)}"
            return Level(name, Result.DIFFERENT, difference)
        if other.runs[0] != first.runs[0]:
            return Level(name, Result.DIFFERENT, explain(first.runs[0], other.runs[0], first, other))
    return Level(name, Result.SAME, f"{len(reports)} containers came to the same")


def _with_golden(report: Report, golden: Golden | None) -> Level:
    name = "golden value"
    if golden is None:
        return Level(name, Result.NOT_RECORDED, f"not recorded for {report.key.architecture}")
    if report.runs[0] != golden.outcome:
        return Level(name, Result.DIFFERENT, explain(golden.outcome, report.runs[0], golden, report))
    where = golden.device + (f", driver {golden.driver}" if golden.driver else "")
    return Level(name, Result.SAME, f"as recorded on {golden.recorded:%Y-%m-%d} with {where}")


def _describe(key: Key) -> str:
    return f"{key.architecture}, {key.test}, lock {key.lock_hash[:12]}"


def explain(
    one: Outcome,
    other: Outcome,
    one_of: Report | Golden | None = None,
    other_of: Report | Golden | None = None,
) -> str:
    """Say what differs first on the way from the random numbers to the weights.

    Args:
        one: A result.
        other: Another one that is not the same.
        one_of: Where its loss curve is.
        other_of: The same of the other.
    """
    mine, theirs = dict(one.rng), dict(other.rng)
    streams = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
    if streams:
        return f"the random numbers differ: {', '.join(streams)}"
    if one.data != other.data:
        return "the random numbers are the same, what the loader's workers drew is not"
    if one.losses_hash != other.losses_hash:
        step = _first_step(one_of.losses, other_of.losses) if one_of and other_of else None
        where = f" from step {step} on" if step is not None else ""
        return f"random numbers and data are the same, the losses differ{where}"
    return "the losses are the same, the final weights differ"


def _first_step(one: Sequence[float], other: Sequence[float]) -> int | None:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False), 1) if a != b), None)


def why_not_recordable(report: Report, verdict: Verdict) -> str | None:
    """Say why a result must not become a golden value, or None when it may.

    One that is recorded already and is the same may be recorded again; one that differs may not.
    """
    for level in verdict.levels:
        if level.result is Result.DIFFERENT:
            return f"{level.name}: {level.detail}"
    if report.key.architecture.startswith("sm_") and not report.driver:
        return "the driver's version is not known, and a value from a GPU is kept with it"
    return None


def make_golden(report: Report, *, image: str, digest: str) -> Golden:
    """A golden value of a result."""
    return Golden(
        key=report.key,
        outcome=report.runs[0],
        losses=report.losses,
        step_seconds=report.step_seconds,
        versions=report.versions,
        image=image,
        digest=digest,
        device=report.device,
        driver=report.driver,
        recorded=report.at,
    )
