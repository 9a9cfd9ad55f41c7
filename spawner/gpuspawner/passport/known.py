"""The images that people can choose, each with the passport of what its name means now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from gpuspawner.core.errors import EngineError, NotFound, PassportError
from gpuspawner.core.images import order_for_default
from gpuspawner.core.model import ImageNeeds
from gpuspawner.core.words import mark
from gpuspawner.ports import Images

from .model import Passport
from .shelf import Shelf

KEEP_SECONDS = 5.0
"""So long an answer holds: pages ask for the same again and again."""
AGAIN_SECONDS = 60.0
"""So long an Engine that did not answer is left alone: each question would wait for its time-out."""


@dataclass(frozen=True, slots=True)
class KnownImage:
    """One image."""

    name: str
    """What people choose it by."""
    reference: str
    digest: str | None = None
    """Its id; None when it is not on this host, or when that is not known."""
    passport: Passport | None = None
    problem: str = ""
    """Why it has no passport; empty when it has one."""
    damaged: bool = False
    """Whether it has a passport that cannot be read: it gets no GPU then."""
    silent: bool = False
    """Whether the Engine has never said what its name means: nobody knows what it needs."""
    candidate: bool = False
    """Whether only those can choose it whose policy names it."""
    until: date | None = None
    """The last day on which a frozen one can be chosen."""

    @property
    def needs(self) -> ImageNeeds | None:
        """What it needs of a card and its driver; None when any will do, or when that is not known."""
        return self.passport.needs(self.name) if self.passport else None


class KnownImages:
    """What is known of the images; for threads.

    Args:
        images: Name → reference.
        engine: Says what a reference means.
        shelf: Their passports.
        monotonic: Seconds that only go forward.
        candidates: Names of those that only some can choose.
        frozen: Name → last day, of those that can be chosen until then.
    """

    def __init__(
        self,
        images: Mapping[str, str],
        engine: Images,
        shelf: Shelf,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        candidates: Collection[str] = (),
        frozen: Mapping[str, date] | None = None,
    ) -> None:
        self._images, self._engine, self._shelf, self._monotonic = images, engine, shelf, monotonic
        self._candidates, self._frozen = frozenset(candidates), dict(frozen or {})
        self._asking = threading.Lock()
        self._known: dict[str, KnownImage] = {}
        self._ask_again = float("-inf")

    def all(self) -> tuple[KnownImage, ...]:
        """Every image, in the order of the settings. Never raises: what is not known says why."""
        with self._asking:
            if self._monotonic() >= self._ask_again:
                keep = KEEP_SECONDS
                try:
                    self._known = {name: self._look(name, of) for name, of in self._images.items()}
                except EngineError as error:
                    # What was known is not forgotten over that: places in line rest on it.
                    keep, problem, before = AGAIN_SECONDS, str(error), self._known
                    self._known = {
                        name: replace(before.get(name) or self._begin(name, of, silent=True), problem=problem)
                        for name, of in self._images.items()
                    }
                self._ask_again = self._monotonic() + keep
            return tuple(self._known.values())

    def find(self, name: str) -> KnownImage:
        """One of them. Raises: NotFound."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            raise NotFound("There is no such image here; the list of images has them all.")
        return found

    def needs(self) -> dict[str, ImageNeeds | None]:
        """What each image needs, by name: None where any card will do; what is not known is left out."""
        return {one.name: one.needs for one in self.all() if not (one.damaged or one.silent)}

    def _look(self, name: str, reference: str) -> KnownImage:
        """Raises: EngineError."""
        image = self._begin(name, reference)
        facts = self._engine.inspect(reference)
        if facts is None:
            return replace(image, problem=mark(f"The image {reference} is not on this server."))
        try:
            passport = self._shelf.find(facts.digest)
        except PassportError as error:
            return replace(image, digest=facts.digest, problem=str(error), damaged=True)
        missing = mark("It has no passport: nobody has looked into it yet.")
        return replace(image, digest=facts.digest, passport=passport, problem="" if passport else missing)

    def _begin(self, name: str, reference: str, *, silent: bool = False) -> KnownImage:
        """What the settings say of an image."""
        candidate, until = name in self._candidates, self._frozen.get(name)
        return KnownImage(name, reference, candidate=candidate, until=until, silent=silent)


def list_held_back(images: Iterable[KnownImage], fleet: Collection[str]) -> frozenset[str]:
    """Names of the images that were not tried on all of a fleet: rather another one is the default."""
    known = ((one.name, one.passport) for one in images)
    return frozenset(name for name, found in known if found is not None and not found.may_be_default(fleet))


def find_default(images: Sequence[KnownImage], fleet: Collection[str]) -> str:
    """The name of the image that a start takes of somebody to whom all are allowed that are no candidates."""
    names = [one.name for one in images if not one.candidate] or [one.name for one in images]
    return next(iter(order_for_default(names, list_held_back(images, fleet))), "")
