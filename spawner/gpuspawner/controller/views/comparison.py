"""What changes for people when one image takes another's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuspawner.controller.links import Links
from gpuspawner.core.drift import Difference, Drift, RunDrift, compare_images
from gpuspawner.core.images import name_for_people
from gpuspawner.passport.known import KnownImage
from gpuspawner.passport.sides import to_side

from .images import PAGE


@dataclass(frozen=True, slots=True)
class RunChange:
    """The trainings of both on one kind of card."""

    architecture: str
    """As people know it."""
    drift: RunDrift
    milliseconds: tuple[float, float]
    """Of a step, before and after."""


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """The page."""

    name: str
    """Of the image that is to come."""
    old: str | None
    """The image that it is compared with; None: no other one has a passport."""
    others: tuple[str, ...]
    """All that it can be compared with."""
    problem: str
    """Why it can be compared with none; empty when it can."""
    drift: Drift | None
    lists: tuple[tuple[str, tuple[Difference, ...]], ...]
    """``versions``, ``python``, ``debian`` and, where there are any, ``others``, each with what differs."""
    runs: tuple[RunChange, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    here: str
    image: str
    """The page of the image."""


def view_comparison(
    image: KnownImage, all_images: Sequence[KnownImage], query: Mapping[str, str], links: Links
) -> ComparisonPage:
    """The page.

    Args:
        image: The image that is to come.
        all_images: Those that people can choose.
        query: What stands behind the question mark; hostile.
        links: Where things are.
    """
    others = {one.name: one.passport for one in all_images if one.passport and one.name != image.name}
    asked = query.get("from", "")
    old = asked if asked in others else next(iter(others), None)
    drift = None
    if old is not None and image.passport is not None:
        drift = compare_images(to_side(others[old]), to_side(image.passport))
    return ComparisonPage(
        name=image.name,
        old=old,
        others=tuple(others),
        problem=image.problem,
        drift=drift,
        lists=_show_lists(drift) if drift else (),
        runs=tuple(_show_run(run) for run in drift.runs) if drift else (),
        only_old=tuple(map(name_for_people, drift.only_old)) if drift else (),
        only_new=tuple(map(name_for_people, drift.only_new)) if drift else (),
        here=links.below(PAGE, image.name, "changes"),
        image=links.below(PAGE, image.name),
    )


def _show_lists(drift: Drift) -> tuple[tuple[str, tuple[Difference, ...]], ...]:
    lists = (("versions", drift.versions), ("python", drift.packages), ("debian", drift.debian_packages))
    has_others = drift.old.other_packages or drift.new.other_packages
    return (*lists, ("others", drift.other_packages)) if has_others else lists


def _show_run(run: RunDrift) -> RunChange:
    old, new = run.step_seconds
    return RunChange(name_for_people(run.architecture), run, (old * 1000, new * 1000))
