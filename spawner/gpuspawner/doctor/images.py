"""What is checked of the images that people can choose: that they are here, fit, and were tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gpuspawner.core.images import find_fleet, fits
from gpuspawner.core.model import Device
from gpuspawner.passport.known import KnownImage, find_default
from gpuspawner.passport.model import Passport

from .facts import Facts
from .findings import Finding, Level, unknown


def check_images(facts: Facts) -> Iterator[Finding]:
    """Every image has a passport that fits a card here; what everybody gets was tried on all of them."""
    if facts.images is None:
        return
    devices, images = _list_devices(facts), facts.images.images
    first = next((image.name for image in images if not image.candidate), "")
    default = find_default(images, find_fleet(devices or ()))
    for image in images:
        if image.passport is None:
            yield _without(image)
            continue
        misfit = _why_no_card_fits(image, devices)
        if misfit is None:
            instead = default if image.name == first != default else ""
            is_default = image.name == default
            misfit = _why_untried(image, image.passport, devices, is_default=is_default, instead=instead)
        tried = ", ".join(image.passport.runs) or "nothing"
        yield misfit or Finding("images", Level.OK, f"{image.name} has its passport; it was tried on {tried}")


def _list_devices(facts: Facts) -> Sequence[Device] | None:
    """The cards of this host, under their driver; None when they are not known."""
    probe = facts.probe
    if probe is None or probe.missing_reason is not None:
        return None
    found = (reading.device for reading in probe.devices)
    return [replace(device, driver=probe.driver_version) for device in found if device is not None]


def _without(image: KnownImage) -> Finding:
    if image.digest is None:
        return unknown("images", f"{image.name}: {image.problem}", "make images")
    if image.damaged:
        return Finding(
            "images",
            Level.ERROR,
            f"{image.name}: {image.problem}",
            "What it needs of cards and driver is not known any more, so it is given no card.",
            f"gpuspawner passport make {image.reference}",
        )
    return Finding(
        "images",
        Level.WARNING,
        f"{image.name}: {image.problem}",
        "What it needs of cards and driver is not known, so it is given any card.",
        f"gpuspawner passport make {image.reference}",
    )


def _why_no_card_fits(image: KnownImage, devices: Sequence[Device] | None) -> Finding | None:
    needs = image.needs
    if needs is None or not devices or any(fits(needs, d.compute_capability, d.driver) for d in devices):
        return None
    return Finding(
        "images",
        Level.WARNING,
        f"{image.name} runs on no GPU of this host.",
        f"It needs driver {needs.minimum_driver or 'of any version'} and has code for "
        f"{', '.join(needs.capabilities) or 'any GPU'}.",
        f"gpuspawner passport show {image.reference}",
    )


def _why_untried(
    image: KnownImage,
    passport: Passport,
    devices: Sequence[Device] | None,
    *,
    is_default: bool,
    instead: str,
) -> Finding | None:
    """What everybody gets must have been tried on every architecture here; a frozen one is left as it is.

    Where the cards are not known, that is the CPU at least.

    Args:
        image: It.
        passport: Its passport.
        devices: The cards that are here; None when they are not known.
        is_default: Whether a start takes it that names no image.
        instead: The image that such a start takes instead of it, as long as it was not tried.
    """
    if image.candidate or (image.until is not None and not is_default):
        return None
    untried, failed = passport.list_untried(find_fleet(devices or ())), passport.list_failed()
    if not untried and not failed:
        return None
    lack = f"failed its tests: {', '.join(failed)}" if failed else f"was never tried on {', '.join(untried)}"
    fix = "make test-images" if failed else f"gpuspawner verify {image.reference} --record"
    what = "the default" if is_default else "to be the default" if instead else "for everybody"
    until = f" Until then they get {instead}." if instead else ""
    return Finding(
        "images",
        Level.ERROR if is_default else Level.WARNING,
        f"{image.name} is {what}, and {lack}.",
        f"What people get without asking must compute the same again on every card that is here.{until}",
        f"{fix}  # or name it under candidates in the settings",
    )
