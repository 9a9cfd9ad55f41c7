"""What an administrator's action will do, said before it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from gpuspawner.allocator.places import Place
from gpuspawner.core.claims import Drain, Pin
from gpuspawner.core.drains import find_card_family, find_family, is_over, why_drained, why_kept
from gpuspawner.core.model import Lease
from gpuspawner.core.sessions import find_newest
from gpuspawner.core.situation import Situation
from gpuspawner.core.words import mark

from .plans import Affected, Asks, Fate, Plan, show_sessions

# -- cards --------------------------------------------------------------------------------------------------


def plan_card(action: str, uuid: str, situation: Situation) -> Plan | None:
    """What an action does to a card; None: there is no such card or action."""
    record = next((r for r in situation.inventory if r.device.uuid == uuid), None)
    below = next((r for r in situation.inventory if r.device.parent == uuid), None)
    if (record is None and below is None) or action not in _CARD_ACTIONS:
        return None
    subject = f"{record.device.model} {uuid}" if record else uuid
    return _CARD_ACTIONS[action](uuid, subject, situation)


def _plan_drain(uuid: str, subject: str, situation: Situation) -> Plan:
    sessions, drain = _list_sessions(uuid, situation), _find_drain(uuid, situation)
    return Plan(
        action="drain",
        what=uuid,
        title=mark("Drain a GPU"),
        subject=subject,
        says=(mark("No session begins on it any more."), *_says_replaced(drain)),
        facts=_tell_drain(drain, situation),
        rests_on=_name_drain(drain),
        button=mark("Drain it when it is free"),
        undo=mark("This can be undone."),
        sessions=sessions,
        asks=Asks.END,
        instead=(mark("End its sessions now instead"), "drain-now") if sessions else None,
    )


def _plan_drain_now(uuid: str, subject: str, situation: Situation) -> Plan:
    sessions, drain = _list_sessions(uuid, situation), _find_drain(uuid, situation)
    ending = mark("Its sessions end in one minute: their people are told, and can save until then.")
    return Plan(
        action="drain-now",
        what=uuid,
        title=mark("Drain a GPU and end its sessions"),
        subject=subject,
        says=(
            mark("No session begins on it any more."),
            *((ending,) if sessions else ()),
            *_says_replaced(drain),
        ),
        facts=_tell_drain(drain, situation),
        rests_on=_name_drain(drain),
        undo=mark("This can be undone; the ends of sessions as long as they have not come.")
        if sessions
        else mark("This can be undone."),
        button=mark("Drain it and end its sessions") if sessions else mark("Drain it"),
        fate=Fate.ENDS,
        sessions=sessions,
        asks=Asks.END,
        instead=(mark("Wait until its sessions have ended instead"), "drain") if sessions else None,
    )


def _plan_undrain(uuid: str, subject: str, situation: Situation) -> Plan:
    drain = _find_drain(uuid, situation)
    return Plan(
        action="undrain",
        what=uuid,
        title=mark("Undrain a GPU"),
        subject=subject,
        says=(
            mark("It is given out again as soon as it is free and well."),
            mark("Sessions that were told to end still end."),
        )
        if drain
        else (mark("It is not drained, so there is nothing to undo. If its whole card is, undrain that."),),
        facts=_tell_drain(drain, situation),
        rests_on=_name_drain(drain),
        undo=mark("This can be undone."),
        moment=(mark("By itself it comes back at"), drain.until) if drain and drain.until else None,
        button=mark("Undrain it"),
        sessions=_list_sessions(uuid, situation),
        possible=drain is not None,
    )


def _plan_keep(uuid: str, subject: str, situation: Situation) -> Plan:
    pin = _find_pin(uuid, situation)
    return Plan(
        action="keep",
        what=uuid,
        title=mark("Assign a GPU"),
        subject=subject,
        says=(
            mark("It is kept for somebody: from now on only they can be given it."),
            *((mark("This takes the place of what stands now."),) if pin else ()),
        ),
        facts=(why_kept(pin),) if pin else (),
        rests_on=(why_kept(pin),) if pin else (),
        undo=mark("This can be undone."),
        button=mark("Assign it to them"),
        sessions=_list_sessions(uuid, situation),
        asks=Asks.HOLDER,
    )


def _plan_release(uuid: str, subject: str, situation: Situation) -> Plan:
    pin = _find_pin(uuid, situation)
    return Plan(
        action="release",
        what=uuid,
        title=mark("Unassign a GPU"),
        subject=subject,
        says=(
            (mark("Everybody can be given it again."),)
            if pin
            else (
                mark("It is kept for nobody, so there is nothing to undo. If its whole card is, go there."),
            )
        ),
        facts=(why_kept(pin),) if pin else (),
        rests_on=(why_kept(pin),) if pin else (),
        undo=mark("This can be undone."),
        button=mark("Unassign it"),
        sessions=_list_sessions(uuid, situation),
        possible=pin is not None,
    )


def _plan_clear(uuid: str, subject: str, situation: Situation) -> Plan:
    family = find_card_family(uuid, situation.inventory)
    faults = [
        f"{r.device.uuid}: {r.standing_fault}"
        for r in situation.inventory
        if r.device.uuid in family and r.standing_fault is not None
    ]
    return Plan(
        action="clear",
        what=uuid,
        title=mark("Clear the fault of a GPU"),
        subject=subject,
        says=(
            mark("The fault is forgotten, on every slice of the card: it can be given out again."),
            mark(
                "Reset or replace the card first. What the driver still reports comes back at the next look."
            ),
        )
        if faults
        else (mark("No fault stands that could be cleared: what is wrong goes away by itself when mended."),),
        facts=tuple(faults),
        rests_on=tuple(faults),
        undo=mark("This cannot be undone. Drain the GPU first if you are not sure."),
        button=mark("Clear the fault"),
        sessions=_list_sessions(uuid, situation),
        possible=bool(faults),
    )


_CARD_ACTIONS: dict[str, Callable[[str, str, Situation], Plan]] = {
    "drain": _plan_drain,
    "drain-now": _plan_drain_now,
    "undrain": _plan_undrain,
    "keep": _plan_keep,
    "release": _plan_release,
    "clear": _plan_clear,
}
CARD_ACTIONS = frozenset(_CARD_ACTIONS)


def _list_sessions(uuid: str, situation: Situation) -> tuple[Affected, ...]:
    """The sessions on a card or on a slice of it; what ends already is not one any more."""
    family = find_family(uuid, situation.inventory)
    return show_sessions(lease for lease in situation.leases if not family.isdisjoint(lease.devices))


def _find_drain(uuid: str, situation: Situation) -> Drain | None:
    return next((d for d in situation.drains if d.device == uuid and not is_over(d, situation.now)), None)


def _tell_drain(drain: Drain | None, situation: Situation) -> tuple[str, ...]:
    return (why_drained(drain, situation.now),) if drain else ()


def _name_drain(drain: Drain | None) -> tuple[str, ...]:
    """The same whenever one looks."""
    return (f"{drain.since} {why_drained(drain, drain.since)}",) if drain else ()


def _says_replaced(drain: Drain | None) -> tuple[str, ...]:
    return (mark("This takes the place of what stands now."),) if drain else ()


def _find_pin(uuid: str, situation: Situation) -> Pin | None:
    return next((pin for pin in situation.pins if pin.device == uuid), None)


# -- sessions, the line, everybody --------------------------------------------------------------------------


def plan_message(lease: Lease) -> Plan:
    """What a message does."""
    return Plan(
        action="message",
        what=lease.id,
        title=mark("Message a person"),
        subject=lease.owner,
        says=(mark("They read it with your name."),),
        undo=mark("This cannot be undone: they may have read it."),
        button=mark("Send it"),
        fate=Fate.TOLD,
        sessions=show_sessions([lease]),
        asks=Asks.TEXT,
    )


def plan_extend(lease: Lease, limit: datetime | None, limit_reason: str) -> Plan:
    """What letting a session go on does.

    Args:
        lease: The session.
        limit: Until when it can go on at most; None for no limit.
        limit_reason: What stands there.
    """
    if lease.ends_at is None:
        says = mark("This session has no end, so there is nothing to extend.")
    elif limit is not None and limit <= lease.ends_at:
        says = mark("It cannot go on for longer than it may already.")
    else:
        says = mark("It ends later; its person is told by whom, until when and why.")
    return Plan(
        action="extend",
        what=lease.id,
        title=mark("Extend a session"),
        subject=lease.owner,
        says=(says,),
        facts=(limit_reason,) if limit_reason else (),
        moment=(mark("It can go on until"), limit) if limit else None,
        rests_on=(lease.ends_at.isoformat() if lease.ends_at else "",),
        undo=mark("This can be undone, until 15 min before the end that it has now."),
        button=mark("Extend it"),
        sessions=show_sessions([lease]),
        asks=Asks.NEW_END,
        possible=lease.ends_at is not None and (limit is None or limit > lease.ends_at),
    )


def plan_stop(lease: Lease) -> Plan:
    """What stopping a session does."""
    return Plan(
        action="stop",
        what=lease.id,
        title=mark("Stop a server"),
        subject=lease.owner,
        says=(
            mark("What runs in it ends, and what was not saved is lost; files that were saved are kept."),
            mark("Its person is told by whom and why. Without time to save in, it ends at once."),
        ),
        button=mark("Stop it"),
        undo=mark("A stop at once cannot be undone. One that gives time can, until that is over."),
        fate=Fate.ENDS,
        asks=Asks.GRACE,
        sessions=show_sessions([lease]),
    )


def plan_remove(place: Place, leases: Iterable[Lease]) -> Plan:
    """What removing a place from the line does.

    Args:
        place: The place.
        leases: All live ones.
    """
    ticket = place.ticket
    started = [lease for lease in leases if lease.id == ticket.lease_id and lease.claim_by is None]
    return Plan(
        action="remove",
        what=ticket.id,
        title=mark("Remove a place from the line"),
        subject=ticket.owner,
        says=(
            mark(
                "They lose the place. Who was behind moves up. They can ask again, from the end of the line."
            ),
            *((mark("What is reserved for them is given back."),) if place.ahead is None else ()),
        ),
        button=mark("Remove it"),
        rests_on=(str(place.ahead is None),),
        undo=mark("This cannot be undone."),
        fate=Fate.ENDS,
        sessions=show_sessions(started),
    )


def plan_announcement(host: str, leases: Iterable[Lease]) -> Plan:
    """What a message to everybody does."""
    return Plan(
        action="announce",
        what=host,
        title=mark("Message everybody who has a session"),
        subject=host,
        says=(mark("They read it with your name; each person once, however many servers they have."),),
        button=mark("Send it to all"),
        undo=mark("This cannot be undone: they may have read it."),
        fate=Fate.TOLD,
        sessions=show_sessions(find_newest(leases).values()),
        asks=Asks.TEXT,
    )
