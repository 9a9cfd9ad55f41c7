"""What is checked of the images that people can choose: that they are here, fit, and were tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gpuspawner.core.images import find_fleet, fits
from gpuspawner.core.model import Device
from gpuspawner.passport.known import KnownImage
from gpuspawner.passport.model import Passport

from .facts import Facts
from .findings import Finding, Level, unknown


def check_images(facts: Facts) -> Iterator[Finding]:
    """Every image has a passport that fits a card of this host, and the default was tried on all of them."""
    if facts.images is None:
        return
    devices = _list_devices(facts)
    for number, image in enumerate(facts.images.images):
        if image.passport is None:
            yield _without(image)
            continue
        misfit = _why_no_card_fits(image, devices)
        if misfit is not None:
            yield misfit
        elif number == 0 and devices is not None:
            yield _judge_default(image.name, image.reference, image.passport, devices)
        else:
            tried = ", ".join(image.passport.runs) or "nothing"
            yield Finding("images", Level.OK, f"{image.name}: it runs here; it was tried on {tried}")


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


def _judge_default(name: str, reference: str, passport: Passport, devices: Sequence[Device]) -> Finding:
    """The first image is what a start takes: it must have been tried on every architecture that is here."""
    untried = passport.list_untried(find_fleet(devices))
    if not untried:
        tried = ", ".join(passport.runs) or "nothing: it brings no torch"
        return Finding("images", Level.OK, f"{name}, the default, runs here; it was tried on {tried}")
    return Finding(
        "images",
        Level.ERROR,
        f"{name} is the default, and was never tried on {', '.join(untried)}.",
        "What people get without asking must compute the same again on every kind of card that is here.",
        f"gpuspawner verify {reference} --record  # or put another image first in the settings",
    )
