"""What a page is, what a button on it does, and what both are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuspawner.allocator.places import LineView
from gpuspawner.controller.identity import READ, Caller
from gpuspawner.controller.links import Links
from gpuspawner.controller.services import Services


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody looks at a page, or presses a button on one."""

    services: Services
    caller: Caller
    links: Links
    parts: Mapping[str, str] = field(default_factory=dict)
    """What the path names."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What stands behind the question mark; hostile."""
    form: Mapping[str, str] = field(default_factory=dict)
    """What was filled in; hostile."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files that were sent with the form; hostile."""
    seen: LineView | None = None
    """The line at the moment of an open page; None: the page looks itself."""
    origin: str = ""
    """What the browser's address begins with: ``https://hub.example.org``."""

    @property
    def line(self) -> LineView:
        """The line, the cards and who holds them at one moment. Raises: LedgerError."""
        return self.seen or self.services.see_line()


@dataclass(frozen=True, slots=True)
class Page:
    """A page. It looks again by itself where its template has a part of the same name below ``parts/``."""

    path: str
    """A regular expression, below the service's prefix; named groups become :attr:`Visit.parts`."""
    name: str
    """Of its template, without ``.html``."""
    load: Callable[[Visit], Any]
    """Makes its model, which is compared by value. May block. Raises: GpuSpawnerError, HTTPError."""
    scope: str = READ
    live: bool = True
    """Whether it looks again by itself."""
    rests_on: tuple[str, ...] = ()
    """What the kinds of the events begin with that change it: it is made anew only after one of these, and at
    the time that its model calls ``changes_at``. None: anything may change it."""
    menu: str = ""
    """The page that the navigation bar shows as the present one; empty for this one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a button leads, and what the next page says first."""

    leads_to: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Press:
    """What a button does: ``POST`` below the page's path."""

    path: str
    do: Callable[[Visit], Outcome]
    """May block. What cannot be done as things are (Conflict, Refused and the like) is said on the page."""
    back: Callable[[Visit], str]
    """Where that page is."""
    scope: str = READ
    slow: bool = False
    """Whether it can keep a processor busy for long: few are done at a time."""


@dataclass(frozen=True, slots=True)
class File:
    """What a browser saves."""

    name: str
    """Plain ASCII: it stands in a header."""
    media: str
    text: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file that is made at the moment of asking: ``GET`` below the service's prefix."""

    path: str
    make: Callable[[Visit], File]
    """May block. Raises: GpuSpawnerError, HTTPError."""
    scope: str = READ
