"""The images that people can choose: what is in them, what they need, and on what they were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from gpuspawner.controller.links import Links
from gpuspawner.core.images import find_fleet, list_unfit, name_for_people
from gpuspawner.core.model import Device
from gpuspawner.core.policy import Allowance
from gpuspawner.core.quota import why_not_image
from gpuspawner.passport.known import KnownImage, find_default
from gpuspawner.passport.model import Passport, Run, Versions

PAGE = "images"
_MOST_LOOKED_FOR = 100
"""Characters of what is looked for."""


@dataclass(frozen=True, slots=True)
class ImageLine:
    """An image in the list of them."""

    name: str
    href: str
    default: bool
    """Whether a start takes it where nothing else is chosen."""
    candidate: bool
    """Whether it is on trial: only those can choose it whose policy names it."""
    until: date | None
    """The last day on which it can be chosen; None: that is not known."""
    barred: str | None
    """Why who looks may not use it."""
    problem: str
    """Why there is no passport; empty when there is one."""
    versions: Versions | None
    size_bytes: int | None
    built: datetime | None
    tried: tuple[str, ...]
    """On what it was tried, as people know it."""
    untried: tuple[str, ...]
    """What is here and it was not tried on."""
    unfit: tuple[str, ...]
    """Models that are here and it does not run on."""


@dataclass(frozen=True, slots=True)
class ImagesPage:
    """The list."""

    images: tuple[ImageLine, ...]


@dataclass(frozen=True, slots=True)
class RunLine:
    """A fixed-seed run."""

    architecture: str
    card: str | None
    driver: str | None
    date: datetime
    step_milliseconds: float
    weights: str


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages of one kind, as far as they were looked for."""

    found: tuple[tuple[str, str], ...]
    """Name and version."""
    total: int


@dataclass(frozen=True, slots=True)
class ImagePage:
    """The page of an image."""

    line: ImageLine
    reference: str
    digest: str | None
    lock_hash: str | None
    minimum_driver: str | None
    capabilities: tuple[str, ...]
    runs: tuple[RunLine, ...]
    tests: tuple[tuple[str, str], ...]
    asked: str
    """What is looked for among the packages."""
    python: Packages
    debian: Packages
    others: Packages
    """Of npm, and its Node."""
    list: str
    here: str
    changes: str
    """Where it is compared with another image."""
    spdx: str
    """Where the list of parts is had as SPDX."""


def view_images(
    images: Sequence[KnownImage], devices: Sequence[Device], allowance: Allowance | None, links: Links
) -> ImagesPage:
    """The list.

    Args:
        images: In the order of the settings.
        devices: The cards that are here.
        allowance: What who looks may use; None where that is not known.
        links: Where things are.
    """
    default = find_default(images, find_fleet(devices))
    return ImagesPage(
        tuple(_show_line(image, devices, allowance, links, default=image.name == default) for image in images)
    )


def view_image(image: KnownImage, line: ImageLine, query: Mapping[str, str], links: Links) -> ImagePage:
    """The page of one of them.

    Args:
        image: What is known of it.
        line: The same as it is in the list.
        query: What stands behind the question mark; hostile.
        links: Where things are.
    """
    asked = query.get("q", "").strip()[:_MOST_LOOKED_FOR]
    passport = image.passport
    return ImagePage(
        line=line,
        reference=image.reference,
        digest=image.digest,
        lock_hash=passport.lock_hash if passport else None,
        minimum_driver=passport.minimum_driver if passport else None,
        capabilities=passport.compute_capabilities if passport else (),
        runs=tuple(_show_run(name, run) for name, run in passport.runs.items()) if passport else (),
        tests=tuple(passport.tests.items()) if passport else (),
        asked=asked,
        python=_look_for(asked, passport.packages if passport else {}),
        debian=_look_for(asked, passport.debian_packages if passport else {}),
        others=_look_for(asked, passport.others if passport else {}),
        list=links.page(PAGE),
        here=line.href,
        changes=links.below(PAGE, image.name, "changes"),
        spdx=links.below(PAGE, image.name, "sbom.spdx.json"),
    )


def _show_line(
    image: KnownImage,
    devices: Sequence[Device],
    allowance: Allowance | None,
    links: Links,
    *,
    default: bool,
) -> ImageLine:
    passport = image.passport
    return ImageLine(
        name=image.name,
        href=links.below(PAGE, image.name),
        default=default,
        candidate=image.candidate,
        until=image.until,
        barred=why_not_image(image.name, allowance) if allowance else None,
        problem=image.problem,
        versions=passport.versions if passport else None,
        size_bytes=passport.size_bytes if passport else None,
        built=passport.built if passport else None,
        tried=tuple(name_for_people(name) for name in sorted(passport.runs)) if passport else (),
        untried=_list_untried(passport, devices) if passport else (),
        unfit=list_unfit(image.needs, devices) if image.needs else (),
    )


def _list_untried(passport: Passport, devices: Sequence[Device]) -> tuple[str, ...]:
    return tuple(name_for_people(name) for name in passport.list_untried(find_fleet(devices)))


def _show_run(name: str, run: Run) -> RunLine:
    return RunLine(
        name_for_people(name), run.card, run.driver, run.date, run.step_seconds * 1000, run.weights
    )


def _look_for(asked: str, packages: Mapping[str, str]) -> Packages:
    wanted = asked.lower()
    found = tuple((name, version) for name, version in packages.items() if wanted in name.lower())
    return Packages(found, len(packages))
