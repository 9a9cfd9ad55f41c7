"""What changes for people when one image takes another's place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Change(StrEnum):
    """What became of a part."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Difference(NamedTuple):
    """One part that is not the same in both."""

    name: str
    change: Change
    old: str | None
    """Its version; None: it is not there."""
    new: str | None


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training with fixed seeds in one image, on one architecture."""

    weights: str
    """Hash of the final weights."""
    losses: tuple[float, ...]
    """Loss of each step."""
    rng: Mapping[str, str]
    """Hash of each stream of random numbers, by its name."""
    step_seconds: float
    """Median time of a step."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two images; None is *unknown* or *none*."""

    image: str
    digest: str
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Of Python, torch, CUDA, cuDNN and NCCL."""
    packages: Mapping[str, str] = field(default_factory=dict)
    debian_packages: Mapping[str, str] = field(default_factory=dict)
    other_packages: Mapping[str, str] = field(default_factory=dict)
    """Of npm, and its Node."""
    minimum_driver: str | None = None
    """None: any."""
    compute_capabilities: tuple[str, ...] = ()
    size_bytes: int = 0
    runs: Mapping[str, TrainingRun] = field(default_factory=dict)
    """By architecture."""


@dataclass(frozen=True, slots=True)
class RunDrift:
    """How the trainings of both came out on one architecture."""

    architecture: str
    rng_changed: tuple[str, ...]
    """The streams of random numbers that are not the same, or that only one has."""
    weights_equal: bool
    """Whether everything is: the same to the last bit."""
    largest_difference: float
    """Of the loss of one step, between both."""
    at_step: int
    """Where that is, counted from 1."""
    first_step: int | None
    """The first step whose loss differs; None when none does."""
    steps: tuple[int, int]
    """How many steps each has; only those that both have are compared."""
    step_seconds: tuple[float, float]
    """Of the old one and the new one."""


@dataclass(frozen=True, slots=True)
class Drift:
    """All differences."""

    old: Side
    new: Side
    versions: tuple[Difference, ...]
    packages: tuple[Difference, ...]
    debian_packages: tuple[Difference, ...]
    other_packages: tuple[Difference, ...]
    minimum_driver: Difference | None
    capabilities_lost: tuple[str, ...]
    capabilities_gained: tuple[str, ...]
    size_bytes: int
    """By how much the new one is larger."""
    runs: tuple[RunDrift, ...]
    """On the architectures that both were tried on."""
    only_old: tuple[str, ...]
    """Architectures that only the old one was tried on."""
    only_new: tuple[str, ...]

    @property
    def none(self) -> bool:
        """Whether both hold and compute the same, as far as it was tried; their sizes may differ."""
        lists = (self.versions, self.packages, self.debian_packages, self.other_packages)
        lost = self.capabilities_lost or self.capabilities_gained or self.minimum_driver
        return not any(lists) and not lost and all(run.weights_equal for run in self.runs)


def compare_images(old: Side, new: Side) -> Drift:
    """Compare the image that is there with the one that is to come."""
    both = [name for name in sorted(old.runs) if name in new.runs]
    driver = list_differences({"driver": old.minimum_driver}, {"driver": new.minimum_driver})
    return Drift(
        old=old,
        new=new,
        versions=list_differences(old.versions, new.versions),
        packages=list_differences(old.packages, new.packages),
        debian_packages=list_differences(old.debian_packages, new.debian_packages),
        other_packages=list_differences(old.other_packages, new.other_packages),
        minimum_driver=driver[0] if driver else None,
        capabilities_lost=_without(old.compute_capabilities, new.compute_capabilities),
        capabilities_gained=_without(new.compute_capabilities, old.compute_capabilities),
        size_bytes=new.size_bytes - old.size_bytes,
        runs=tuple(compare_runs(name, old.runs[name], new.runs[name]) for name in both),
        only_old=tuple(sorted(set(old.runs) - set(new.runs))),
        only_new=tuple(sorted(set(new.runs) - set(old.runs))),
    )


def list_differences(
    old: Mapping[str, str | None] | Mapping[str, str], new: Mapping[str, str | None] | Mapping[str, str]
) -> tuple[Difference, ...]:
    """The parts that are not the same, by name; a version of None is a part that is not there."""
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        change = Change.ADDED if before is None else Change.REMOVED if after is None else Change.CHANGED
        found.append(Difference(name, change, before, after))
    return tuple(found)


def compare_runs(architecture: str, old: TrainingRun, new: TrainingRun) -> RunDrift:
    """Compare two trainings, step by step as far as both go."""
    gaps = [abs(b - a) for a, b in zip(old.losses, new.losses, strict=False)]
    worst = max(range(len(gaps)), key=gaps.__getitem__, default=None)
    return RunDrift(
        architecture=architecture,
        rng_changed=tuple(one.name for one in list_differences(old.rng, new.rng)),
        weights_equal=old.weights == new.weights and old.losses == new.losses,
        largest_difference=gaps[worst] if worst is not None else math.nan,
        at_step=worst + 1 if worst is not None else 0,
        first_step=next((n for n, gap in enumerate(gaps, 1) if gap), None),
        steps=(len(old.losses), len(new.losses)),
        step_seconds=(old.step_seconds, new.step_seconds),
    )


def _without(these: Sequence[str], those: Sequence[str]) -> tuple[str, ...]:
    return tuple(one for one in these if one not in those)
