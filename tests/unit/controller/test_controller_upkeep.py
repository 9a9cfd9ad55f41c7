"""Steps of the tick that keep line and sessions true to the policy and the clock, over the real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Line, Reservations, Sessions
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.controller.hubcalls import HubCalls
from gpuspawner.controller.leaving import EndLeavers
from gpuspawner.controller.people import PolicyReader
from gpuspawner.controller.upkeep import (
    GONE_SECONDS,
    EndHopeless,
    ExpireDrains,
    KeepBudgets,
    KeepPolicy,
    ReturnSeats,
    SessionLook,
)
from gpuspawner.core.claims import Actor, ActorKind, Ticket, TicketState, Usage
from gpuspawner.core.errors import EngineError, HubError
from gpuspawner.core.identity import Subject
from gpuspawner.core.model import Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.sessions import LEAST_NOTICE
from gpuspawner.policy.options import UserOptions
from gpuspawner.policy.reservations import parse_body
from gpuspawner.policy.settings import Settings
from gpuspawner.ports import Address, HubServer, SessionActivity
from support.build import HOST, NOW, lease, record
from support.fake_engine import FakeEngine
from support.fake_hub import FakeHub
from support.reservations import person

STALE = timedelta(days=30)
HOUR = timedelta(hours=1)
POLICY = """
groups:
  default: {gpus_per_person: 2, gpus_per_server: 2, longest_session: 1 h}
  lab: {longest_session: 8 h}
"""


class Site:
    """One card that is taken, a policy file, and a Hub."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.file = folder / "policy.yml"
        self.hub = FakeHub(people={"ada": frozenset({"lab"}), "grace": frozenset()})
        self.ledger = Ledger(folder / "ledger.db")
        self.line = Line(self.ledger, HOST, STALE, self.clock)
        self.sessions = Sessions(self.ledger, HOST, self.clock)
        self.write(POLICY)
        self.policies = PolicyReader(
            Settings.model_validate(
                {"state_dir": str(folder), "images": {"base": "demo/base:1"}, "policy": str(self.file)}
            )
        )
        with self.ledger.write() as unit:
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n))

    def clock(self) -> datetime:
        return self.now

    def write(self, policy: str) -> None:
        self.file.write_text(policy)

    def hold(self, *devices: str, **changes: object) -> Lease:
        made = lease(LeaseState.ACTIVE, *devices, **changes)
        with self.ledger.write() as unit:
            unit.add_lease(made)
        return made

    def ask(self, owner: str, gpus: int = 1) -> Ticket:
        wish = self.policies.find_wish(owner, self.hub.people[owner], UserOptions(gpus=gpus), ())
        return self.line.ask(
            SpawnRequest(gpus), owner=owner, server="", party=wish.party, terms=wish.terms, image=wish.image
        )

    def ticket(self, ticket: Ticket) -> Ticket:
        with self.ledger.read() as unit:
            found = unit.ticket(ticket.id)
        assert found
        return found

    def messages(self, owner: str) -> list[str]:
        with self.ledger.read() as unit:
            return [one.text for one in unit.messages_for(owner)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()


# -- the policy ---------------------------------------------------------------------------------------------


@pytest.fixture
def keep(site: Site) -> KeepPolicy:
    site.hold("GPU-0", "GPU-1", owner="edsger")
    return KeepPolicy(site.line, site.hub, site.policies)


def test_who_may_use_none_of_the_cards_any_more_does_not_wait_for_ever(site: Site, keep: KeepPolicy) -> None:
    ticket = site.ask("ada")
    site.write("pools: {old: [T4]}\ngroups:\n  default: {pools: [old]}\n")
    keep()
    ended = site.ticket(ticket)
    assert ended.state is TicketState.ENDED
    assert "allows T4" in ended.reason


def test_a_changed_policy_reaches_those_who_wait(site: Site, keep: KeepPolicy) -> None:
    ada, grace = site.ask("ada"), site.ask("grace")
    keep()
    assert (site.ticket(ada), site.ticket(grace)) == (ada, grace)
    site.write(POLICY.replace("8 h", "2 h"))
    keep()
    assert site.ticket(ada).terms.longest == 2 * HOUR
    assert site.ticket(ada).queued_at == ada.queued_at
    assert site.ticket(grace) == grace


def test_who_lost_the_right_is_turned_away_with_the_reason(site: Site, keep: KeepPolicy) -> None:
    ada, grace = site.ask("ada", 2), site.ask("grace", 1)
    site.write(POLICY.replace("gpus_per_server: 2", "gpus_per_server: 1"))
    keep()
    turned_away = site.ticket(ada)
    assert turned_away.state is TicketState.ENDED
    assert turned_away.reason == (
        "the policy was changed: You asked for 2 GPUs; a server may have at most 1 (default)."
    )
    assert site.ticket(grace).state is TicketState.WAITING


def test_a_hub_that_is_away_changes_nothing_and_it_is_done_later(site: Site, keep: KeepPolicy) -> None:
    ada = site.ask("ada", 2)
    keep()
    site.write(POLICY.replace("gpus_per_server: 2", "gpus_per_server: 1"))
    site.hub.fail("users")
    with pytest.raises(HubError):
        keep()
    assert site.ticket(ada) == ada
    site.hub.failures.clear()
    keep()
    assert site.ticket(ada).state is TicketState.ENDED


def test_a_person_whom_the_hub_does_not_know(site: Site, keep: KeepPolicy) -> None:
    ada = site.ask("ada")
    del site.hub.people["ada"]
    keep()
    assert site.ticket(ada).state is TicketState.ENDED
    assert site.ticket(ada).reason == "the hub does not know this person any more"


def test_the_hub_is_asked_only_when_there_is_somebody_to_judge_anew(site: Site, keep: KeepPolicy) -> None:
    keep()
    assert site.hub.calls == []
    site.ask("ada")
    keep()
    assert site.hub.calls == [], "asked for under the policy that is in force"
    site.write(POLICY.replace("8 h", "2 h"))
    keep()
    keep()
    assert site.hub.calls == [("users",)]


def test_who_has_left_a_group_is_judged_anew_when_their_start_was_refused(
    site: Site, keep: KeepPolicy
) -> None:
    """And not offered the same again and again."""
    ada = site.ask("ada")
    keep()
    site.hub.people["ada"] = frozenset()
    keep()
    assert site.ticket(ada) == ada
    with site.ledger.write() as unit:
        unit.update_ticket(replace(ada, failures=1))
    keep()
    keep()
    assert (site.ticket(ada).party, site.ticket(ada).terms.longest) == (Party(), HOUR)
    assert site.hub.calls == [("users",), ("users",)]


def test_a_broken_policy_changes_nothing(site: Site, keep: KeepPolicy) -> None:
    ada = site.ask("ada")
    keep()
    site.write("groups: {default: {gpus: 1}}")
    keep()
    assert site.ticket(ada) == ada


# -- what is not there any more ------------------------------------------------------------------------------


def test_nobody_waits_for_ever_for_a_model_that_has_left_the_host(site: Site) -> None:
    site.hold("GPU-0", "GPU-1", owner="edsger")
    two, one = site.ask("ada", 2), site.ask("grace", 1)
    seconds = [0.0]
    end = EndHopeless(site.line, lambda: seconds[0])
    end()
    with site.ledger.write() as unit:
        unit.drop_devices(HOST, ["GPU-0"])
    seconds[0] = GONE_SECONDS
    end()
    assert site.ticket(two) == two, "it may be back in a moment"
    seconds[0] += GONE_SECONDS
    end()
    ended = site.ticket(two)
    assert (ended.state, ended.reason) == (
        TicketState.ENDED,
        "2 GPUs of one model were asked for; this server has 1 at most.",
    )
    assert site.ticket(one) == one


@pytest.mark.parametrize("gone", ["back", "all"])
def test_a_card_that_comes_back_ends_no_place(site: Site, gone: str) -> None:
    two, seconds = site.ask("ada", 2), [0.0]
    end = EndHopeless(site.line, lambda: seconds[0])
    with site.ledger.write() as unit:
        unit.drop_devices(HOST, [] if gone == "all" else ["GPU-0"])
    end()
    if gone == "back":
        with site.ledger.write() as unit:
            unit.put_device(record("GPU-1", index=1))
        seconds[0] += GONE_SECONDS / 2
        end()
    seconds[0] += GONE_SECONDS
    end()
    assert site.ticket(two) == two


# -- budgets ------------------------------------------------------------------------------------------------


@pytest.fixture
def budgets(site: Site) -> KeepBudgets:
    site.write(POLICY.replace("gpus_per_server: 2", "gpus_per_server: 2, gpu_hours_per_week: 4"))
    return KeepBudgets(site.ledger, HOST, site.sessions, site.policies, site.clock)


def test_a_second_session_brings_the_end_nearer(site: Site, budgets: KeepBudgets) -> None:
    one = site.hold("GPU-0", id="one", created_at=NOW, ends_at=NOW + 4 * HOUR)
    budgets()
    assert site.sessions.find("one") == one, "that is what its budget came to at its start"
    site.hold("GPU-1", id="two", server="two", created_at=NOW, ends_at=NOW + 2 * HOUR)
    budgets()
    nearer = site.sessions.find("one")
    assert nearer.ends_at == NOW + 2 * HOUR
    assert nearer.end_reason == "your 4 GPU-hours in seven days are used up then (default)"
    assert [text.partition(":")[0] for text in site.messages("ada")] == [
        "Your session will end at 2030-05-17 14"
    ]
    budgets()
    assert len(site.messages("ada")) == 1


def test_at_least_the_time_of_the_first_warning_is_left(site: Site, budgets: KeepBudgets) -> None:
    site.hold("GPU-0", created_at=NOW)
    spent = Usage("old", "GPU-9", NOW.date(), "ada", "", "", "A100", Party(), held_seconds=4 * 3600.0)
    with site.ledger.write() as unit:
        unit.add_usage(HOST, [spent])
    budgets()
    assert site.sessions.find("lease1").ends_at == NOW + LEAST_NOTICE


def test_without_a_limit_nothing_ends(site: Site, budgets: KeepBudgets) -> None:
    site.write(POLICY)
    site.hold("GPU-0", created_at=NOW - 5 * HOUR)
    budgets()
    assert site.sessions.find("lease1").ends_at is None
    assert site.messages("ada") == []


def test_only_who_is_over_the_budget_is_ended(site: Site, budgets: KeepBudgets) -> None:
    site.hold("GPU-0", id="ada", created_at=NOW - 3 * HOUR)
    site.hold("GPU-1", id="bob", owner="bob", created_at=NOW)
    site.hold(id="cpu", owner="eve", devices=(), created_at=NOW - 9 * HOUR)
    budgets()
    assert site.sessions.find("ada").ends_at == NOW + HOUR
    assert site.sessions.find("bob").ends_at == NOW + 4 * HOUR
    assert site.sessions.find("cpu").ends_at is None


# -- drains and seats ---------------------------------------------------------------------------------------


def test_a_drain_that_is_over_is_taken_away(site: Site) -> None:
    cards = Cards(site.ledger, HOST, site.clock)
    cards.drain("GPU-0", reason="new fan", actor="root", until=NOW + HOUR)
    cards.drain("GPU-1", reason="broken", actor="root")
    step = ExpireDrains(cards)
    step()
    site.now += 2 * HOUR
    step()
    with site.ledger.read() as unit:
        assert [drain.device for drain in unit.drains(HOST)] == ["GPU-1"]
        assert len(unit.recent_events(9, prefix="device.undrained")) == 1


def test_seats_that_nobody_uses_are_given_back_and_what_is_over_is_closed(site: Site) -> None:
    book = Reservations(site.ledger, HOST, site.clock)
    body = {"title": "Lab", "group": "lab", "devices": 2, "start": NOW.isoformat(), "length": "2 h"}
    made = book.make(parse_body(body), actor=person("root")).reservation
    step = ReturnSeats(book)
    step()
    assert len(book.list(NOW, NOW + HOUR)) == 1
    site.now += timedelta(minutes=16)
    step()
    assert book.list(site.now, site.now + HOUR) == ()
    assert book.standing() == (made,)
    site.now += 2 * HOUR
    step()
    assert book.standing() == ()


# -- whether somebody came ----------------------------------------------------------------------------------


class Rooms(FakeEngine):
    """An Engine that knows where the server of a container listens."""

    address: Address | None = Address("http://172.20.0.3:8888/user/ada/", "t")

    def locate(self, container_id: str) -> Address | None:
        return self.address


STARTED = NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("seen", "opened"),
    [
        (SessionActivity(STARTED, STARTED), False),
        (SessionActivity(STARTED, STARTED + timedelta(seconds=1)), False),
        (SessionActivity(STARTED, STARTED + timedelta(seconds=10)), True),
        (SessionActivity(None, NOW - timedelta(minutes=2)), False),
        (SessionActivity(None, NOW + timedelta(seconds=10)), True),
        (None, False),
    ],
)
def test_a_server_is_opened_when_it_was_active_after_its_start(
    seen: SessionActivity | None, opened: bool
) -> None:
    hub = FakeHub(activity={("http://172.20.0.3:8888/user/ada/", "t"): seen})
    assert SessionLook(Rooms(), hub)(lease(container_id="c1")) == opened


def test_what_has_no_address_is_not_opened() -> None:
    engine = Rooms()
    engine.address = None
    hub = FakeHub()
    assert not SessionLook(engine, hub)(lease(container_id="c1"))
    assert not SessionLook(engine, hub)(lease(container_id=None))
    assert hub.calls == []


def test_who_does_not_answer_proves_nothing() -> None:
    with pytest.raises(HubError):
        SessionLook(Rooms(), FakeHub())(lease(container_id="c1"))

    class Away(Rooms):
        def locate(self, container_id: str) -> Address | None:
            raise EngineError("away")

    with pytest.raises(EngineError):
        SessionLook(Away(), FakeHub())(lease(container_id="c1"))


# -- people who were removed --------------------------------------------------------------------------------


class Leaving:
    """The step, and who may be removed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.people = Identities(site.ledger, clock=site.clock)
        self.root = Actor("root", ActorKind.SHELL)
        for name in ("ada", "grace"):
            self.people.admit(Subject("https://login", name), Said(name, ()))
        self.calls = HubCalls(again_seconds=0)
        self.step = EndLeavers(self.people, site.sessions, site.line, site.hub, self.calls)

    def tick(self, times: int = 4) -> list[str]:
        problems: list[str] = []
        for _ in range(times):
            problems += self.step()
            self.calls.finish(5)
        return problems

    def stop(self, held: Lease) -> None:
        """As the agent releases it, once its server is gone."""
        with self.site.ledger.write() as unit:
            unit.update_lease(replace(held, state=LeaseState.RELEASED, state_since=NOW))


def test_nothing_goes_on_of_who_was_removed(site: Site) -> None:
    leaving = Leaving(site)
    held = site.hold("GPU-0", owner="ada", server="big")
    ticket = site.ask("ada", 2)
    site.hub.servers["ada", "big"] = HubServer(True, None, NOW, NOW, {})
    site.hub.servers["grace", ""] = HubServer(True, None, NOW, NOW, {})
    assert leaving.tick() == []
    assert "ada" in site.hub.people
    leaving.people.remove("ada", actor=leaving.root)
    assert leaving.tick(1) == []
    assert site.ticket(ticket).state is TicketState.ENDED
    assert set(site.hub.servers) == {("grace", "")}
    leaving.stop(held)
    assert leaving.tick() == []
    assert set(site.hub.people) == {"grace"}
    assert leaving.people.leaving() == []
    asked = len(site.hub.calls)
    leaving.tick()
    assert len(site.hub.calls) == asked, "it is done once"


def test_a_hub_that_is_down_is_asked_again(site: Site) -> None:
    leaving = Leaving(site)
    site.hub.fail("remove_user")
    leaving.people.remove("ada", actor=leaving.root)
    assert any("no answer" in problem for problem in leaving.tick())
    assert [one.name for one in leaving.people.leaving()] == ["ada"]
    site.hub.failures.clear()
    leaving.tick()
    assert leaving.people.leaving() == []


def test_who_is_let_in_again_meanwhile_is_not_gone(site: Site) -> None:
    leaving = Leaving(site)
    leaver = leaving.people.remove("ada", actor=leaving.root)
    leaving.people.restore("ada", actor=leaving.root)
    leaving.people.is_gone(leaver)
    assert leaving.people.list()[0].gone_at is None
    leaving.tick()
    assert "ada" in site.hub.people
