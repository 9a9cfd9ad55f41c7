"""The form that makes or changes a reservation, and what it says while somebody types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from gpuspawner.allocator.made import Preview
from gpuspawner.controller.api import reservations
from gpuspawner.controller.api.access import courses_with
from gpuspawner.controller.api.routes import Call, Forbidden
from gpuspawner.controller.base import House
from gpuspawner.controller.gate import Crowded
from gpuspawner.controller.identity import READ, RESERVE
from gpuspawner.controller.views.changes import Difference, compare
from gpuspawner.controller.views.reserve import (
    Checked,
    Choices,
    Clash,
    Other,
    ReservePage,
    When,
    begin_form,
    fill_form,
    keep_fields,
    read_form,
    tell_problem,
    view_reserve,
)
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound, ReservationConflict
from gpuspawner.core.reservations import Conflict as Collision
from gpuspawner.core.reservations import Occurrence
from gpuspawner.core.roster import Right
from gpuspawner.core.words import mark
from gpuspawner.policy.reservations import find_version, parse_body

from .base import PageHandler
from .page import Outcome, Visit
from .rendering import render
from .reservations import call_api, list_ahead, read_seen, require_standing
from .zones import choose_zone

_CHANGED = mark("Somebody has changed this reservation since you opened the form.")
MOST_DATES = 6
"""Of those that a reservation would make."""


def load_reserve(visit: Visit) -> ReservePage:
    """The empty form of a new reservation. Raises: LedgerError, SettingsError."""
    zone, _ = choose_zone(visit)
    choices, day = find_choices(visit), visit.query.get("day", "")
    return _view(visit, begin_form(zone, visit.services.clock(), day, choices.whom), choices, zone)


def load_change(visit: Visit) -> ReservePage:
    """The form of one's own reservation. Raises: NotFound, Forbidden, LedgerError, SettingsError."""
    zone, _ = choose_zone(visit)
    call = call_api(visit)
    found = reservations.find_own(call)
    info = reservations.show(call, found)
    values = fill_form(info)
    return _view(visit, values, find_choices(visit), zone, seen=find_version(found), title=info.title)


def press_reserve(visit: Visit) -> Outcome | ReservePage:
    """*Reserve*, *Change it*, and *Check* for who has no script.

    Returns:
        Where it leads; or the form as it was filled in, with what is wrong with it.

    Raises:
        Forbidden: They may not reserve for this, or not change it.
        LedgerError: The ledger cannot be used; nothing was changed.
        NotFound: What is to be changed is not there, or not any more.
        SettingsError: The policy cannot be read.
    """
    zone, _ = choose_zone(visit)
    changes, note, seen = "reservation" in visit.parts, "", visit.form.get("seen", "")
    if "check" not in visit.form:
        try:
            if changes:
                require_standing(visit)
            call = call_api(visit, body=parse_body(read_form(visit.form)))
            made = reservations.change(call, read_seen(visit)) if changes else reservations.make(call)
        except (InvalidRequest, ReservationConflict):
            pass  # told beside the form, by the check below
        except Conflict as error:
            # What is shown then is what the form would do to what stands now: the next press may do that.
            note, seen = str(error), _find_version(visit)
        else:
            said = " ".join([mark(f"{made.title}: {'changed' if changes else 'reserved'}."), *made.warnings])
            return Outcome(visit.links.page(f"reservations/{made.id}", zone=zone.key), said)
    checked = judge(visit, visit.form)
    return _fill_again(visit, replace(checked, note=note) if note else checked, seen)


def _find_version(visit: Visit) -> str:
    found = visit.services.reservations.find(visit.parts["reservation"])
    return find_version(found) if found else ""


def _fill_again(visit: Visit, checked: Checked, seen: str) -> ReservePage:
    """The form as it was filled in, and what is to be said of it."""
    zone, _ = choose_zone(visit)
    return _view(visit, keep_fields(visit.form), find_choices(visit), zone, checked=checked, seen=seen)


class FormHandler(PageHandler):
    """``POST`` of the form: on to what was made, or the form again with what is wrong with it."""

    menu = "reservations"

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self, **parts: str) -> None:
        """Do it."""
        visit = self.visit(parts)
        try:
            outcome = await self.in_turn("press", lambda: press_reserve(visit))
        except Crowded as error:
            problem = tell_problem(str(error))
            form = await self.off_loop(lambda: _fill_again(visit, problem, visit.form.get("seen", "")))
            self.set_status(429)
            self.write(self.render_page("reserve.html", page=form))
            return
        except Forbidden as error:
            await self.deny(str(error))
            raise
        if isinstance(outcome, ReservePage):
            self.set_status(200 if "check" in visit.form else 409)
            self.write(self.render_page("reserve.html", page=outcome))
        else:
            self.say(outcome.said)
            self.redirect(outcome.leads_to, status=303)


class CheckHandler(PageHandler):
    """``POST reservations/check``: what would come of a form, as a piece of HTML; nothing is changed."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self) -> None:
        """Judge what was typed in so far."""
        replaced = self.get_body_argument("reservation", "")
        visit = self.visit({"reservation": replaced} if replaced else {})
        try:
            checked = await self.in_turn("check", lambda: judge(visit, visit.form))
        except Crowded as error:
            self.set_status(429)
            checked = tell_problem(mark(f"Whether it fits was not looked at. {error}"))
        self.write(render("parts/check.html", self.language, {"checked": checked}))


def judge(visit: Visit, form: Mapping[str, str]) -> Checked:
    """What would come of a form; nothing is changed. Raises: LedgerError, SettingsError."""
    try:
        call = call_api(visit, body=parse_body(read_form(form)))
        found = reservations.preview(call)
        old, seen = found.replaces, form.get("seen", "")
        changed = old is not None and bool(seen) and find_version(old) != seen
        return replace(_tell_fit(found), note=_CHANGED if changed else "")
    except ReservationConflict as error:
        return _tell_conflict(call, error)
    except (InvalidRequest, Conflict, Forbidden, NotFound) as error:
        return tell_problem(str(error))


def _tell_fit(found: Preview) -> Checked:
    zone = ZoneInfo(found.reservation.zone)
    return Checked(
        True,
        gpus=found.reservation.devices,
        zone=zone.key,
        times=len(found.ahead),
        ahead=tuple(_when(one, zone) for one in found.ahead[:MOST_DATES]),
        warnings=found.warnings,
        difference=_compare(found),
    )


def _compare(found: Preview) -> Difference | None:
    old, new = found.replaces, found.reservation
    if old is None:
        return None
    return compare(old, new, list_ahead(old, new.made_at), found.ahead, found.seats_lost)


def _tell_conflict(call: Call, error: ReservationConflict) -> Checked:
    new = error.conflicts[0].occurrence.reservation
    zone = ZoneInfo(new.zone)
    return Checked(
        False,
        gpus=new.devices,
        zone=zone.key,
        clashes=tuple(_tell_clash(call, one, zone) for one in error.conflicts),
    )


def _tell_clash(call: Call, one: Collision, zone: ZoneInfo) -> Clash:
    others = []
    for other in one.others:
        info = reservations.show(call, other.reservation)
        kind = other.reservation.holder.kind
        others.append(Other(info.title, kind, getattr(info, kind), other.seats, _when(other, zone)))
    return Clash(_when(one.occurrence, zone), one.occurrence.seats - one.left, one.left, tuple(others))


def _when(one: Occurrence, zone: ZoneInfo) -> When:
    return When(one.start.astimezone(zone), one.end.astimezone(zone))


def find_choices(visit: Visit) -> Choices:
    """What the form offers. Raises: LedgerError, SettingsError."""
    call, caller = call_api(visit), visit.caller
    names = visit.services.policies.names()
    devices = [record.device for record in visit.line.situation.inventory]
    whom = [("course", name) for name in sorted(courses_with(call, Right.RESERVE))]
    if caller.person is not None and caller.may(RESERVE):
        whom.append(("person", caller.person))
    return Choices(
        whom=() if caller.manages else tuple(whom),
        anybody=caller.manages,
        names=tuple(sorted({*(names.courses or ()), *(names.groups or ())})) if caller.manages else (),
        pools=tuple(sorted(names.pools)),
        models=tuple(sorted(Counter(device.model for device in devices).items())),
        cards=tuple((device.uuid, device.model) for device in devices),
    )


def _view(
    visit: Visit,
    values: Mapping[str, str],
    choices: Choices,
    zone: ZoneInfo,
    *,
    checked: Checked | None = None,
    seen: str = "",
    title: str = "",
) -> ReservePage:
    replaces = visit.parts.get("reservation", "")
    links = visit.links
    return view_reserve(
        values,
        choices,
        checked,
        action=links.below("reservations", *((replaces, "put") if replaces else ("make",))),
        check=links.below("reservations", "check"),
        calendar=links.page("reservations", zone=zone.key),
        zone=zone.key,
        replaces=replaces,
        seen=seen,
        title=title,
    )
