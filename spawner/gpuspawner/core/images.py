"""What an image needs of a card and its driver, and on which kinds of cards it was tried."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from .model import Device, ImageNeeds
from .words import mark

CPU = "cpu-avx2"
"""The architecture of a run without a GPU: on one thread, with the instructions of AVX2 and none newer."""
SIMULATED = "(simulated)"
"""What stands in the model of a simulated card: it computes nothing, so no run can be made on it."""

_CAPABILITY = re.compile(r"(\d{1,2})\.(\d{1,2})(a|f|\+PTX)?")


class _Code(NamedTuple):
    """One compute capability that there is code for."""

    major: int
    minor: int
    form: str
    """``a``: for this one alone; ``+PTX``: also as PTX, which the driver compiles for any later one.

    ``f``, for the family of a major version, and nothing come to the same here.
    """

    def runs_on(self, card: tuple[int, int]) -> bool:
        """Whether a card runs it.

        Compiled code runs on the same major version from its minor version on; PTX on everything that is not
        older (CUDA C++ Programming Guide, *Application Compatibility*).
        """
        if self.form == "a":
            return card == (self.major, self.minor)
        if self.form == "+PTX":
            return card >= (self.major, self.minor)
        return card[0] == self.major and card[1] >= self.minor


@lru_cache(maxsize=256)
def _read_code(text: str) -> _Code:
    found = _CAPABILITY.fullmatch(text)
    if found is None:
        raise ValueError(mark(f"{text!r} is not a compute capability, such as 8.0, 9.0a or 12.0+PTX"))
    return _Code(int(found[1]), int(found[2]), found[3] or "")


def require_code(text: str) -> str:
    """A compute capability that there is code for, unchanged. Raises: ValueError."""
    _read_code(text)
    return text


def suits_image(needs: ImageNeeds, device: Device) -> bool:
    """Whether an image runs on a device; a property that is not known does not suit."""
    return _has_driver(needs, device.driver) and _has_code(needs, device.compute_capability)


def fits(needs: ImageNeeds, capability: tuple[int, int] | None, driver: str | None) -> bool:
    """Whether an image runs on such cards under such a driver; what is not known does not suit."""
    return _has_driver(needs, driver) and _has_code(needs, capability)


def list_unfit(needs: ImageNeeds, devices: Iterable[Device]) -> tuple[str, ...]:
    """Models of the devices on which an image does not run, or is not known to."""
    return tuple(sorted({device.model for device in devices if not suits_image(needs, device)}))


def why_unsuited(needs: ImageNeeds, devices: Iterable[Device]) -> str:
    """Say, of devices on which an image does not run, what it needs and what is here; with the fix."""
    devices = list(devices)
    old = [device for device in devices if not _has_driver(needs, device.driver)]
    if old and len(old) == len(devices):
        here = sorted({device.driver or mark("one of an unknown version") for device in old})
        listed_drivers = ", ".join(here)
        return mark(
            f"The image {needs.image} needs NVIDIA driver {needs.minimum_driver} or newer; this server has "
            f"{listed_drivers}. Choose another image, or ask the administrator to update the driver."
        )
    models = {device.model: device.compute_capability for device in devices if device not in old}
    listed_models = ", ".join(_describe_model(model, has) for model, has in sorted(models.items()))
    code = ", ".join(needs.capabilities)
    return mark(
        f"The image {needs.image} has code for GPUs of compute capability {code}, and does not run on "
        f"{listed_models}. Choose another image or another GPU."
    )


def _describe_model(model: str, capability: tuple[int, int] | None) -> str:
    if capability is None:
        return mark(f"{model} (of unknown compute capability)")
    version = "{}.{}".format(*capability)
    return mark(f"{model} (of compute capability {version})")


def asks_no_more_of_cards(new: ImageNeeds | None, old: ImageNeeds | None) -> bool:
    """Whether every card that suited the old needs is sure to suit the new ones."""
    if new is None:
        return True
    if old is None:
        return new.minimum_driver is None and not new.capabilities
    if new.minimum_driver is not None and (
        old.minimum_driver is None or _parse(new.minimum_driver) > _parse(old.minimum_driver)
    ):
        return False
    return not new.capabilities or (bool(old.capabilities) and set(old.capabilities) <= set(new.capabilities))


def _has_driver(needs: ImageNeeds, driver: str | None) -> bool:
    if needs.minimum_driver is None:
        return True
    return driver is not None and _parse(driver) >= _parse(needs.minimum_driver)


def _has_code(needs: ImageNeeds, capability: tuple[int, int] | None) -> bool:
    if not needs.capabilities:
        return True
    return capability is not None and any(_read_code(text).runs_on(capability) for text in needs.capabilities)


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


# -- on what an image was tried -----------------------------------------------------------------------------


def name_architecture(capability: tuple[int, int]) -> str:
    """The name under which runs on such cards are kept: ``sm_80``."""
    return "sm_{}{}".format(*capability)


def name_for_people(architecture: str) -> str:
    """An architecture as people know it: the CPU has no number that says anything to them."""
    return "CPU" if architecture == CPU else architecture


def find_fleet(devices: Iterable[Device]) -> tuple[str, ...]:
    """The architectures that an image must have been tried on before all get it: the CPU, and each real card.

    A card of unknown capability is ``unknown``, on which nothing was ever tried.
    """
    found = {CPU}
    for device in devices:
        if SIMULATED not in device.model:
            capability = device.compute_capability
            found.add(name_architecture(capability) if capability else "unknown")
    return tuple(sorted(found))


def list_untried(tried: Collection[str], fleet: Iterable[str]) -> tuple[str, ...]:
    """The architectures of a fleet that an image was not tried on."""
    return tuple(one for one in fleet if one not in tried)


# -- who may choose an image, and until when ----------------------------------------------------------------


def list_offered(images: Mapping[str, str], frozen: Mapping[str, date], today: date) -> dict[str, str]:
    """The images that can be chosen today: a frozen one only until its last day, that day included.

    Args:
        images: Name → reference, in the order in which they are shown.
        frozen: Name → last day.
        today: The day where the hub is.
    """
    return {name: one for name, one in images.items() if name not in frozen or today <= frozen[name]}


def order_for_default(images: Iterable[str], held_back: Collection[str]) -> tuple[str, ...]:
    """The images in the order in which a start that names none takes the first one that is allowed.

    Args:
        images: In the order of the settings.
        held_back: Those that are not tried on all that is here: the one that was it before stays the default.
    """
    return tuple(sorted(images, key=lambda name: name in held_back))


def list_everybodys(images: Iterable[str], candidates: Collection[str]) -> frozenset[str] | None:
    """What a rule that allows all images allows: those that are no candidates; None for all there are."""
    return frozenset(images).difference(candidates) if candidates else None
