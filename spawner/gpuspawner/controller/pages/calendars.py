"""Calendars that come in, and people's own calendars, which calendar programs read by a secret address."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tornado.web import HTTPError, RequestHandler

from gpuspawner.allocator.bookevents import CONTROLLER
from gpuspawner.allocator.feeds import Feeds
from gpuspawner.controller.api import calendars, linemodels, models, reservations
from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.linemodels import CalendarInfo
from gpuspawner.controller.api.routes import ICAL, Call, Forbidden
from gpuspawner.controller.base import PRIVATE, House
from gpuspawner.controller.gate import Crowded
from gpuspawner.controller.identity import READ
from gpuspawner.controller.services import Services
from gpuspawner.controller.views.reserve import Choices
from gpuspawner.core.errors import Conflict, GpuSpawnerError, InvalidRequest, NotFound
from gpuspawner.core.feeds import Feed, choose_usable
from gpuspawner.core.words import mark
from gpuspawner.policy.ical import to_ical

from .base import PageHandler
from .page import Outcome, Visit
from .reservations import back_to_calendar, call_api
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
    sent = {"calendar": read_calendar(visit), **_read_defaults(visit)}
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
    calendars.end_own(call_api(visit))
    return Outcome(back_to_calendar(visit), "The address of your calendar works no more.")


@dataclass(frozen=True, slots=True)
class AddressesPage:
    """Whose calendars have a secret address, for administrators."""

    calendars: tuple[CalendarInfo, ...]
    zone: str
    """The reader's time zone."""
    end: str
    """Where the buttons lead."""
    calendar: str


def load_addresses(visit: Visit) -> AddressesPage:
    """The page's model. Raises: LedgerError."""
    zone, _ = choose_zone(visit)
    return AddressesPage(
        tuple(calendars.list_calendars(call_api(visit)).calendars),
        zone.key,
        visit.links.below("reservations", "addresses", "end"),
        visit.links.page("reservations", zone=zone.key),
    )


def press_end_other(visit: Visit) -> Outcome:
    """*End it*: the address of somebody's calendar works no more."""
    person = visit.form.get("person", "")
    body = check(models.ReasonBody, {"reason": visit.form.get("reason", "").strip()}, "field")
    try:
        calendars.end_calendar(Call(visit.services, visit.caller, {"person": person}, body=body))
    except NotFound as error:  # somebody else was quicker
        raise Conflict(str(error)) from None
    return Outcome(back_to_addresses(visit), f"The address of the calendar of {person} works no more.")


def back_to_addresses(visit: Visit) -> str:
    """Where the list is."""
    zone, _ = choose_zone(visit)
    return visit.links.page("reservations/addresses", zone=zone.key)


def read_calendar(visit: Visit) -> str:
    """The calendar that was sent, as a file or as its text. Raises: InvalidRequest: There is none."""
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
            secret = await self.off_loop(lambda: calendars.make_own(call_api(visit)))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        path = self.links.below("feed", f"{secret}.ics")
        address = f"{self.request.protocol}://{self.request.host}{path}"
        self.write(self.render_page("address.html", address=address, calendar=back_to_calendar(visit)))


_FEED = re.compile(r"([A-Za-z0-9_-]{1,200})\.ics")


class FeedHandler(RequestHandler):
    """``GET feed/<secret>.ics``: a person's calendar, for a program that cannot log in."""

    shown_path = "feed/…"
    """What logs say: whoever reads them must not learn the secret."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.services: Services = house.services
        self.feeds = house.feeds

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
        loop, services = asyncio.get_running_loop(), self.services
        feeds = Feeds(services.ledger, services.clock)
        feed = await loop.run_in_executor(None, lambda: feeds.find(asked[1]))
        if feed is None:
            raise HTTPError(404)
        async with self.feeds.turn(feed.owner):
            found = await loop.run_in_executor(None, lambda: _read_feed(services, feed))
        if found is None:
            raise HTTPError(404)
        self.set_header("Content-Type", ICAL)
        self.finish(found)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A sentence that tells nothing else."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, GpuSpawnerError):
            status_code = 429 if isinstance(error, Crowded) else 503
            self.set_status(status_code)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "There is no such calendar; copy its address again, or renew it on the page of reservations.\n"
            if status_code == 404
            else "The calendar cannot be read now. Try again later.\n"
        )

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """Without the address, which is secret."""
        if not isinstance(value, HTTPError | Crowded):
            log.error("The calendar of somebody cannot be read", exc_info=(kind, value, trace))


def _read_feed(services: Services, feed: Feed) -> bytes | None:
    """What somebody may use now, in which no person is named; None for who is not known any more.

    The secret of somebody who was removed from the hub ends here: another person may get their name.

    Raises:
        HubError, LedgerError, SettingsError: It cannot be told what they may see now, so nothing is told.
    """
    feeds = Feeds(services.ledger, services.clock)
    groups = services.hub.groups_of(feed.owner)
    if groups is None:
        with suppress(NotFound):
            feeds.end(feed.owner, actor=CONTROLLER, reason=mark("the hub does not know this person any more"))
        return None
    party = services.policies.belonging(feed.owner, groups)
    usable = choose_usable(feed.owner, party, services.reservations.standing())
    feeds.note_read(feed)
    return to_ical(usable, now=services.clock(), people=False)
