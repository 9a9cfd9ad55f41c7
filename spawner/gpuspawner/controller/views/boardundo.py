"""What taking back a line of the audit trail will do, said before it is done."""

from __future__ import annotations

from gpuspawner.controller.links import Links
from gpuspawner.core.drains import why_drained, why_kept
from gpuspawner.core.model import Event
from gpuspawner.core.undo import Undoing
from gpuspawner.core.words import mark

from .boardcards import ActionLink, link_action
from .plans import Affected, Asks, Plan

_NAMES = {
    "device.drained": mark("Drain"),
    "device.undrained": mark("Undrain"),
    "device.pinned": mark("Assign"),
    "device.unpinned": mark("Unassign"),
    "session.extended": mark("Extend"),
    "session.shortened": mark("Shorten"),
    "session.stopping": mark("Stop"),
    "lease.end_set": mark("End sessions"),
}


def plan_undoing(undoing: Undoing) -> Plan:
    """What taking back an event does."""
    event, possible = undoing.event, not undoing.why_not
    return Plan(
        action="undo",
        what=str(event.id),
        title=mark("Undo"),
        subject=name_subject(undoing),
        says=_says(undoing) if possible else (mark("It cannot be undone, or not any more."),),
        facts=(_tell(event), *((undoing.why_not,) if not possible else undoing.lost)),
        moment=(mark("What is undone was done at"), event.at),
        rests_on=(
            why_drained(undoing.drain, event.at) if undoing.drain else "",
            why_kept(undoing.pin) if undoing.pin else "",
            *(f"{one.lease.id} {one.lease.ends_at} {one.ends_at}" for one in undoing.ends),
        ),
        button=mark("Undo it"),
        undo=mark("This can be undone."),
        sessions=tuple(
            Affected(
                one.lease.id,
                one.lease.owner,
                one.lease.server,
                one.lease.devices,
                one.lease.ends_at,
                (one.ends_at,),
            )
            for one in undoing.ends
        ),
        asks=Asks.NOTHING,
        possible=possible,
    )


def link_undo(undoing: Undoing, links: Links) -> ActionLink | None:
    """Where that can be undone; None where it cannot."""
    if undoing.why_not or undoing.event.id is None:
        return None
    return ActionLink(name_deed(undoing.event), link_action(links, "undo", str(undoing.event.id)))


def name_deed(event: Event) -> str:
    """What was done, as its button is called; marked for translation."""
    return _NAMES.get(event.kind, event.kind)


def _tell(event: Event) -> str:
    """What was done, by whom and why."""
    named = f" by {event.actor}" in event.reason
    return event.reason if named else f"{event.kind} by {event.actor}: {event.reason}"


def name_subject(undoing: Undoing) -> str:
    """What it was done to: a device, or whose session."""
    people = dict.fromkeys(one.lease.owner for one in undoing.ends)
    return undoing.device or ", ".join(people) or undoing.event.lease_id or ""


def _says(undoing: Undoing) -> tuple[str, ...]:
    told = undoing.event.data["undo"]
    about = told if isinstance(told, dict) else {}
    says = []
    if "drain" in about and undoing.drain is None:
        says.append(mark("The GPU is given out again as soon as it is free and well."))
    elif "drain" in about:
        says.append(mark("The GPU is drained as it was before: no session begins on it."))
    elif "pin" in about and undoing.pin is None:
        says.append(mark("The GPU is kept for nobody any more: everybody can be given it."))
    elif "pin" in about:
        says.append(mark("The GPU is kept for whom it was kept before."))
    if undoing.ends:
        says.append(mark("Sessions get back the end that they had; their people are told by whom and why."))
    return tuple(says)
