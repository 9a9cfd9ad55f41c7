"""What the navigation bar offers to whom."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gpuspawner.controller.identity import Caller
from gpuspawner.controller.links import Links
from gpuspawner.core.words import mark


@dataclass(frozen=True, slots=True)
class PlaceToGo:
    """A link in the navigation bar."""

    label: str
    href: str
    current: bool


def _anybody(caller: Caller) -> bool:
    return True


def _manages(caller: Caller) -> bool:
    return caller.manages


_PLACES: tuple[tuple[str, str, Callable[[Caller], bool]], ...] = (
    ("servers", mark("Your servers"), _anybody),
    ("queue", mark("Your place in line"), _anybody),
    ("reservations", mark("Reservations"), _anybody),
    ("courses", mark("Your courses"), _anybody),
    ("images", mark("Images"), _anybody),
    ("ssh", mark("SSH & editors"), _anybody),
    ("reports", mark("Reports"), _anybody),
    ("board", mark("GPUs and people"), _manages),
)
"""Path, label, and who sees the link; the page itself judges who may come."""


def list_places_to_go(
    caller: Caller, links: Links, current: str, absent: Collection[str] = ()
) -> tuple[PlaceToGo, ...]:
    """The pages that somebody may see, in order.

    Args:
        caller: Who looks.
        links: Where the pages are.
        current: Name of the page that they look at.
        absent: Names of pages that this installation has not.
    """
    return tuple(
        PlaceToGo(label, links.page(name), name == current)
        for name, label, sees in _PLACES
        if name not in absent and sees(caller)
    )
