"""Calendars that come in, and people's own calendars, which calendar programs read by a secret address."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any

from tornado.web import HTTPError, RequestHandler

from gpuspawner.allocator.feeds import Feeds
from gpuspawner.controller.api import linemodels, reservations
from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.routes import ICAL, Forbidden
from gpuspawner.controller.base import PRIVATE, House
from gpuspawner.controller.identity import READ
from gpuspawner.controller.services import Services
from gpuspawner.controller.views.reserve import Choices
from gpuspawner.core.errors import InvalidRequest, LedgerError
from gpuspawner.core.feeds import choose_usable
from gpuspawner.core.model import Party
from gpuspawner.core.words import mark
from gpuspawner.policy.ical import to_ical

from .base import PageHandler
from .page import Outcome, Visit
from .reservations import back_to_calendar, call_api, find_party
from .reserve import find_choices
from .zones import choose_zone

log = logging.getLogger("gpuspawner.controller")


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The form that takes a calendar in."""

    choices: Choices
    zone: str
    """The reader's time zone."""
    action: str
    calendar: str


def load_import(visit: Visit) -> ImportPage:
    """The page's model. Raises: LedgerError, SettingsError."""
    zone, _ = choose_zone(visit)
    return ImportPage(
        find_choices(visit),
        zone.key,
        visit.links.below("reservations", "take"),
        visit.links.page("reservations", zone=zone.key),
    )


def press_import(visit: Visit) -> Outcome:
    """*Import*: all of a calendar's reservations are made, or none."""
    sent = {"calendar": _read_calendar(visit), **_read_defaults(visit)}
    made = reservations.take_in(call_api(visit, body=check(linemodels.ImportBody, sent, "field")))
    count, changed = len(made.reservations), len(made.changed)
    new = count - changed
    said = [mark(f"{count} reservation{'' if count == 1 else 's'}: {new} made, {changed} changed.")]
    said += [warning for one in made.reservations for warning in one.warnings]
    return Outcome(back_to_calendar(visit), " ".join(said))


def back_to_import(visit: Visit) -> str:
    """Where the form is."""
    zone, _ = choose_zone(visit)
    return visit.links.page("reservations/import", zone=zone.key)


def press_end(visit: Visit) -> Outcome:
    """*Switch it off*: the address of one's own calendar works no more."""
    Feeds(visit.services.ledger, visit.services.clock).end(_require_person(visit))
    return Outcome(back_to_calendar(visit), "The address of your calendar works no more.")


def _read_calendar(visit: Visit) -> str:
    file = visit.files.get("file", b"")
    try:
        text = file.decode("utf-8-sig") if file else visit.form.get("text", "")
    except UnicodeDecodeError:
        raise InvalidRequest("The file is not a text in UTF-8, as calendars are. Export it again.") from None
    if not text.strip():
        raise InvalidRequest("Choose a calendar file, or paste its text.")
    return text


def _read_defaults(visit: Visit) -> dict[str, object]:
    """What holds for events that do not say it themselves."""
    form = {name: value.strip() for name, value in visit.form.items()}
    whom = form.get("whom") or f"{form.get('kind', '')}:{form.get('name', '')}"
    kind, _, name = whom.partition(":")
    devices = form.get("devices", "")
    said: dict[str, object] = {
        kind: name,
        "devices": int(devices) if re.fullmatch(r"[0-9]{1,6}", devices) else devices,
        "pool": form.get("pool", ""),
        "zone": form.get("zone", ""),
    }
    return {field: value for field, value in said.items() if field and value}


def _require_person(visit: Visit) -> str:
    if visit.caller.person is None:
        raise Forbidden("A program has no calendar of its own.")
    return visit.caller.person


class AddressHandler(PageHandler):
    """``POST reservations/address``: make or renew the secret address of one's own calendar.

    The answer shows it, and nothing else ever does: only its hash is kept.
    """

    menu = "reservations"

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self) -> None:
        """Make it and show it."""
        visit = self.visit({})
        try:
            secret = await self.off_loop(lambda: _make_secret(visit))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        path = self.links.below("feed", f"{secret}.ics")
        address = f"{self.request.protocol}://{self.request.host}{path}"
        self.write(self.render_page("address.html", address=address, calendar=back_to_calendar(visit)))


def _make_secret(visit: Visit) -> str:
    person = _require_person(visit)
    feeds = Feeds(visit.services.ledger, visit.services.clock)
    return feeds.make(person, find_party(visit) or Party())


_FEED = re.compile(r"([A-Za-z0-9_-]{1,200})\.ics")


class FeedHandler(RequestHandler):
    """``GET feed/<secret>.ics``: a person's calendar, for a program that cannot log in."""

    shown_path = "feed/…"
    """What logs say: whoever reads them must not learn the secret."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.services: Services = house.services

    def set_default_headers(self) -> None:
        """Nothing here is for caches or search engines."""
        for name, value in PRIVATE.items():
            self.set_header(name, value)
        self.set_header("X-Robots-Tag", "noindex")

    async def get(self, name: str) -> None:
        """The calendar; 404 where nobody has this secret, or not any more."""
        asked = _FEED.fullmatch(name)
        if asked is None:
            raise HTTPError(404)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, lambda: _read_feed(self.services, asked[1]))
        if found is None:
            raise HTTPError(404)
        self.set_header("Content-Type", ICAL)
        self.finish(found)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A sentence that tells nothing else."""
        if isinstance(kwargs.get("exc_info", (None, None))[1], LedgerError):
            status_code = 503
            self.set_status(status_code)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "There is no such calendar; copy its address again, or renew it on the page of reservations.\n"
            if status_code == 404
            else "The calendar cannot be read now. Try again later.\n"
        )

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """Without the address, which is secret."""
        if not isinstance(value, HTTPError):
            log.error("The calendar of somebody cannot be read", exc_info=(kind, value, trace))


def _read_feed(services: Services, secret: str) -> bytes | None:
    """What somebody may use, in which no person is named. Raises: LedgerError."""
    feed = Feeds(services.ledger, services.clock).find(secret)
    if feed is None:
        return None
    usable = choose_usable(feed, services.reservations.standing())
    return to_ical(usable, now=services.clock(), people=False)
