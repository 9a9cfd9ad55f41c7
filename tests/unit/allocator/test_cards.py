"""Drain, keep for somebody, clear a fault: over the real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Cleared
from gpuspawner.allocator.cards import MOST_CHARACTERS
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.drains import NOW_GRACE, WITHOUT_CARD, find_drain, find_stop
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.faults import Cause, Fault
from gpuspawner.core.model import Event, Lease, Party
from gpuspawner.core.model import LeaseState as S
from support.build import HOST, NOW, ago, device, lease, record

UNTIL = NOW + timedelta(hours=6)
WHY = {"reason": "fan is replaced", "actor": "root"}


class Site:
    """A ledger with two whole cards, one in slices, and one that is not listed now; and a clock."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.ledger = Ledger(folder / "ledger.db")
        self.cards = Cards(self.ledger, HOST, lambda: self.now)
        with self.ledger.write() as unit:
            unit.put_device(record("GPU-9", index=9))
            unit.drop_devices(HOST, [])
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n))
            for name in ("MIG-1", "MIG-2"):
                unit.put_device(record(device=device(name, index=2, parent="GPU-2")))

    def hold(self, *devices: str, owner: str = "ada", state: S = S.ACTIVE, **changes) -> Lease:
        made = lease(state, *devices, id=f"lease-{devices[0]}", owner=owner, **changes)
        with self.ledger.write() as unit:
            unit.add_lease(made)
        return made

    def lease(self, made: Lease) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease(made.id)
        assert found
        return found

    def drains(self) -> tuple[Drain, ...]:
        with self.ledger.read() as unit:
            return unit.drains(HOST)

    def pins(self) -> tuple[Pin, ...]:
        with self.ledger.read() as unit:
            return unit.pins(HOST)

    def events(self, prefix: str = "") -> list[Event]:
        with self.ledger.read() as unit:
            return [e for e in reversed(unit.recent_events(100)) if e.kind.startswith(prefix)]

    def put_fault(self, uuid: str, fault: str = "XID 79") -> None:
        with self.ledger.write() as unit:
            found = {r.device.uuid: r for r in (*unit.inventory(HOST), *unit.absent_devices(HOST))}[uuid]
            kept = Fault(Cause.XID, fault, "read", since=ago(9))
            unit.put_device(replace(found, standing_fault=fault, fault=kept))

    def faults(self) -> dict[str, str]:
        with self.ledger.read() as unit:
            known = (*unit.inventory(HOST), *unit.absent_devices(HOST))
        return {r.device.uuid: r.standing_fault for r in known if r.standing_fault}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()


# -- servers without a card ---------------------------------------------------------------------------------


def test_servers_without_a_card_can_be_drained_alone(site: Site) -> None:
    with site.ledger.write() as unit:
        unit.add_lease(lease(S.ACTIVE, id="bare", owner="bob", devices=()))
    on_card = site.hold("GPU-0")
    done = site.cards.drain(WITHOUT_CARD, **WHY, now=True)
    assert [one.id for one in done.leases] == ["bare"]
    assert site.lease(done.leases[0]).ends_at == NOW + NOW_GRACE
    assert site.lease(on_card) == on_card
    assert find_stop(site.drains(), NOW) == done.record
    assert all(find_drain(device(f"GPU-{n}"), site.drains(), NOW) is None for n in range(2))
    site.cards.undrain(WITHOUT_CARD, reason="new fan", actor="eve")
    assert find_stop(site.drains(), NOW) is None


def test_a_drain_of_servers_without_a_card_is_over_when_its_time_is(site: Site) -> None:
    site.cards.drain(WITHOUT_CARD, **WHY, until=UNTIL)
    assert find_stop(site.drains(), UNTIL - timedelta(seconds=1)) is not None
    assert find_stop(site.drains(), UNTIL) is None


def test_nothing_but_a_drain_is_said_of_servers_without_a_card(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="no card 'cpu-only'"):
        site.cards.pin(WITHOUT_CARD, Holder("person", "ada"), reason="x", actor="root")


# -- drain --------------------------------------------------------------------------------------------------


def test_drain_and_undrain(site: Site) -> None:
    drain = Drain("GPU-0", "fan is replaced", "root", NOW)
    done = site.cards.drain("GPU-0", **WHY)
    assert (done.record, done.before, done.leases) == (drain, None, ())
    assert (site.drains(), site.pins()) == ((drain,), ())
    assert site.cards.undrain("GPU-0", reason="new fan", actor="eve") == drain
    assert (site.drains(), site.pins()) == ((), ())
    data = {"until": None, "now": False, "before": None, "leases": []}
    data["undo"] = {"drain": None, "ends": []}
    stood = {
        "reason": "fan is replaced",
        "actor": "root",
        "since": NOW.isoformat(),
        "until": None,
        "now": False,
    }
    why = "drained by root: fan is replaced"
    was = {"was": why, "since": NOW.isoformat(), "undo": {"drain": stood}}
    assert site.events() == [
        Event(NOW, "device.drained", why, "root", device="GPU-0", data=data),
        Event(NOW, "device.undrained", "new fan", "eve", device="GPU-0", data=was),
    ]


def test_sessions_go_on_unless_it_is_now(site: Site) -> None:
    held = site.hold("GPU-0")
    assert site.cards.drain("GPU-0", **WHY).leases == (held,)
    assert site.lease(held) == held


def test_drained_now_ends_the_sessions_on_it_and_no_others(site: Site) -> None:
    held, other = site.hold("GPU-0"), site.hold("GPU-1", owner="bob")
    done = site.cards.drain("GPU-0", **WHY, now=True)
    why = "card is drained by root: fan is replaced"
    assert done.leases == (replace(held, ends_at=NOW + NOW_GRACE, end_reason=why),)
    assert site.lease(held) == done.leases[0]
    assert site.lease(other) == other
    (event,) = site.events("lease.")
    end = (NOW + NOW_GRACE).isoformat()
    undo = {"ends": [{"lease": held.id, "ends_at": end, "before": None, "reason": ""}]}
    data = {"ends_at": end, "undo": undo}
    text = f"it ends at 12:01 UTC: {why}"
    assert event == Event(NOW, "lease.end_set", text, "root", held.id, "GPU-0", data)


def test_a_session_that_ends_sooner_keeps_its_end(site: Site) -> None:
    held = site.hold("GPU-0", ends_at=NOW + timedelta(seconds=30), end_reason="longest session")
    gone = site.hold("GPU-1", owner="bob", state=S.QUARANTINED)
    site.cards.drain("GPU-0", **WHY, now=True)
    site.cards.drain("GPU-1", **WHY, now=True)
    assert (site.lease(held), site.lease(gone)) == (held, gone)


def test_a_card_is_drained_with_its_slices(site: Site) -> None:
    held = site.hold("MIG-1")
    assert site.cards.drain("GPU-2", **WHY, now=True).leases[0].id == held.id
    assert site.lease(held).ends_at == NOW + NOW_GRACE
    with pytest.raises(InvalidRequest, match="MIG-1 is not drained, but its card GPU-2 is; undrain that"):
        site.cards.undrain("MIG-1", **WHY)


def test_a_slice_is_drained_alone(site: Site) -> None:
    site.hold("MIG-2")
    assert site.cards.drain("MIG-1", **WHY, now=True).leases == ()


def test_a_second_drain_changes_the_first_and_says_so(site: Site) -> None:
    first = site.cards.drain("GPU-0", **WHY).record
    site.now += timedelta(minutes=5)
    held = site.hold("GPU-0")
    done = site.cards.drain("GPU-0", reason="new fan is late", actor="eve", until=UNTIL, now=True)
    assert done.before == first
    assert done.record == Drain("GPU-0", "new fan is late", "eve", NOW, UNTIL, True)
    assert site.lease(held).ends_at == site.now + NOW_GRACE
    assert site.drains() == (done.record,)
    assert site.events("device.")[-1].data["before"] == "drained by root: fan is replaced"


def test_a_card_that_is_not_listed_now_can_be_drained(site: Site) -> None:
    site.cards.drain("GPU-9", **WHY)
    assert site.cards.undrain("GPU-9", **WHY).device == "GPU-9"


def test_a_drain_whose_time_is_over_is_removed_once(site: Site) -> None:
    site.cards.drain("GPU-1", **WHY)
    drain = site.cards.drain("GPU-0", **WHY, until=UNTIL).record
    assert site.cards.expire_drains() == ()
    site.now = UNTIL
    assert site.cards.expire_drains() == (drain,)
    assert site.cards.expire_drains() == ()
    (event,) = site.events("device.undrained")
    assert (event.device, event.reason, event.actor) == ("GPU-0", "its time is over", "system")
    assert event.data["was"] == "drained by root until 18:00 UTC: fan is replaced"


def test_a_drain_whose_time_is_over_is_none(site: Site) -> None:
    site.cards.drain("GPU-0", **WHY, until=UNTIL)
    site.now = UNTIL
    with pytest.raises(InvalidRequest, match="is not drained"):
        site.cards.undrain("GPU-0", **WHY)
    again = site.cards.drain("GPU-0", **WHY)
    assert (again.before, again.record.since) == (None, UNTIL)


@pytest.mark.parametrize(
    ("device", "changes", "why"),
    [
        ("GPU-7", {}, "There is no card 'GPU-7'"),
        ("", {}, "There is no card ''"),
        ("GPU-0", {"reason": " \n"}, "Give a reason"),
        ("GPU-0", {"reason": "x" * (MOST_CHARACTERS + 1)}, "at most 500"),
        ("GPU-0", {"reason": "a\x1b[2J"}, "printable"),
        ("GPU-0", {"until": NOW}, "12:00 UTC is over"),
        ("GPU-0", {"until": NOW - timedelta(days=1)}, "is over"),
        ("GPU-0", {"until": NOW + timedelta(days=3651)}, "more than 10 years ahead"),
        ("GPU-0", {"until": datetime(2031, 1, 1)}, "has no time zone"),
    ],
)
def test_nonsense_changes_nothing(site: Site, device: str, changes: dict, why: str) -> None:
    held = site.hold("GPU-0")
    with pytest.raises(InvalidRequest, match=why):
        site.cards.drain(device, **WHY | {"now": True} | changes)
    assert (site.drains(), site.pins()) == ((), ())
    assert (site.events(), site.lease(held)) == ([], held)


def test_the_cards_of_another_host_are_not_ours(site: Site) -> None:
    site.cards.drain("GPU-0", **WHY, until=UNTIL)
    other = Cards(site.ledger, "elsewhere", lambda: UNTIL)
    assert other.expire_drains() == ()
    with pytest.raises(InvalidRequest, match="There is no card 'GPU-0' on this host; there are: none"):
        other.drain("GPU-0", **WHY)


# -- keep for somebody --------------------------------------------------------------------------------------

VISION = Holder("group", "vision")


def test_pin_and_unpin(site: Site) -> None:
    pin = Pin("GPU-0", VISION, "fan is replaced", "root", NOW)
    done = site.cards.pin("GPU-0", VISION, **WHY)
    assert (done.record, done.before, done.leases) == (pin, None, ())
    assert (site.drains(), site.pins()) == ((), (pin,))
    assert site.cards.unpin("GPU-0", reason="paid back", actor="eve") == pin
    assert (site.drains(), site.pins()) == ((), ())
    words = "kept for group `vision` by root: fan is replaced"
    data = {"kind": "group", "name": "vision", "before": None, "undo": {"pin": None}}
    stood = {
        "kind": "group", "name": "vision", "reason": "fan is replaced", "actor": "root",
        "since": NOW.isoformat(),
    }  # fmt: skip
    was = {"was": words, "undo": {"pin": stood}}
    assert site.events() == [
        Event(NOW, "device.pinned", words, "root", device="GPU-0", data=data),
        Event(NOW, "device.unpinned", "paid back", "eve", device="GPU-0", data=was),
    ]


def test_a_second_pin_takes_the_place_of_the_first(site: Site) -> None:
    first = site.cards.pin("GPU-0", VISION, **WHY).record
    done = site.cards.pin("GPU-0", Holder("person", " ada "), **WHY)
    assert (done.before, done.record.holder) == (first, Holder("person", "ada"))
    assert site.pins() == (done.record,)


def test_sessions_of_others_on_a_kept_card_are_told_and_go_on(site: Site) -> None:
    theirs = site.hold("MIG-1", party=Party(("vision",)))
    other = site.hold("MIG-2", owner="bob")
    assert site.cards.pin("GPU-2", VISION, **WHY).leases == (other,)
    assert (site.lease(theirs), site.lease(other)) == (theirs, other)


@pytest.mark.parametrize(
    ("device", "holder", "why"),
    [
        ("GPU-7", VISION, "There is no card"),
        ("GPU-0", Holder("robot", "r2"), "and not for a 'robot'"),
        ("GPU-0", Holder("person", " "), "Name the person"),
        ("GPU-0", Holder("course", "x" * 256), "Name the course"),
        ("GPU-0", Holder("group", "a\x1b"), "Name the group"),
    ],
)
def test_a_pin_that_makes_no_sense(site: Site, device: str, holder: Holder, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        site.cards.pin(device, holder, **WHY)
    assert (site.pins(), site.events()) == ((), [])


def test_unpin_of_what_is_not_kept(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="GPU-0 is kept for nobody; nothing"):
        site.cards.unpin("GPU-0", **WHY)
    site.cards.pin("GPU-2", VISION, **WHY)
    with pytest.raises(InvalidRequest, match="nobody, but its card GPU-2 is kept for group `vision`"):
        site.cards.unpin("MIG-1", **WHY)


# -- a fault that stands ------------------------------------------------------------------------------------


def test_clear_a_fault(site: Site) -> None:
    site.put_fault("GPU-0")
    site.put_fault("GPU-1")
    assert site.cards.clear_fault("GPU-0", reason="seated anew", actor="root") == (
        Cleared("GPU-0", "XID 79"),
    )
    assert site.faults() == {"GPU-1": "XID 79"}
    data = {"fault": "XID 79", "evidence": "read", "since": ago(9).isoformat()}
    assert site.events() == [Event(NOW, "device.cleared", "seated anew", "root", device="GPU-0", data=data)]


@pytest.mark.parametrize("named", ["GPU-2", "MIG-1"])
def test_a_card_is_cleared_with_all_its_parts_also_those_that_are_gone(site: Site, named: str) -> None:
    site.put_fault("MIG-1")
    site.put_fault("MIG-2")
    with site.ledger.write() as unit:
        unit.drop_devices(HOST, ["GPU-0", "GPU-1", "MIG-1"])
    cleared = site.cards.clear_fault(named, reason="seated anew", actor="root")
    assert sorted(one.device for one in cleared) == ["MIG-1", "MIG-2"]
    assert site.faults() == {}


def test_nothing_to_clear(site: Site) -> None:
    with pytest.raises(InvalidRequest, match=r"GPU-0 has no standing fault; nothing was changed\.$"):
        site.cards.clear_fault("GPU-0", **WHY)
    with pytest.raises(InvalidRequest, match="There is no card"):
        site.cards.clear_fault("GPU-7", **WHY)
