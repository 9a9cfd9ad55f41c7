"""Plays a trace in virtual time against a number of cards, an order of the line and a rule for idle cards.

What is assumed of people:

- A session wants all its cards from its start to its stop. It gets all or none. Cards are alike.
- Its events are work: they need the cards, in their order, with the pauses that the trace shows between them.
  Its cards are idle whenever no event covers the moment.
- Nobody gives up: a session that must wait starts later and then takes its course. All that was recorded is
  done in every run, so runs differ in when it is done and in how long cards are held for it.
- A session whose cards were taken back goes on without them. It asks for them again when its next work is
  due, waits in line like everybody, and then holds them for the time of a restart before the work begins. Its
  remaining work and its stop move later by the wait and the restart. When no work is left it does not come
  back.
- Cards that are taken back while an event runs were taken back wrongfully: the run counts it, the rest of the
  event is done later, and what was done of it stays done.
- Nobody presses *Keep* after a warning, and the first start of a session costs no restart.

At one moment ends come before beginnings, and rules are asked last: cards that are given back are there for
whoever comes at that moment, and work that begins at the moment of a time-out is not cut off.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum

from .orders import Holding, Order, Request
from .outcome import Outcome
from .rules import Rule, View
from .traces import MINUTE, Session, Trace

QUICK_RETURN = 10 * MINUTE
"""Who asks for cards again within this time should not have lost them."""


def run(trace: Trace, *, cards: int, rule: Rule, order: Order, restart: int) -> Outcome:
    """Play a trace to its end.

    Args:
        trace: What people want.
        cards: How many cards there are.
        rule: When cards are taken back.
        order: Who is served next.
        restart: What a restart costs, in milliseconds.

    Raises:
        RuntimeError: The order gave out cards that are not free, or never served somebody.
    """
    return _Run(cards, rule, order, restart).play(trace)


class _Kind(IntEnum):
    """What happens at a moment, in the order in which it happens then."""

    WORK_ENDS = 0
    STOPS = 1
    READY = 2
    """A restart is over."""
    ASKS = 3
    WORK_BEGINS = 4
    LOOKS = 5
    """The rule wants to be asked."""


@dataclass(slots=True)
class _Live:
    """A session under way. Its own time stands still while it waits for cards that it needs."""

    key: int
    session: Session
    shift: int = 0
    """By how much it runs late."""
    piece: int = 0
    """Number of the work that is under way or comes next."""
    resume: int = 0
    """In its own time, where work that was cut off goes on."""
    due: int = 0
    """In its own time, when it needs the cards that it asked for."""
    holding: Holding | None = None
    ready: bool = False
    """Whether it has cards and no restart is under way."""
    began_at: int | None = None
    """Since when its cards work."""
    idle_since: int | None = None
    warned_at: int | None = None
    has_worked: bool = False
    """Whether its cards have worked since it got them: who comes back does so with a new server."""
    reclaimed_at: int | None = None
    """When its cards were taken back; None before it ever lost them, and once it asked again."""
    restarts: bool = False
    """Whether a restart comes with the cards that it asked for."""
    turn: int = 0
    """Which of the entries in the calendar about its course is the valid one."""
    look: int = 0
    """The same for the entries about the rule."""

    def clock(self, own: int) -> int:
        """When a moment of its own time comes, if it need not wait until then."""
        return self.session.start + self.shift + own

    def next_work(self) -> int | None:
        """In its own time, when there is work again; None for never."""
        if self.piece == len(self.session.work):
            return None
        return max(self.session.work[self.piece].start, self.resume)


class _Run:
    """One run: a calendar, the line, the free cards."""

    def __init__(self, cards: int, rule: Rule, order: Order, restart: int) -> None:
        self.rule, self.order, self.restart = rule, order, restart
        self.now = 0
        self.free = set(range(cards))
        self.waiting: dict[int, Request] = {}
        self.holding: dict[int, _Live] = {}
        self.demanded = False
        """Whether somebody waits, as the rule was last told."""
        self.changed = False
        """Whether somebody joined the line or cards came free since the order was last asked."""
        self.out = Outcome(cards)
        self.lives: list[_Live] = []
        self.calendar: list[tuple[int, int, int, int, int]] = []
        self.entries = 0

    def play(self, trace: Trace) -> Outcome:
        for session in trace.sessions:
            self._admit(session)
        handlers = {
            _Kind.WORK_ENDS: self._end_work,
            _Kind.STOPS: self._stop,
            _Kind.READY: self._make_ready,
            _Kind.ASKS: self._ask,
            _Kind.WORK_BEGINS: self._begin_work,
            _Kind.LOOKS: self._look,
        }
        while self.calendar:
            at, kind, _, key, number = heapq.heappop(self.calendar)
            live = self.lives[key]
            if number != (live.look if kind == _Kind.LOOKS else live.turn):
                continue
            self.now = at
            handlers[_Kind(kind)](live)
            self._settle()
        if self.waiting:
            raise RuntimeError(f"The order of the line never served {len(self.waiting)} requests.")
        return self.out

    def _admit(self, session: Session) -> None:
        out = self.out
        if session.gpus > out.cards:
            out.refused += 1
        if not 0 < session.gpus <= out.cards:
            return
        out.sessions += 1
        out.demanded[session.user] = out.demanded.get(session.user, 0) + session.gpu_work
        out.received.setdefault(session.user, 0.0)
        out.idle_if_held += session.gpus * (session.length - session.busy)
        if out.computed is not None:
            out.computed = None if session.computed is None else out.computed + session.computed
        live = _Live(len(self.lives), session)
        self.lives.append(live)
        first = self.rule.asks_first_at(session)
        if first is None:
            self._plan(live, _Kind.STOPS, live.clock(session.length))
        else:
            live.due = first
            self._plan(live, _Kind.ASKS, live.clock(first))

    def _plan(self, live: _Live, kind: _Kind, at: int) -> None:
        """Enter what comes next in a session's course; what was entered before is void."""
        live.turn += 1
        self._enter(at, kind, live.key, live.turn)

    def _enter(self, at: int, kind: _Kind, key: int, number: int) -> None:
        self.entries += 1
        heapq.heappush(self.calendar, (at, kind, self.entries, key, number))

    # -- the course of a session ----------------------------------------------------------------------------

    def _plan_next(self, live: _Live) -> None:
        work = live.next_work()
        if work is None:
            self._plan(live, _Kind.STOPS, live.clock(live.session.length))
        elif live.holding is not None:
            self._plan(live, _Kind.WORK_BEGINS, live.clock(work))
        else:
            live.due = work
            ask_at = live.clock(work) - self.rule.asks_ahead(self.restart)
            self._plan(live, _Kind.ASKS, max(self.now, ask_at))

    def _ask(self, live: _Live) -> None:
        live.restarts = live.reclaimed_at is not None
        if live.reclaimed_at is not None:
            self.out.returns += 1
            self.out.quick_returns += self.now - live.reclaimed_at <= QUICK_RETURN
            live.reclaimed_at = None
        session = live.session
        self.waiting[live.key] = Request(live.key, session.user, session.gpus, self.now)
        self.changed = True

    def _give(self, live: _Live, cards: tuple[int, ...]) -> None:
        request = self.waiting.pop(live.key)
        if len(set(cards)) != request.gpus or not self.free.issuperset(cards):
            raise RuntimeError(
                f"The order of the line gave cards {cards} out, which is not what is free or wanted."
            )
        self.free.difference_update(cards)
        waits = self.out.return_waits if live.restarts else self.out.start_waits
        waits.append(self.now - request.asked_at)
        live.holding = Holding(live.key, request.user, cards, self.now)
        live.ready = live.has_worked = False
        self.holding[live.key] = live
        self._plan(live, _Kind.READY, self.now + (self.restart if live.restarts else 0))

    def _make_ready(self, live: _Live) -> None:
        live.shift += max(0, self.now - live.clock(live.due))
        live.ready, live.idle_since, live.warned_at = True, self.now, None
        work = live.next_work()
        if work is not None and live.clock(work) <= self.now:
            self._begin_work(live)
        else:
            self._plan_next(live)
            self._look(live)

    def _begin_work(self, live: _Live) -> None:
        live.began_at, live.idle_since, live.warned_at = self.now, None, None
        live.has_worked = True
        self._plan(live, _Kind.WORK_ENDS, live.clock(live.session.work[live.piece].end))
        self._look(live)

    def _end_work(self, live: _Live) -> None:
        self._account(live)
        live.piece += 1
        live.idle_since = self.now
        self._plan_next(live)
        self._look(live)

    def _account(self, live: _Live) -> None:
        """Write down the work that was done since it began."""
        piece, session, out = live.session.work[live.piece], live.session, self.out
        began, live.began_at = live.began_at or 0, None
        lasted = self.now - began
        done = piece.gpu_time * lasted / (piece.end - piece.start)
        in_time = min(max(session.start + session.length - began, 0), lasted)
        out.covered += session.gpus * lasted
        out.useful += done
        if lasted:
            out.received[session.user] += done * in_time / lasted

    def _stop(self, live: _Live) -> None:
        if live.holding is not None:
            self._take(live, live.holding)
        self.out.ended_at = self.now

    def _take(self, live: _Live, holding: Holding) -> None:
        self.free.update(holding.cards)
        self.changed = True
        self.out.held += len(holding.cards) * (self.now - holding.since)
        self.out.holdings.append((holding, self.now))
        self.order.settle(holding, self.now)
        live.holding, live.ready, live.idle_since, live.warned_at = None, False, None, None
        live.look += 1
        del self.holding[live.key]

    # -- the rules ------------------------------------------------------------------------------------------

    def _look(self, live: _Live) -> bool:
        """Ask the rule about a session. True when its cards were taken back."""
        if live.holding is None or not live.ready:
            return False
        work = live.next_work() if live.began_at is None else None
        next_work = None if work is None else live.clock(work)
        worked = live.session.gpus if live.has_worked else 0
        view = View(live.holding.since, live.idle_since, live.warned_at, worked, next_work)
        look = self.rule.look(view, self.now, demanded=self.demanded)
        if look.stop:
            self._reclaim(live, live.holding)
            return True
        live.look += 1
        if look.again_at is not None:
            self._enter(max(self.now, look.again_at), _Kind.LOOKS, live.key, live.look)
        if not look.warned:
            live.warned_at = None
        elif live.warned_at is None:
            live.warned_at = self.now
        return False

    def _reclaim(self, live: _Live, holding: Holding) -> None:
        self.out.reclaims += 1
        if live.began_at is not None:
            self.out.wrongful += 1
            self._account(live)
            live.resume = self.now - live.session.start - live.shift
        live.reclaimed_at = self.now
        self._take(live, holding)
        self._plan_next(live)

    def _settle(self) -> None:
        """Give out what is free; where that fills or empties the line, ask the rule about everybody anew."""
        while True:
            self._give_out()
            if bool(self.waiting) == self.demanded:
                return
            self.demanded = bool(self.waiting)
            # The longest idle first: when one stop is enough, it is theirs.
            for live in sorted(self.holding.values(), key=_longest_idle_first):
                if self._look(live):
                    self._give_out()
                    if bool(self.waiting) != self.demanded:
                        break

    def _give_out(self) -> None:
        while self.changed and self.free and self.waiting:
            holdings = [live.holding for live in self.holding.values() if live.holding is not None]
            grants = self.order.grant(self.now, sorted(self.free), list(self.waiting.values()), holdings)
            self.changed = bool(grants)
            for grant in grants:
                self._give(self.lives[grant.request.key], grant.cards)


def _longest_idle_first(live: _Live) -> tuple[bool, int]:
    return live.idle_since is None, live.idle_since or 0
