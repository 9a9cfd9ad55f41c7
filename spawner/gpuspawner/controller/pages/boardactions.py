"""The administrators' actions: a page that says what each will do, and the button that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from pydantic import BaseModel
from tornado.web import HTTPError

from gpuspawner.controller.api import audit, cards, leases, linemodels, models, queue
from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.views.boardactions import (
    CARD_ACTIONS,
    plan_announcement,
    plan_card,
    plan_extend,
    plan_message,
    plan_remove,
    plan_stop,
)
from gpuspawner.controller.views.boardcards import link_action
from gpuspawner.controller.views.boardundo import plan_undoing
from gpuspawner.controller.views.plans import Asks, Plan
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound
from gpuspawner.core.words import mark, read_text
from gpuspawner.policy.units import read_duration

from .page import Outcome, Visit
from .rendering import shorten_uuid

SESSION_ACTIONS = frozenset({"message", "extend", "stop"})
FIELDS = ("reason", "for", "kind", "name", "text")
"""What is filled in; a press that fails gives it back."""
MOST_GIVEN_BACK = 1000
"""Characters of each: they travel in an address."""


@dataclass(frozen=True, slots=True)
class ActionPage:
    """The page of one action."""

    plan: Plan
    typed: Mapping[str, str]
    """What was filled in before, by field; hostile."""
    confirm: str
    """Where its button leads."""
    back: str
    instead: str
    """Where the action leads that may be meant instead; empty for none."""


def load_action(visit: Visit) -> ActionPage:
    """The page's model. Raises: HTTPError 404, LedgerError."""
    plan, links = _find_plan(visit), visit.links
    return ActionPage(
        plan=plan,
        typed={name: visit.query.get(name, "") for name in FIELDS},
        confirm=f"{link_action(links, plan.action, plan.what)}/confirm",
        back=links.page("board"),
        instead=link_action(links, plan.instead[1], plan.what) if plan.instead else "",
    )


def press_action(visit: Visit) -> Outcome:
    """The action's button. Raises: HTTPError 404, Conflict, InvalidRequest, HubError, LedgerError."""
    plan = _find_plan(visit)
    if not set(plan.ids.split()) <= set(visit.form.get("ends", "").split()):
        raise Conflict("More sessions would end than you were shown. Look again; nothing was done.")
    if plan.possible and visit.form.get("seen", "") != plan.seen:
        raise Conflict(
            "What this would change has changed since you were shown it. Look again; nothing was done."
        )
    reason = "" if plan.asks is Asks.TEXT else read_text(visit.form.get("reason", ""), "The reason")
    undo = visit.services.undo
    before = undo.last_event_id()
    said = _DEEDS[plan.action](visit, reason)
    deed = undo.find_deed(visit.caller.actor, before)
    undone = {"undo": str(deed.id)} if deed else {}
    return Outcome(visit.links.page("board", **undone), said)


def back_to_action(visit: Visit) -> str:
    """The page of the action, with what was filled in."""
    typed = {n: visit.form[n][:MOST_GIVEN_BACK] for n in FIELDS if visit.form.get(n)}
    page = link_action(visit.links, visit.parts["action"], visit.parts["what"])
    return f"{page}?{urlencode(typed)}" if typed else page


# -- what each will do --------------------------------------------------------------------------------------


def _find_plan(visit: Visit) -> Plan:
    action, what = visit.parts["action"], visit.parts["what"]
    plan = None
    if action in CARD_ACTIONS:
        plan = plan_card(action, what, visit.line.situation)
    elif action in SESSION_ACTIONS:
        plan = _plan_session(visit, action, what)
    elif action == "undo":
        plan = plan_undoing(visit.services.undo.plan(audit.event_id_of(what)))
    elif action == "remove":
        place = next((place for place in visit.line.places if place.ticket.id == what), None)
        plan = plan_remove(place, visit.line.situation.leases) if place else None
    elif action == "announce" and what == visit.services.host:
        plan = plan_announcement(what, visit.line.situation.leases)
    if plan is None:
        raise HTTPError(404, "There is no such thing here, or not any more. Go back to the board.")
    return plan


def _plan_session(visit: Visit, action: str, lease_id: str) -> Plan | None:
    try:
        lease = visit.services.sessions.find(lease_id)
    except NotFound:
        return None
    if lease.state.ending:
        return None
    if action == "extend":
        return plan_extend(lease, *visit.services.line.latest_end(lease))
    return plan_message(lease) if action == "message" else plan_stop(lease)


# -- doing it -----------------------------------------------------------------------------------------------


def _call(visit: Visit, parameter: str, body: BaseModel) -> Call:
    return Call(visit.services, visit.caller, {parameter: visit.parts["what"]}, body=body)


def _drain(visit: Visit, reason: str) -> str:
    now = visit.parts["action"] == "drain-now"
    body = models.DrainBody(reason=reason, until=_read_end(visit), now=now)
    cards.drain(_call(visit, "uuid", body))
    card = _card(visit)
    return mark(f"{card} is drained.")


def _undrain(visit: Visit, reason: str) -> str:
    cards.undrain(_call(visit, "uuid", models.ReasonBody(reason=reason)))
    card = _card(visit)
    return mark(f"{card} is not drained any more.")


def _keep(visit: Visit, reason: str) -> str:
    holder = {"kind": visit.form.get("kind", ""), "name": visit.form.get("name", "")}
    if not holder["name"]:
        raise InvalidRequest("Say for whom the GPU is kept: write the name of a person, a group or a course.")
    body = check(models.AssignBody, {"holder": holder, "reason": reason}, "field")
    cards.assign(_call(visit, "uuid", body))
    kind, name = holder["kind"], holder["name"]
    card = _card(visit)
    return mark(f"{card} is kept for the {kind} {name}.")


def _release(visit: Visit, reason: str) -> str:
    cards.assign(_call(visit, "uuid", models.AssignBody(holder=None, reason=reason)))
    card = _card(visit)
    return mark(f"{card} is kept for nobody.")


def _clear(visit: Visit, reason: str) -> str:
    cards.clear(_call(visit, "uuid", models.ReasonBody(reason=reason)))
    card = _card(visit)
    return mark(f"The fault of {card} is cleared.")


def _message(visit: Visit, _reason: str) -> str:
    text = read_text(visit.form.get("text", ""), "The message", 1000)
    sent = leases.message(_call(visit, "lease_id", models.MessageBody(text=text)))
    return mark(f"The message is left for the person of session {sent.lease_id}.")


def _extend(visit: Visit, reason: str) -> str:
    until = _read_end(visit)
    if until is None:
        raise InvalidRequest("Say for how long from now it may go on: write a time such as 2 h.")
    session = leases.extend(_call(visit, "lease_id", models.ExtendBody(until=until, reason=reason)))
    return mark(f"The session of {session.owner} goes on until {until:%Y-%m-%d %H:%M} UTC.")


def _stop(visit: Visit, reason: str) -> str:
    grace = round((_read_length(visit) or timedelta(0)).total_seconds())
    body = check(models.StopBody, {"reason": reason, "grace_seconds": grace}, "field")
    session = leases.stop(_call(visit, "lease_id", body))
    if grace and session.ends_at:
        return mark(f"The server of {session.owner} is stopped at {session.ends_at:%Y-%m-%d %H:%M} UTC.")
    return mark(f"The server of {session.owner} is being stopped.")


def _undo(visit: Visit, reason: str) -> str:
    audit.undo(_call(visit, "event_id", models.ReasonBody(reason=reason)))
    return mark("It is undone.")


def _remove(visit: Visit, reason: str) -> str:
    place = queue.leave(_call(visit, "ticket_id", linemodels.LeaveBody(reason=reason)))
    return mark(f"{place.owner} is not in line any more.")


def _announce(visit: Visit, _reason: str) -> str:
    count = visit.services.sessions.announce(visit.form.get("text", ""), actor=visit.caller.actor)
    return mark(f"The message is left for {count} {'person' if count == 1 else 'people'}.")


_DEEDS: dict[str, Callable[[Visit, str], str]] = {
    "drain": _drain,
    "drain-now": _drain,
    "undrain": _undrain,
    "keep": _keep,
    "release": _release,
    "clear": _clear,
    "message": _message,
    "extend": _extend,
    "stop": _stop,
    "remove": _remove,
    "announce": _announce,
    "undo": _undo,
}


def _card(visit: Visit) -> str:
    return shorten_uuid(visit.parts["what"])


def _read_end(visit: Visit) -> datetime | None:
    """So long from now as was filled in: the server does not know the viewer's zone."""
    length = _read_length(visit)
    return visit.services.clock() + length if length else None


def _read_length(visit: Visit) -> timedelta | None:
    text = visit.form.get("for", "")
    try:
        return read_duration(text) if text else None
    except ValueError as error:
        raise InvalidRequest(f"How long: {error}.") from None
