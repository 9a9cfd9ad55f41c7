"""What the navigation bar offers to whom."""

from __future__ import annotations

from dataclasses import dataclass

from gpuspawner.controller.identity import Caller
from gpuspawner.controller.links import Links
from gpuspawner.language import mark


@dataclass(frozen=True, slots=True)
class PlaceToGo:
    """A link in the navigation bar."""

    label: str
    href: str
    current: bool


_FOR_ALL = (("queue", mark("Your place in line")),)


def list_places_to_go(caller: Caller, links: Links, current: str) -> tuple[PlaceToGo, ...]:
    """The pages that somebody may see, in order.

    Args:
        caller: Who looks.
        links: Where the pages are.
        current: Name of the page that they look at.
    """
    return tuple(PlaceToGo(label, links.page(name), name == current) for name, label in _FOR_ALL)
