"""Secret addresses of people's calendars: who has one, and ending them. What a secret is nobody is told."""

from __future__ import annotations

from gpuspawner.allocator.feeds import Feeds
from gpuspawner.core.errors import NotFound

from . import linemodels as m
from .access import require_person
from .basics import Done
from .routes import Call


def list_calendars(call: Call) -> m.Calendars:
    """Whose calendars have a secret address; for who manages."""
    found = [
        m.CalendarInfo(person=one.owner, made_at=one.made_at, read_at=one.read_at)
        for one in open_feeds(call).list()
    ]
    return m.Calendars(at=call.services.clock(), calendars=found)


def end_calendar(call: Call) -> Done:
    """End somebody's secret address; for who manages."""
    person = call.path["person"]
    open_feeds(call).end(person, actor=call.caller.as_actor, reason=call.body.reason)
    return Done()


def make_own(call: Call) -> str:
    """Make or renew one's own; the secret, which cannot be had a second time."""
    return open_feeds(call).make(require_person(call))


def end_own(call: Call) -> None:
    """End one's own."""
    try:
        open_feeds(call).end(require_person(call), actor=call.caller.as_actor, reason="switched off")
    except NotFound:
        return  # it was off already


def open_feeds(call: Call) -> Feeds:
    """The use cases."""
    return Feeds(call.services.ledger, call.services.clock)
