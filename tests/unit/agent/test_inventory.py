from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.agent.inventory import BASELINE_MOST_PERCENT, Inventory, take_inventory, without_stamps
from gpuspawner.core.faults import Cause, Fault
from gpuspawner.core.model import DeviceReading, DeviceRecord, Event, Health
from gpuspawner.ports import ProbeReport
from support.build import (
    GIB,
    MIB,
    NOW,
    ago,
    busy,
    container,
    device,
    lease,
    reading,
    record,
    sample,
    silent,
)

HARD = "hardware or driver fault, XID 79 (the card has fallen off the bus)"
SILENCE = Fault(
    Cause.SILENT,
    "the driver did not answer within 5 s",
    "2030-05-17 12:00:00 UTC: the driver did not answer within 5 s",
    since=NOW,
)
OLD = record(seen_at=ago(9), sample=sample(at=ago(9)))


def take(
    *readings: DeviceReading,
    previous: tuple[DeviceRecord, ...] = (OLD,),
    absent: tuple[DeviceRecord, ...] = (),
    leases=(),
    containers=(),
    missing: str | None = None,
    driver: str | None = None,
) -> Inventory:
    report = ProbeReport(driver, readings, missing)
    return take_inventory(report, previous, absent, leases, containers, now=NOW)


def only(inventory: Inventory) -> DeviceRecord:
    (found,) = inventory.records
    return found


def kinds(inventory: Inventory) -> list[str]:
    return [event.kind for event in inventory.events]


def test_the_driver_is_written_down_with_each_card_that_answers() -> None:
    """A card that is silent keeps the one that it was last seen under: nothing new is known of it."""
    assert only(take(reading(), driver="580.82.07")).device.driver == "580.82.07"
    old = replace(OLD, device=replace(OLD.device, driver="570.10"))
    assert only(take(silent(), previous=(old,), driver="580.82.07")).device.driver == "570.10"


def test_a_card_that_answers() -> None:
    found = take(reading(sample=sample(memory_used_bytes=5 * MIB)))
    assert only(found) == record(sample=sample(memory_used_bytes=5 * MIB))
    assert found.events == ()
    assert found.baselines == {"GPU-0": 4 * MIB}


def test_a_new_card() -> None:
    found = take(reading(), previous=())
    assert only(found) == record()
    assert found.events == (Event(NOW, "device.found", "the driver lists a A100", "agent", device="GPU-0"),)


def test_a_card_that_does_not_answer_grows_stale() -> None:
    found = take(silent())
    assert only(found) == record(
        seen_at=ago(9),
        sample=sample(at=ago(9)),
        health=Health.UNKNOWN,
        health_reason="the driver did not answer within 5 s",
        fault=SILENCE,
    )
    assert kinds(found) == ["device.unknown"]
    assert take(silent(), previous=found.records).events == ()


def test_a_card_that_answers_again_is_checked_before_it_is_back() -> None:
    silent_one = record(health=Health.UNKNOWN, health_reason=SILENCE.reason, fault=SILENCE)
    checked = take(reading(), previous=(silent_one,))
    assert only(checked).health is Health.UNKNOWN
    assert only(checked).fault == replace(SILENCE, check_since=NOW)
    assert checked.events == ()
    passing = replace(only(checked), fault=replace(SILENCE, check_since=ago(10)))
    back = take(reading(), previous=(passing,))
    assert only(back) == record()
    assert back.events == (
        Event(
            NOW,
            "device.ok",
            f"it answered without a fault for 10 s; it was out for: {SILENCE.reason}",
            "agent",
            device="GPU-0",
            data={
                "cause": "silent",
                "evidence": SILENCE.evidence,
                "since": NOW.isoformat(),
                "well_since": ago(10).isoformat(),
            },
        ),
    )


def test_a_card_that_never_said_what_it_is() -> None:
    assert take(silent(), previous=()).records == ()


LINKED = (
    record(device=device(links=(("GPU-1", 1200),))),
    record("GPU-1", device=device("GPU-1", links=(("GPU-0", 1200),))),
)


def links(inventory: Inventory) -> dict[str, tuple[tuple[str, int], ...]]:
    return {r.device.uuid: r.device.links for r in inventory.records}


def test_links_outlast_a_look_that_does_not_tell_them() -> None:
    found = take(silent(), reading("GPU-1"), previous=LINKED)
    assert links(found) == {"GPU-0": (("GPU-1", 1200),), "GPU-1": (("GPU-0", 1200),)}


def test_links_that_come_back_with_an_absent_card() -> None:
    found = take(reading(), reading("GPU-1"), previous=LINKED[:1], absent=LINKED[1:])
    assert links(found) == {"GPU-0": (("GPU-1", 1200),), "GPU-1": (("GPU-0", 1200),)}


def test_a_link_that_is_told_replaces_what_was_known() -> None:
    moved = device(links=(("GPU-1", 10),))
    found = take(reading(device=moved), reading("GPU-1"), previous=LINKED)
    assert links(found)["GPU-0"] == (("GPU-1", 10),)


def test_links_to_a_card_that_is_gone_go_with_it() -> None:
    found = take(reading(), previous=LINKED[:1])
    assert links(found) == {"GPU-0": ()}


def test_the_order_in_which_links_are_told_is_no_change() -> None:
    told = (("GPU-2", 10), ("GPU-1", 1200))
    first = take(reading(device=device(links=told)), reading("GPU-1"), reading("GPU-2"))
    again = take(
        reading(device=device(links=told[::-1])), reading("GPU-1"), reading("GPU-2"), previous=first.records
    )
    assert without_stamps(again.records) == without_stamps(first.records)


def test_a_card_that_is_not_listed_any_more() -> None:
    found = take()
    assert found.records == ()
    assert kinds(found) == ["device.gone"]


def test_a_card_that_is_not_listed_but_leased_stays() -> None:
    found = take(leases=[lease()])
    assert only(found).health is Health.UNKNOWN
    assert only(found).seen_at == ago(9)
    assert only(found).health_reason == "the driver does not list it any more"


def test_when_the_list_failed_nothing_goes_and_nothing_is_fresh() -> None:
    found = take(missing="the driver is not loaded")
    assert only(found).health is Health.UNKNOWN
    assert only(found).health_reason == "the driver is not loaded"
    assert only(found).seen_at == ago(9)


def test_one_card_without_a_name_hides_no_other() -> None:
    both = (OLD, record("GPU-1", seen_at=ago(9), index=1))
    found = take(reading(), previous=both, missing="GPU 1: lost")
    assert {r.device.uuid: (r.health, r.seen_at) for r in found.records} == {
        "GPU-0": (Health.OK, NOW),
        "GPU-1": (Health.UNKNOWN, ago(9)),
    }


def test_a_hard_xid_stands() -> None:
    found = take(reading(xids=(13, 79)))
    assert only(found).health is Health.FAULTY
    assert only(found).standing_fault == HARD
    evidence = {"cause": "xid", "evidence": "2030-05-17 12:00:00 UTC: XID 13, 79", "since": NOW.isoformat()}
    assert [(e.kind, e.data) for e in found.events] == [
        ("device.xid", {"xid": 13}),
        ("device.xid", {"xid": 79}),
        ("device.faulty", evidence),
    ]
    assert only(take(reading(), previous=found.records)).health is Health.FAULTY
    assert only(take(missing="x", previous=found.records)).health is Health.FAULTY


def test_an_applications_xid_is_told_and_does_not_matter() -> None:
    found = take(reading(xids=(31,)))
    assert only(found) == record()
    assert kinds(found) == ["device.xid"]


def test_a_card_that_comes_back_keeps_its_fault_and_its_baseline() -> None:
    once = record(standing_fault="XID 79", baseline_bytes=MIB)
    found = take(reading(), previous=(), absent=(once,))
    assert only(found).health is Health.FAULTY
    assert only(found).baseline_bytes == MIB
    assert "device.found" in kinds(found)


@pytest.mark.parametrize(
    ("before", "look", "after"),
    [
        (None, sample(memory_used_bytes=7 * MIB), 7 * MIB),
        (4 * MIB, sample(memory_used_bytes=7 * MIB), 4 * MIB),
        (4 * MIB, sample(memory_used_bytes=MIB), MIB),
        (4 * MIB, sample(memory_used_bytes=0), 0),
        (None, sample(memory_used_bytes=30 * GIB), 40 * GIB * BASELINE_MOST_PERCENT // 100),
        (None, busy(7), None),
        (None, sample(processes=None), None),
        (None, sample(memory_used_bytes=None), None),
        (4 * MIB, None, 4 * MIB),
    ],
)
def test_baseline(before: int | None, look, after: int | None) -> None:
    old = record(baseline_bytes=before)
    assert only(take(reading(sample=look), previous=(old,))).baseline_bytes == after


def test_a_stranger_is_announced_once() -> None:
    found = take(reading(sample=busy(7)))
    assert only(found).occupied_by == "process 7 on the host"
    assert kinds(found) == ["device.stranger"]
    assert found.events[0].reason == "in use by others: process 7 on the host"
    assert take(reading(sample=busy(7)), previous=found.records).events == ()


def test_another_stranger_is_announced_too() -> None:
    old = record(occupied_by="process 7 on the host")
    found = take(reading(sample=busy(8)), previous=(old,))
    assert [(e.kind, e.reason) for e in found.events] == [
        ("device.stranger", "in use by others: process 8 on the host")
    ]


def test_a_stranger_who_is_gone_is_announced_and_the_card_is_free_at_once() -> None:
    found = take(reading(), previous=(record(occupied_by="process 7 on the host"),))
    assert only(found) == record()
    assert [(e.kind, e.reason) for e in found.events] == [
        ("device.stranger_gone", "not in use by others any more: process 7 on the host")
    ]


def test_a_stranger_is_not_forgotten_while_the_card_is_silent() -> None:
    old = record(occupied_by="process 7 on the host")
    assert only(take(silent(), previous=(old,))).occupied_by == "process 7 on the host"
    unknown = reading(sample=sample(processes=None))
    assert only(take(unknown, previous=(old,))).occupied_by == "process 7 on the host"
    assert only(take(missing="x", previous=(old,))).occupied_by == "process 7 on the host"


def test_the_leases_own_processes_are_no_strangers_when_the_engine_is_silent() -> None:
    work = reading(sample=busy(7, container_id=container().id))
    assert only(take(work, leases=[lease()], containers=[container()])).occupied_by is None
    assert only(take(work, leases=[lease()], containers=None)).occupied_by is None
    assert only(take(work, containers=None)).occupied_by == "process 7 in container cccccccccccc"


def test_a_foreign_container_is_not_forgotten_when_the_engine_is_silent() -> None:
    old = record(occupied_by="container 'training', which has no lease for it")
    assert only(take(reading(), previous=(old,), containers=None)).occupied_by == old.occupied_by
    assert only(take(reading(), previous=(old,), containers=())).occupied_by is None


def test_a_new_index_is_taken_over() -> None:
    moved = reading(device=device(index=3))
    assert only(take(moved)).device.index == 3


def test_a_card_that_was_not_listed_is_checked_when_it_is_back() -> None:
    once = record(seen_at=ago(3600))
    found = take(reading(), previous=(), absent=(once,))
    assert only(found).health is Health.UNKNOWN
    assert only(found).fault == Fault(
        Cause.UNLISTED,
        "the driver does not list it any more",
        "2030-05-17 11:00:00 UTC: the driver does not list it any more",
        since=ago(3600),
        check_since=NOW,
    )
    assert kinds(found) == ["device.found", "device.unknown"]


@pytest.mark.parametrize("there", ["previous", "absent"])
def test_a_new_slice_of_a_faulty_card_is_faulty(there: str) -> None:
    sibling = record(device=device("MIG-1", parent="GPU-0"), standing_fault=HARD, health=Health.FAULTY)
    piece = reading("MIG-2", device=device("MIG-2", parent="GPU-0"))
    stranger = reading("MIG-9", device=device("MIG-9", parent="GPU-9"))
    found = take(piece, stranger, **{"previous": (), there: (sibling,)})
    assert {r.device.uuid: r.standing_fault for r in found.records} == {"MIG-2": HARD, "MIG-9": None}


def test_a_card_that_is_whole_again_keeps_the_fault_of_its_slices() -> None:
    piece = record(device=device("MIG-1", parent="GPU-0"), standing_fault=HARD, health=Health.FAULTY)
    assert only(take(reading(), previous=(piece,))).health is Health.FAULTY


def test_a_fault_that_changes_is_announced() -> None:
    wish = take(reading(recovery_action=1))
    lost = take(silent(lost=True), previous=wish.records)
    assert [(e.kind, e.data["cause"]) for e in (*wish.events, *lost.events)] == [
        ("device.faulty", "recovery"),
        ("device.faulty", "lost"),
    ]
