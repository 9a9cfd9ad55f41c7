"""Everything that can happen to an installation, as a Hypothesis state machine."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from gpuspawner.allocator import Allocator
from gpuspawner.core.claims import Holder, Ticket, TicketState
from gpuspawner.core.errors import Conflict, HubError, InvalidRequest, NotFound, Refused, ReservationConflict
from gpuspawner.core.model import SpawnRequest
from gpuspawner.policy.options import parse_options
from gpuspawner.policy.reservations import parse_body
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.reservations import person

from .checks import check, find_order, settle
from .hub import Key
from .ledger import WatchedLedger
from .people import CATALOGUE, PEOPLE, POLICIES, SERVERS
from .world import CARDS, World, make_template

HITS: Counter[str] = Counter()
"""How often each rule was applied, in this process."""
SEEN: Counter[str] = Counter()
"""How many of what there were after all steps together: a run in which nothing happens proves nothing."""
TOLD: Counter[str] = Counter()
"""How often each kind of event was written, before everything is repaired at the end of a run."""
SAID = (HubError, InvalidRequest, NotFound, Refused, ReservationConflict)
"""What people are told, and is no mistake of ours."""
T = TypeVar("T")
Method = Callable[..., None]

people = st.sampled_from(PEOPLE)
servers = st.sampled_from(SERVERS)
cards = st.integers(0, CARDS - 1)
which = st.integers(0, 9)
seldom = st.sampled_from((True, False, False))
processes = st.sampled_from(("agent", "controller", "hub"))
options = st.fixed_dictionaries(
    {"gpus": st.sampled_from((0, 1, 1, 1, 2, 3))},
    optional={
        "image": st.sampled_from(tuple(CATALOGUE)),
        "model": st.sampled_from(("Fake A", "Fake B")),
        "session": st.sampled_from(("10 min", "1 h", "3 h")),
        "shorten": st.booleans(),
        "wait": st.booleans(),
    },
)
holders = st.sampled_from(
    (Holder("person", "ada"), Holder("group", "vision"), Holder("group", "students"), Holder("course", "cs1"))
)


def step(**given: Any) -> Callable[[Method], Method]:
    """A rule that is counted."""

    def wrap(method: Method) -> Method:
        @functools.wraps(method)
        def counted(self: Machine, **drawn: Any) -> None:
            HITS[method.__name__] += 1
            method(self, **drawn)

        return rule(**given)(counted)

    return wrap


class Machine(RuleBasedStateMachine):
    """One run: things happen one after another, and after each everything is checked.

    Attributes:
        allocator_class: The hub's allocator; a planted one must be found out.
        ledger_class: Everybody's ledger.
    """

    allocator_class: Callable[..., Allocator] = Allocator
    ledger_class: Callable[..., WatchedLedger] = WatchedLedger

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gpuspawner-machine-"))
        cls = type(self)
        self.world = World(self.folder, _template(), cls.allocator_class, cls.ledger_class)
        self.sound = True

    def teardown(self) -> None:
        try:
            if self.sound:
                TOLD.update(self.world.count_events())
                settle(self.world)
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    @invariant()
    def all_is_well(self) -> None:
        self.sound = False
        check(self.world)
        self.sound = True
        for ticket in self.tickets:
            SEEN[f"ticket {ticket.state}"] += 1
        for lease in self.world.watch.leases.values():
            SEEN[f"lease {lease.state}"] += 1
        SEEN["containers that run"] += len(self.world.running)

    # -- time and work --------------------------------------------------------------------------------------

    @step(
        seconds=st.sampled_from((1, 5, 20, 65)),
        rounds=st.integers(1, 4),
        mended=st.booleans(),
        hub_too=seldom,
    )
    def everything_works(self, seconds: int, rounds: int, mended: bool, hub_too: bool) -> None:
        """What a usual time consists of; what is broken may be mended first."""
        if mended:
            self.world.mend()
        for _ in range(rounds):
            self.world.wait(seconds)
            self.world.tick_agent()
            if hub_too and self.world.hub.alive:
                self.world.run_hub()
            self.world.tick_controller()

    @step(seconds=st.sampled_from((5, 40, 310, 3700)), hours=st.sampled_from((0, 0, 0, -1, 1)))
    def time_passes(self, seconds: int, hours: int) -> None:
        """Nobody works meanwhile; and the clock may be set."""
        self.world.wait(seconds)
        self.world.set_clock(timedelta(hours=hours))
        SEEN["times that the clock was set"] += bool(hours)

    @step(who=st.sampled_from(("agent", "controller")), times=st.integers(1, 2))
    def only_one_works(self, who: str, times: int) -> None:
        for _ in range(times):
            self.world.tick_agent() if who == "agent" else self.world.tick_controller()

    @step(who=processes, writes=st.integers(0, 4), after=st.booleans())
    def is_killed_at_work(self, who: str, writes: int, after: bool) -> None:
        self.world.kill(who, writes, after=after)

    @step(who=processes)
    def is_killed(self, who: str) -> None:
        before = find_order(self.world)
        self.world.restart(who)
        assert find_order(self.world) == before, "the line has another order after a restart"

    @precondition(lambda self: not self.world.hub.alive)
    @step()
    def hub_boots(self) -> None:
        self.world.hub.boot()

    # -- people at the hub ----------------------------------------------------------------------------------

    @initialize(
        wanted=st.lists(options, min_size=3, max_size=len(PEOPLE)), n=st.integers(0, len(POLICIES) - 1)
    )
    def the_day_begins(self, wanted: list[dict[str, Any]], n: int) -> None:
        """Some are there when we begin to look."""
        self.world.policy = POLICIES[n]
        for name, one in zip(PEOPLE, wanted, strict=False):
            self.request(person=name, server="", wanted=one, eager=True)

    @precondition(lambda self: self.world.hub.alive)
    @step(person=people, server=servers, wanted=options, eager=seldom)
    def request(self, person: str, server: str, wanted: dict[str, Any], eager: bool) -> None:
        self.world.hub.eager = eager
        with suppress(*SAID):
            self.world.hub.start_server(person, server, wanted)

    @precondition(lambda self: self.pending)
    @step(n=which, times=st.integers(1, 4))
    def hub_takes_a_step(self, n: int, times: int) -> None:
        key = pick(self.pending, n)
        for _ in range(times):
            if key in self.pending:
                with suppress(*SAID):
                    self.world.hub.advance(key)

    @precondition(lambda self: self.pending)
    @step(n=which)
    def start_fails(self, n: int) -> None:
        with suppress(*SAID):
            self.world.hub.advance(pick(self.pending, n), failing=True)

    @precondition(lambda self: self.world.hub.servers)
    @step(n=which)
    def stop_or_cancel(self, n: int) -> None:
        with suppress(*SAID):
            self.world.hub.stop(pick(sorted(self.world.hub.servers), n))

    @precondition(lambda self: self.world.hub.servers)
    @step()
    def hub_polls(self) -> None:
        for key in sorted(self.world.hub.servers):
            if self.world.hub.servers[key].pending is None:
                self.world.hub.poll(key)

    @step(lost=st.integers(0, 2), eager=seldom)
    def hub_answers_otherwise(self, lost: int, eager: bool) -> None:
        self.world.hub.answers_lost, self.world.hub.eager = lost, eager

    # -- people in the line ---------------------------------------------------------------------------------

    @step(person=people, server=servers, wanted=options)
    def ask(self, person: str, server: str, wanted: dict[str, Any]) -> None:
        with suppress(*SAID):
            self.world.ask(person, server, parse_options(wanted, images=CATALOGUE, most_gpus=8))

    @precondition(lambda self: self.waiting)
    @step(n=which, gpus=st.integers(1, 3), session=st.sampled_from((None, timedelta(hours=1))))
    def change(self, n: int, gpus: int, session: timedelta | None) -> None:
        ticket = pick(self.waiting, n)
        wanted = SpawnRequest(gpus, ticket.request.model, ticket.request.image, session=session)
        with suppress(*SAID):
            self.world.change(ticket, wanted)

    @precondition(lambda self: self.tickets)
    @step(n=which)
    def leave(self, n: int) -> None:
        ticket = pick(self.tickets, n)
        self.world.line.leave(ticket.id, actor=ticket.owner)

    @precondition(lambda self: self.offered)
    @step(n=which)
    def claim(self, n: int) -> None:
        ticket = pick(self.offered, n)
        lease = self.world.watch.leases.get(ticket.lease_id or "")
        try:
            self.world.line.claim(ticket.id, actor=ticket.owner)
        except Conflict:
            assert lease is None or lease.state.ending, "an offer that stands can be taken"

    @precondition(lambda self: self.world.watch.leases)
    @step(n=which)
    def somebody_opens(self, n: int) -> None:
        self.world.opened.add(pick(sorted(self.world.watch.leases), n))

    @precondition(lambda self: self.offered or self.pending)
    @step()
    def hub_is_busy(self) -> None:
        """For a little longer than a claim window and the patience with a start; all others work."""
        for seconds in (280, 15, 10):
            self.world.wait(seconds)
            self.world.tick_agent()
            self.world.tick_controller()

    # -- the machine ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.running)
    @step(n=which, leaves_something=st.booleans())
    def container_dies(self, n: int, leaves_something: bool) -> None:
        self.world.end_container(pick(self.world.running, n), leaves_something=leaves_something)

    @precondition(lambda self: self.world.residues)
    @step()
    def residues_go(self) -> None:
        self.world.residues.clear()

    @step(down=seldom)
    def engine(self, down: bool) -> None:
        self.world.stop_engine() if down else self.world.start_engine()

    @step(silent=seldom, card=st.one_of(st.none(), cards))
    def driver(self, silent: bool, card: int | None) -> None:
        self.world.probe.hang(card) if silent else self.world.probe.unhang(card)

    @step(
        what=st.sampled_from((31, 48, "lost", "restored", "stranger", "cleared", "cleared")),
        card=cards,
    )
    def card(self, what: int | str, card: int) -> None:
        uuid = self.world.probe.uuids[card]
        if what == "lost":
            self.world.probe.lose(card)
        elif what == "restored":
            self.world.probe.restore(card)
        elif what == "stranger":
            self.world.strangers ^= {uuid}
        elif what == "cleared":
            with suppress(*SAID):
                self.world.cards.clear_fault(uuid, reason="mended", actor="root")
        else:
            self.world.probe.raise_xid(card, int(what))

    # -- administrators -------------------------------------------------------------------------------------

    @step(
        card=cards,
        now=st.booleans(),
        minutes=st.sampled_from((None, 5, 90)),
        holds=seldom,
    )
    def drain(self, card: int, now: bool, minutes: int | None, holds: bool) -> None:
        until = None if minutes is None else self.world.now + timedelta(minutes=minutes)
        uuid = self.world.probe.uuids[card]
        if not holds:
            with suppress(*SAID):
                self.world.cards.undrain(uuid, reason="done", actor="root")
        else:
            self.world.cards.drain(uuid, reason="fan", actor="root", until=until, now=now)

    @step(card=cards, holder=st.one_of(st.none(), holders))
    def pin(self, card: int, holder: Holder | None) -> None:
        uuid = self.world.probe.uuids[card]
        with suppress(*SAID):
            if holder is None:
                self.world.cards.unpin(uuid, reason="over", actor="root")
            else:
                self.world.cards.pin(uuid, holder, reason="theirs", actor="root")

    @step(
        holder=holders,
        devices=st.integers(1, 3),
        minutes=st.sampled_from((-10, 0, 30, 120)),
        lead=st.sampled_from((0, 20)),
        model=st.sampled_from(("", "Fake A")),
    )
    def reserve(self, holder: Holder, devices: int, minutes: int, lead: int, model: str) -> None:
        start = self.world.now + timedelta(minutes=minutes)
        wanted = {
            "title": f"{devices} for {holder.name}",
            holder.kind: holder.name,
            "devices": devices,
            "start": start.isoformat(),
            "length": "1 h",
            "lead": f"{lead} min",
            "models": [model] if model else [],
        }
        with suppress(*SAID):
            self.world.reservations.make(parse_body(wanted), actor=person("root"))

    @precondition(lambda self: self.world.standing)
    @step(most=st.integers(1, 3))
    def cancel_reservations(self, most: int) -> None:
        self.world.cancel_reservations(most)

    @step(n=st.integers(0, len(POLICIES) - 1))
    def policy_changes(self, n: int) -> None:
        self.world.policy = POLICIES[n]

    # More than once, so that days have more of what days consist of than of what goes wrong.
    request_2 = request_3 = request_4 = request
    ask_2 = ask
    hub_takes_a_step_2 = hub_takes_a_step_3 = hub_takes_a_step_4 = hub_takes_a_step
    everything_works_2 = everything_works_3 = everything_works_4 = everything_works
    stop_or_cancel_2 = stop_or_cancel_3 = stop_or_cancel
    claim_2 = claim_3 = claim
    hub_is_busy_2 = hub_is_busy

    # -- what there is --------------------------------------------------------------------------------------

    @property
    def pending(self) -> list[Key]:
        return sorted(key for key, one in self.world.hub.servers.items() if one.pending)

    @property
    def tickets(self) -> list[Ticket]:
        return list(self.world.watch.tickets.values())

    @property
    def waiting(self) -> list[Ticket]:
        return [one for one in self.tickets if one.state is TicketState.WAITING]

    @property
    def offered(self) -> list[Ticket]:
        return [one for one in self.tickets if one.state is TicketState.OFFERED]


def pick(things: list[T], n: int) -> T:
    """One of several, whatever their number."""
    return things[n % len(things)]


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gpuspawner-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_template(folder)
