"""What the start page tells of images: which can be had, and with which of the choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from gpuspawner.core.images import fits, order_for_default
from gpuspawner.core.model import ImageNeeds
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import Allowance
from gpuspawner.core.quota import why_not_image
from gpuspawner.passport.model import Passport

ANY_MODEL = "any"
"""The choice of whatever model is free."""


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One image of the catalogue."""

    name: str
    selected: bool
    barred: str | None = None
    """Why the person may not use it; it is shown, with this."""
    unfit: tuple[str, ...] = ()
    """Choices that cannot be had with it: it does not run on their GPUs, or not under the driver."""
    tried: tuple[str, ...] = ()
    """On what it was tried: ``sm_80``, ``cpu-avx2``."""
    untried: tuple[str, ...] = ()
    """What is here and it was not tried on, which keeps it from being the default; none where it may be."""
    torch: str | None = None
    """The version of torch in it; None without, and when that is not known."""
    candidate: bool = False
    """Whether it is on trial."""
    until: date | None = None
    """The last day on which it can be chosen; None: that is not known."""


def list_images(
    images: Sequence[str],
    allowance: Allowance,
    last: object,
    passports: Mapping[str, Passport],
    offers: Collection[Offer],
    *,
    fleet: Collection[str] = (),
) -> tuple[ImageChoice, ...]:
    """The images, the one that was asked for last, or else the first allowed one, selected.

    Args:
        images: Names; the first is the default.
        allowance: What the person may use.
        last: The image of the last start, as it was asked for: anything.
        passports: Those of the images, by name, as far as they are known.
        offers: What the person may use of cards.
        fleet: The architectures of all that is here.
    """
    held_back = {name for name, found in passports.items() if not found.may_be_default(fleet)}
    barred = {name: why_not_image(name, allowance) for name in images}
    # What was asked for last may be anything, also what cannot be looked up in a mapping.
    wanted = last
    if last is None or last in [name for name in images if barred[name]]:
        wanted = next((name for name in order_for_default(images, held_back) if not barred[name]), None)
    found = []
    for name in images:
        choice, passport = ImageChoice(name, name == wanted, barred[name]), passports.get(name)
        if passport is not None:
            needs = passport.needs(name)
            choice = replace(
                choice,
                unfit=_list_unfit(needs, offers) if needs else (),
                tried=tuple(sorted(passport.runs)),
                untried=passport.list_untried(fleet) if name in held_back else (),
                torch=passport.versions.torch,
            )
        found.append(choice)
    return tuple(found)


def _list_unfit(needs: ImageNeeds, offers: Collection[Offer]) -> tuple[str, ...]:
    """The choices on whose GPUs an image does not run, or is not known to."""
    fit = {offer.model for offer in offers if fits(needs, offer.capability, offer.driver)}
    unfit = [offer.model for offer in offers if offer.model not in fit]
    if all(offer.sliced or offer.model not in fit for offer in offers):
        unfit.append(ANY_MODEL)
    return tuple(unfit)
