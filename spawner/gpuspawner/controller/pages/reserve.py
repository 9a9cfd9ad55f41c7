"""The form that makes or changes a reservation, and what it says while somebody types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from gpuspawner.allocator.reservations import Preview
from gpuspawner.controller.api import reservations
from gpuspawner.controller.api.access import taught_courses
from gpuspawner.controller.api.linemodels import ReservationInfo
from gpuspawner.controller.api.routes import Call, Forbidden
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import READ, RESERVE
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
from gpuspawner.policy.reservations import parse_body

from .base import PageHandler
from .page import Outcome, Visit
from .rendering import render
from .reservations import call_api
from .zones import READER, choose_zone

MOST_DATES = 6
"""Of those that a reservation would make."""
CHECKED = "checked"
"""In the address of the form: what came of it is to be shown."""


def load_reserve(visit: Visit) -> ReservePage:
    """The form of a new reservation. Raises: LedgerError, SettingsError."""
    zone, _ = choose_zone(visit)
    choices = find_choices(visit)
    filled = "title" in visit.query
    values = (
        keep_fields(visit.query)
        if filled
        else begin_form(zone, visit.services.clock(), visit.query.get("day", ""), choices.whom)
    )
    checked = judge(visit, visit.query) if filled and CHECKED in visit.query and not choices.none else None
    return _view(visit, values, choices, checked, zone=zone)


def load_change(visit: Visit) -> ReservePage:
    """The form of one's own reservation. Raises: NotFound, Forbidden, LedgerError, SettingsError."""
    zone, _ = choose_zone(visit)
    call = call_api(visit)
    info = reservations.show(call, reservations.find_own(call))
    filled = "title" in visit.query
    values = keep_fields(visit.query) if filled else fill_form(info)
    checked = judge(visit, visit.query) if filled and CHECKED in visit.query else None
    return _view(visit, values, find_choices(visit), checked, zone=zone, info=info)


def press_reserve(visit: Visit) -> Outcome:
    """*Reserve* and *Change it*. *Check*, which needs no script, leads back to the form."""
    if "check" in visit.form:
        return Outcome(_form_again(visit))
    try:
        call = call_api(visit, body=parse_body(read_form(visit.form)))
        made = reservations.change(call) if "reservation" in visit.parts else reservations.make(call)
    except (InvalidRequest, Conflict):
        # The form keeps what was typed in, and shows what is wrong in its place.
        return Outcome(_form_again(visit))
    zone, _ = choose_zone(visit)
    done = "changed" if "reservation" in visit.parts else "reserved"
    said = " ".join([f"{made.title}: {done}.", *made.warnings])
    return Outcome(visit.links.page(f"reservations/{made.id}", zone=zone.key), said[:800])


def back_to_form(visit: Visit) -> str:
    """Where the form is."""
    parts = visit.parts
    own = (parts["reservation"], "change") if "reservation" in parts else ("new",)
    return visit.links.below("reservations", *own)


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
        checked = await self.off_loop(lambda: judge(visit, visit.form))
        self.write(render("parts/check.html", self.language, {"checked": checked}))


def judge(visit: Visit, form: Mapping[str, str]) -> Checked:
    """What would come of a form; nothing is changed. Raises: LedgerError, SettingsError."""
    try:
        call = call_api(visit, body=parse_body(read_form(form)))
        return _tell_fit(reservations.preview(call))
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
    )


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
    whom = [("course", name) for name in sorted(taught_courses(call))]
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
    checked: Checked | None,
    *,
    zone: ZoneInfo,
    info: ReservationInfo | None = None,
) -> ReservePage:
    return view_reserve(
        values,
        choices,
        checked,
        action=_action(visit),
        check=visit.links.below("reservations", "check"),
        calendar=visit.links.page("reservations", zone=zone.key),
        zone=zone.key,
        replaces=info.id if info else "",
        title=info.title if info else "",
    )


def _action(visit: Visit) -> str:
    parts = visit.parts
    return visit.links.below("reservations", *((parts["reservation"], "put") if parts else ("make",)))


def _form_again(visit: Visit) -> str:
    zone, _ = choose_zone(visit)
    # The form has a time zone of its own, beside the reader's.
    values = {**keep_fields(visit.form), "title": visit.form.get("title", "")[:4000], CHECKED: "1"}
    return f"{back_to_form(visit)}?{urlencode({**values, READER: zone.key})}#checked"
