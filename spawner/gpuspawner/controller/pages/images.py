"""The pages of the images."""

from __future__ import annotations

import json
from importlib.metadata import version

from gpuspawner.controller.views.images import ImagePage, ImagesPage, view_image, view_images
from gpuspawner.core.errors import NotFound, SettingsError
from gpuspawner.core.policy import Allowance
from gpuspawner.passport.spdx import write_spdx

from .page import File, Visit


def load_images(visit: Visit) -> ImagesPage:
    """The list's model. Raises: LedgerError."""
    devices = [record.device for record in visit.line.situation.inventory]
    return view_images(visit.services.images.all(), devices, _find_allowance(visit), visit.links)


def load_image(visit: Visit) -> ImagePage:
    """The model of one image's page. Raises: LedgerError, NotFound."""
    found = visit.services.images.find(visit.parts["image"])
    line = next(line for line in load_images(visit).images if line.name == found.name)
    return view_image(found, line, visit.query, visit.links)


def make_spdx(visit: Visit) -> File:
    """What is in an image, as a file. Raises: NotFound."""
    found = visit.services.images.find(visit.parts["image"])
    if found.passport is None:
        raise NotFound(f"{found.name}: {found.problem}")
    document = write_spdx(found.passport, version("gpuspawner"))
    return File(f"{found.passport.sha256[:12]}.spdx.json", "application/json", json.dumps(document, indent=2))


def _find_allowance(visit: Visit) -> Allowance | None:
    """What who looks may use; None of a service, and while the policy is broken."""
    caller = visit.caller
    if caller.person is None:
        return None
    try:
        return visit.services.policies.allowance(caller.person, caller.groups)
    except SettingsError:
        return None
