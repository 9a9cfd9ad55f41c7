"""The images that can be chosen, and their passports."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import Any

from gpuspawner.core.errors import NotFound, SettingsError
from gpuspawner.core.images import find_fleet, list_unfit
from gpuspawner.core.model import Device
from gpuspawner.core.policy import Allowance
from gpuspawner.core.quota import why_not_image
from gpuspawner.passport.known import KnownImage, find_default
from gpuspawner.passport.spdx import write_spdx

from . import models as m
from .routes import Call


def list_images(call: Call) -> m.Images:
    """All images, in the order of the settings."""
    images, allowance, devices = call.services.images.all(), _find_allowance(call), _list_devices(call)
    default = find_default(images, find_fleet(devices))
    found = [_summary(one, allowance, devices, default=one.name == default) for one in images]
    return m.Images(images=[m.ImageSummary(**one) for one in found])


def show_image(call: Call) -> m.ImageInfo:
    """One image with its passport."""
    image = call.services.images.find(call.path["name"])
    devices = _list_devices(call)
    default = image.name == find_default(call.services.images.all(), find_fleet(devices))
    summary = _summary(image, _find_allowance(call), devices, default=default)
    return m.ImageInfo(**summary, passport=image.passport)


def show_parts(call: Call) -> dict[str, object]:
    """What is in an image."""
    image = call.services.images.find(call.path["name"])
    if image.passport is None:
        raise NotFound(f"{image.name}: {image.problem}")
    return write_spdx(image.passport, version("gpuspawner"))


def _summary(
    image: KnownImage, allowance: Allowance | None, devices: list[Device], *, default: bool
) -> dict[str, Any]:
    passport, needs = image.passport, image.needs
    return {
        "name": image.name,
        "reference": image.reference,
        "default": default,
        "candidate": image.candidate,
        "until": image.until,
        "digest": image.digest,
        "problem": image.problem,
        "barred": why_not_image(image.name, allowance) if allowance else None,
        "minimum_driver": passport.minimum_driver if passport else None,
        "compute_capabilities": list(passport.compute_capabilities) if passport else [],
        "validated_on": sorted(passport.runs) if passport else [],
        "not_validated_on": list(passport.list_untried(find_fleet(devices))) if passport else [],
        "does_not_run_on": list(list_unfit(needs, devices)) if needs else [],
    }


def _list_devices(call: Call) -> list[Device]:
    with call.services.ledger.read() as unit:
        return [record.device for record in unit.inventory(call.services.host)]


def _find_allowance(call: Call) -> Allowance | None:
    if call.caller.person is not None:
        with suppress(SettingsError):
            return call.services.policies.allowance(call.caller.person, call.caller.groups)
    return None
