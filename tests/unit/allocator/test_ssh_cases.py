"""What the gateway is told of keys, servers and connections; and who connected."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.allocator.accounts import Accounts
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.allocator.ssh import Ends, Entrance, SshDesk, Told
from gpuspawner.allocator.ssh_disputes import DISPUTED, count_disputes
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.allocator.ssh_rights import SshRights
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, HubError, SettingsError
from gpuspawner.core.identity import Subject
from gpuspawner.core.model import Event, Home, HomeKind, LeaseState
from gpuspawner.core.ssh import KEEP_SESSIONS, MOST_AT_ONCE, MOST_KEYS, TOO_OFTEN, Cause, SshKey
from support.build import HOST, NOW, lease
from support.ssh import KEYS, make_key

ADA = Actor("ada", ActorKind.PERSON)


class Site:
    def __init__(self, path: Path) -> None:
        self.ledger, self.now, self.refused = Ledger(path), NOW, {}
        self.refused: dict[str, str]
        self.keys = SshKeys(self.ledger, self.clock)
        self.desk = SshDesk(self.ledger, HOST, self.refused.get, self.clock)

    def clock(self) -> datetime:
        return self.now

    def runs(self, lease_id: str, owner: str = "ada", server: str = "", container: str = "c1") -> None:
        made = lease(
            LeaseState.ACTIVE, devices=(), id=lease_id, owner=owner, server=server, container_id=container
        )
        with self.ledger.write() as unit:
            unit.add_lease(made)

    def ends(self, lease_id: str) -> None:
        with self.ledger.write() as unit:
            found = unit.lease(lease_id)
            assert found
            unit.update_lease(replace(found, state=LeaseState.RELEASED))

    def enter(self, key: SshKey, address: str = "127.64.0.0", gateway: str = "g1") -> Entrance:
        found = self.desk.enter(key.fingerprint, address, "192.0.2.7", gateway)
        assert isinstance(found, Entrance), found
        return found

    def key(self, owner: str = "ada") -> SshKey:
        return self.keys.list(owner)[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "ledger.db")


def test_a_key_opens_its_person_s_servers_while_one_runs(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    assert site.desk.ask(key.fingerprint) is None
    assert "No server of yours runs" in site.key().refused
    site.runs("l1")
    site.runs("l2", server="big")
    found = site.desk.ask(key.fingerprint)
    assert found
    assert [door.server for door in found[1].doors] == ["", "big"]
    assert site.desk.ask("SHA256:unknown") is None
    site.refused["ada"] = "SSH is not allowed for you."
    assert site.desk.ask(key.fingerprint) is None
    assert site.key().refused == "SSH is not allowed for you."


def test_a_door_is_the_same_for_ever_and_opens_the_server_of_that_moment(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    other = site.keys.add("bob", KEYS[1], actor=ADA)
    site.runs("l1")
    assert site.enter(key).container_id == "c1"
    site.ends("l1")
    assert site.desk.enter(key.fingerprint, "127.64.0.0", "", "g1") == "Your server does not run."
    site.runs("l2", container="c2")
    assert site.enter(key).container_id == "c2", "the name was used again: another container"
    assert [one.address for one in site.keys.doors("ada", [""])] == ["127.64.0.0"]
    # The page names the default server, and once more where it runs.
    assert [one.address for one in site.keys.doors("bob", ["", "", "x"])] == ["127.64.0.1", "127.64.0.2"]
    for address in ("127.64.0.1", "127.0.0.1", "10.0.0.1", "nothing", "127.64.0.9"):
        why = site.desk.enter(key.fingerprint, address, "", "g1")
        assert why == "There is no such server of yours.", address
    assert site.desk.enter(other.fingerprint, "127.64.0.0", "", "g1") == "There is no such server of yours."


def test_who_connected_is_written_down_with_bytes_and_its_end(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], "laptop", actor=ADA)
    site.runs("l1")
    session = site.enter(key).session
    assert site.key().used_at == NOW
    site.now += timedelta(minutes=3)
    assert site.desk.report("g1", [Told(session.id, 10, 20)]) == Ends({}, [])
    site.desk.report("g1", [Told(session.id, 11, 22, "The person closed it.")])
    (found,) = site.keys.recent("ada", 5)
    assert (found.sent, found.received, found.ended_at, found.source) == (11, 22, site.now, "192.0.2.7")
    with site.ledger.read() as unit:
        (event,) = unit.recent_events(1, prefix="ssh.ended")
    assert event.data["key"] == key.fingerprint
    assert event.data["received"] == 22


def test_a_removed_key_a_stopped_server_and_a_withdrawn_right_end_what_is_open(site: Site) -> None:
    keys = [site.keys.add("ada", text, actor=ADA) for text in KEYS[:2]]
    site.runs("l1")
    first, second = (site.enter(key).session for key in keys)
    told = [Told(first.id, 0, 0), Told(second.id, 0, 0)]
    site.keys.remove("ada", keys[0].id, actor=ADA)
    both = [one.fingerprint for one in keys]
    ended = Ends({first.id: "The key was removed."}, [keys[0].fingerprint])
    assert site.desk.report("g1", told, both) == ended
    site.refused["ada"] = "no"
    found = site.desk.report("g1", told[1:], both[1:])
    assert found == Ends({second.id: "no"}, both[1:])
    site.refused.clear()
    site.ends("l1")
    assert site.desk.report("g1", told).sessions[second.id] == "The server was stopped."
    site.runs("l2")
    assert site.desk.report("g1", told).sessions[second.id] == "The server was stopped."


def test_who_was_removed_is_out_at_once_and_comes_again_without_keys(site: Site) -> None:
    people = Identities(site.ledger, clock=site.clock)
    people.admit(Subject("https://login", "1"), Said("ada", ()))
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    other = site.keys.add("eve", KEYS[1], actor=ADA)
    site.runs("l1")
    session = site.enter(key).session
    people.remove("ada", actor=ADA)
    assert site.keys.list() == (other,)
    assert site.desk.ask(key.fingerprint) is None
    assert site.desk.report("g1", [Told(session.id, 0, 0)]).sessions == {session.id: "The key was removed."}
    people.restore("ada", actor=ADA)
    assert site.desk.ask(key.fingerprint) is None
    with site.ledger.read() as unit:
        (event,) = unit.find_events(EventSearch(kind="ssh.key-removed"), 9)
    assert (event.data["owner"], key.fingerprint in event.reason) == ("ada", True)
    again = site.keys.add("ada", KEYS[0], actor=ADA)  # the same key may be added anew
    assert site.desk.ask(again.fingerprint)


@pytest.mark.parametrize("how", ["admit", "link", "invite"])
def test_who_comes_to_a_name_has_none_of_its_keys_of_before(site: Site, how: str) -> None:
    site.keys.add("ada", KEYS[0], actor=ADA)
    subject, people = Subject("https://login", "2"), Identities(site.ledger, clock=site.clock)
    if how == "admit":
        assert people.admit(subject, Said("ada", ())).name == "ada"
        people.admit(subject, Said("ada", ()))
    elif how == "link":
        with site.ledger.write() as unit:
            unit.put_home(Home("ada", HomeKind.VOLUME, "home-ada"), NOW)
        people.link("ada", subject, actor=ADA)
    else:
        Accounts(site.ledger, site.clock).invite("ada", (), "", actor=ADA)
    assert site.keys.list("ada") == ()


def test_a_login_of_somebody_known_leaves_their_keys(site: Site) -> None:
    subject, people = Subject("https://login", "1"), Identities(site.ledger, clock=site.clock)
    people.admit(subject, Said("ada", ()))
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    people.admit(subject, Said("ada", ()))
    people.recognise(subject, Said("countess", ("ml",)))
    assert site.keys.list("ada") == (key,)


def test_what_a_gateway_had_open_ends_with_it(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    site.runs("l1")
    site.enter(key, gateway="before")
    new = site.enter(key, gateway="g1").session
    site.desk.report("g1", [])
    with site.ledger.read() as unit:
        assert unit.open_ssh_sessions() == (new,), "one that has just begun may not be told of yet"
    site.now += timedelta(minutes=2)
    site.desk.report("g1", [])
    with site.ledger.read() as unit:
        assert unit.open_ssh_sessions() == ()


def kinds(site: Site) -> list[str]:
    with site.ledger.read() as unit:
        return [one.kind for one in unit.recent_events(9)]


def test_who_connected_is_forgotten_after_a_time_and_old_ones_are_not_looked_for_each_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    site.runs("l1")
    session = site.enter(key).session
    site.desk.report("g1", [Told(session.id, 1, 2, "The person closed it.")])
    drops = []
    drop = LedgerUnit.drop_ssh_sessions
    monkeypatch.setattr(
        LedgerUnit, "drop_ssh_sessions", lambda unit, before: (drops.append(before), drop(unit, before))
    )
    for _ in range(360):
        site.now += timedelta(seconds=10)
        site.desk.report("g1", [])
    assert len(drops) == 1
    assert len(site.keys.recent("ada", 9)) == 1
    assert kinds(site) == ["ssh.ended", "ssh.key-added"]
    site.now += KEEP_SESSIONS
    site.desk.report("g1", [])
    assert site.keys.recent("ada", 9) == ()
    assert kinds(site) == ["ssh.key-added"], "nor does the audit trail know where they came from"


def test_nobody_has_keys_without_end(site: Site) -> None:
    for number in range(MOST_KEYS):
        site.keys.add("ada", make_key(number), actor=ADA)
    with pytest.raises(Conflict, match="may have no more"):
        site.keys.add("ada", make_key(MOST_KEYS), actor=ADA)


def test_a_hub_that_gives_no_answer_is_asked_once_and_holds_up_no_end(site: Site) -> None:
    asked = []

    def hang(owner: str) -> None:
        asked.append(owner)
        raise HubError("The Hub gives no answer.")

    keys = [site.keys.add(name, text, actor=ADA) for name, text in zip(("ada", "bob"), KEYS, strict=False)]
    for number, key in enumerate(keys):
        site.runs(f"l{number}", owner=key.owner)
    sessions = [site.enter(key, f"127.64.0.{number}").session for number, key in enumerate(keys)]
    site.keys.remove("bob", keys[1].id, actor=ADA)
    desk = SshDesk(site.ledger, HOST, hang, site.clock)
    told, both = [Told(one.id, 0, 0) for one in sessions], [one.fingerprint for one in keys]
    ended = Ends({sessions[1].id: "The key was removed."}, [keys[1].fingerprint])
    assert desk.report("g1", told, both) == ended
    assert asked == [], "the end of a removed key waits for no Hub"
    assert desk.report("g1", told, both) == ended
    assert asked == ["ada"], "who has always something to end does not keep the Hub from being asked"
    desk.report("g1", told, both)
    desk.report("g1", told, both)
    assert asked == ["ada", "ada"], "once in a report, of connections and keys together"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (HubError("The Hub gives no answer."), "the hub did not answer. Try again in a minute."),
        (SettingsError("It is broken."), "the policy cannot be read. Tell the administrator."),
    ],
)
def test_who_is_refused_because_it_cannot_be_told_reads_so(site: Site, error: Exception, says: str) -> None:
    def fail(owner: str) -> None:
        raise error

    counted: list[Cause] = []
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    site.runs("l1")
    desk = SshDesk(site.ledger, HOST, fail, site.clock, counted.append)
    with pytest.raises(type(error)):
        desk.ask(key.fingerprint)
    assert site.key().refused == f"It could not be told just then whether you may come in: {says}"
    assert site.key().refused_at == NOW
    site.now += timedelta(minutes=1)
    with pytest.raises(type(error)):
        desk.enter(key.fingerprint, "127.64.0.0", "", "g1")
    assert site.key().refused_at == site.now
    assert counted == [Cause.NOT_TOLD] * 2


def test_a_slow_hub_is_asked_about_some_at_a_time_and_about_everybody_in_turn(site: Site) -> None:
    asked: list[str] = []

    def take_a_second(owner: str) -> str | None:
        asked.append(owner)
        return "SSH is not allowed for you." if owner == "p11" else None

    people = [f"p{number:02}" for number in range(12)]
    identities = Identities(site.ledger, clock=site.clock)
    identities.admit(Subject("https://login", "1"), Said("p10", ()))
    identities.remove("p10", actor=ADA)
    rights = SshRights(site.ledger, take_a_second, lambda: float(len(asked)))
    rounds = [rights.why_not_any_more(people) for _ in range(3)]
    assert asked[: len(people) - 1] == [one for one in people if one != "p10"], "nobody twice before all were"
    assert max(asked.count(one) for one in people) <= 2
    for found in rounds:
        assert "removed" in found["p10"], "what is known here waits for no Hub"
    assert rounds[2]["p11"] == "SSH is not allowed for you."


def test_who_connects_on_and_on_is_slowed_and_does_not_fill_the_ledger(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    other = site.keys.add("bob", KEYS[1], actor=ADA)
    site.runs("l1")
    site.runs("l2", owner="bob")
    for _ in range(MOST_AT_ONCE):
        site.desk.fail(site.enter(key).session.id, "It ended.")
    assert site.desk.enter(key.fingerprint, "127.64.0.0", "", "g1") == TOO_OFTEN.text
    assert site.key().refused == TOO_OFTEN.text
    assert site.enter(other, "127.64.0.1"), "nobody else is kept out"
    site.now += timedelta(seconds=0.5)
    site.enter(key)
    assert site.desk.enter(key.fingerprint, "127.64.0.0", "", "g1") == TOO_OFTEN.text
    assert len(site.keys.recent("ada", 1000)) == MOST_AT_ONCE + 1


def test_a_removed_key_that_somebody_else_adds_lets_nothing_go_on(site: Site) -> None:
    key = site.keys.add("ada", KEYS[0], actor=ADA)
    site.runs("l1")
    session = site.enter(key).session
    site.keys.remove("ada", key.id, actor=ADA)
    site.keys.add("eve", KEYS[0], actor=ADA)
    assert site.desk.report("g1", [Told(session.id, 0, 0)]).sessions == {session.id: "The key was removed."}


def disputes(site: Site) -> list[Event]:
    with site.ledger.read() as unit:
        return list(unit.recent_events(10, prefix=DISPUTED))


def test_who_added_another_s_public_key_keeps_them_out_only_until_an_administrator_knows(site: Site) -> None:
    eve = Actor("eve", ActorKind.PERSON)
    taken = site.keys.add("eve", KEYS[0], actor=eve)
    for _ in range(3):
        with pytest.raises(Conflict, match=r"If it is yours, tell the administrator"):
            site.keys.add("ada", KEYS[0], actor=ADA)
    (told,) = disputes(site)
    assert told.reason == f"ada wants to add the key {taken.fingerprint}, and eve has it"
    assert (told.actor, told.data["held_by"], told.data["used_at"]) == ("ada", "eve", None)
    with site.ledger.read() as unit:
        assert count_disputes(unit, site.now) == 1
        assert count_disputes(unit, site.now + timedelta(days=2)) == 0
    site.keys.remove("eve", taken.id, actor=Actor("root", ActorKind.SHELL))
    site.keys.add("ada", KEYS[0], actor=ADA)
    with pytest.raises(Conflict, match="Somebody else"):
        site.keys.add("eve", KEYS[0], actor=eve)
    assert [one.data["owner"] for one in disputes(site)] == ["eve", "ada"]
    with site.ledger.read() as unit:
        added = unit.recent_events(10, prefix="ssh.key-added")
    assert [(one.actor, one.data["fingerprint"]) for one in added] == [
        ("ada", taken.fingerprint),
        ("eve", taken.fingerprint),
    ]


def test_a_key_that_another_has_added_leads_into_no_server_of_theirs(site: Site) -> None:
    """Whose door a client names, only their key opens: a colleague's way does not lead into the thief's."""
    site.keys.add("ada", KEYS[1], actor=ADA)
    stolen = site.keys.add("eve", KEYS[0], actor=Actor("eve", ActorKind.PERSON))
    site.runs("l1")
    site.runs("l2", owner="eve", container="c2")
    (mine,) = site.keys.doors("ada", [""])
    assert site.desk.enter(stolen.fingerprint, mine.address, "", "g1") == "There is no such server of yours."
