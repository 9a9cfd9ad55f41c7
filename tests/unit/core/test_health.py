from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from gpuspawner.core.faults import CURES, LOOKS_APART, MOST_EVIDENCE, WORST_FIRST, Cause, Fault, choose_worse
from gpuspawner.core.health import (
    APPLICATION_XIDS,
    KNOWN_XIDS,
    RECOVERY_ACTIONS,
    Judgement,
    describe_return,
    find_card_faults,
    find_standing_fault,
    judge_health,
    judge_look,
    judge_unseen,
)
from gpuspawner.core.model import DeviceReading, DeviceRecord, Health
from support.build import NOW, device, reading, record, sample, silent


def test_a_card_that_answers_and_reports_nothing() -> None:
    assert judge_health(reading(recovery_action=0), None) == (Health.OK, "")


@pytest.mark.parametrize("action", [*RECOVERY_ACTIONS, 9])
def test_a_wish_for_recovery_is_a_fault_while_it_lasts(action: int) -> None:
    health, reason = judge_health(reading(recovery_action=action), None)
    assert health is Health.FAULTY
    assert RECOVERY_ACTIONS.get(action, "recovery action 9") in reason
    assert find_standing_fault(reading(recovery_action=action)) is None


def test_a_lost_card() -> None:
    assert judge_health(silent(lost=True), None)[0] is Health.FAULTY


@pytest.mark.parametrize("xid", sorted(APPLICATION_XIDS))
def test_faults_of_programs(xid: int) -> None:
    assert judge_health(reading(xids=(xid,)), None) == (Health.OK, "")


@pytest.mark.parametrize("xid", [48, 64, 74, 79, 95, 119, 120, 140, 999])
def test_faults_of_cards_outlive_their_reading(xid: int) -> None:
    fault = find_standing_fault(reading(xids=(13, xid)))
    assert fault == f"hardware or driver fault, XID {xid} ({KNOWN_XIDS.get(xid, 'not in our table')})"
    assert judge_health(reading(xids=(13, xid)), None) == (Health.FAULTY, fault)
    assert judge_health(reading(), fault) == (Health.FAULTY, fault)
    assert judge_health(silent(), fault) == (Health.FAULTY, fault)


@pytest.mark.parametrize("hole", ["processes", "memory_used_bytes"])
def test_what_a_release_needs_and_the_driver_does_not_say_is_unknown(hole: str) -> None:
    partial = reading(sample=sample(**{hole: None}), error="no permission")
    assert judge_health(partial, None) == (Health.UNKNOWN, "no permission")


def test_silence_is_unknown() -> None:
    assert judge_health(silent(error="hangs"), None) == (Health.UNKNOWN, "hangs")
    assert judge_health(silent(error=None), None) == (Health.UNKNOWN, "the driver gave no sample")


@pytest.mark.parametrize("hole", ["utilization_percent", "temperature_celsius", "power_milliwatts"])
def test_what_is_only_for_show_may_be_unknown(hole: str) -> None:
    assert judge_health(reading(sample=sample(**{hole: None})), None) == (Health.OK, "")


# -- with what was seen before ------------------------------------------------------------------------------

HARD = "hardware or driver fault, XID 79 (the card has fallen off the bus)"
SOFT_LOOKS = {
    Cause.RECOVERY: reading(recovery_action=1),
    Cause.LOST: silent(lost=True),
    Cause.SILENT: silent(),
}


class Card:
    """A record that is judged look by look."""

    def __init__(self) -> None:
        self.now = NOW
        self.record: DeviceRecord = record()

    def look(self, seen: DeviceReading | Cause, after: float = 2, inherited: str | None = None) -> Judgement:
        self.now += timedelta(seconds=after)
        old = self.record
        if isinstance(seen, Cause):
            judged = judge_unseen(old, seen, f"unseen: {seen}", now=self.now)
        else:
            judged = judge_look(seen, old, inherited, now=self.now)
            self.record = replace(old, seen_at=self.now if seen.sample else old.seen_at)
        self.record = replace(
            self.record,
            health=judged.health,
            health_reason=judged.reason,
            standing_fault=judged.standing_fault,
            fault=judged.fault,
        )
        return judged

    def seconds_until_ok(self, most: int = 300) -> int | None:
        """How long it answers without a fault before it is back."""
        begun = self.now + timedelta(seconds=2)
        for _ in range(most // 2):
            if self.look(reading()).health is Health.OK:
                return round((self.now - begun).total_seconds())
        return None


@pytest.fixture
def card() -> Card:
    return Card()


def test_every_cause_has_its_cure_and_its_rank() -> None:
    assert set(CURES) == set(WORST_FIRST) == set(Cause)
    assert [cause for cause in Cause if not CURES[cause].soft] == [Cause.XID]


@pytest.mark.parametrize("cause", [cause for cause in Cause if CURES[cause].soft])
def test_a_soft_cause_is_over_after_a_check_that_is_more_than_one_look(card: Card, cause: Cause) -> None:
    assert card.look(SOFT_LOOKS.get(cause, cause)).health is not Health.OK
    found = card.record.fault
    assert found
    assert (found.cause, found.since, found.check_since) == (cause, card.now, None)
    assert card.seconds_until_ok() == CURES[cause].check.total_seconds()  # type: ignore[union-attr]
    assert card.record.fault is None


def test_a_hard_cause_is_never_over_by_itself(card: Card) -> None:
    assert card.look(reading(xids=(79,))).standing_fault == HARD
    assert card.seconds_until_ok() is None


def test_a_hard_cause_is_over_at_the_first_good_look_after_it_was_cleared(card: Card) -> None:
    card.look(reading(xids=(79,)))
    card.record = replace(card.record, standing_fault=None)
    assert card.look(reading()) == Judgement(Health.OK, "")


def test_what_an_administrator_cleared_and_still_is_wrong_has_its_own_check(card: Card) -> None:
    card.look(reading(xids=(79,)))
    card.record = replace(card.record, standing_fault=None)
    assert card.look(silent(lost=True)).fault.cause is Cause.LOST  # type: ignore[union-attr]
    assert card.seconds_until_ok() == 60


def test_under_check_it_says_since_when_and_how_long(card: Card) -> None:
    card.look(reading(recovery_action=1))
    assert card.look(reading()).health is Health.FAULTY
    assert card.look(reading()).reason == (
        "the driver asks to reset the GPU; it answers without a fault since 12:00:04 UTC and comes back "
        "when that has lasted 60 s"
    )


def test_one_bad_look_begins_the_check_anew(card: Card) -> None:
    card.look(reading(recovery_action=1))
    for _ in range(25):
        card.look(reading())
    card.look(silent())
    assert card.record.fault
    assert (card.record.fault.cause, card.record.fault.check_since) == (Cause.RECOVERY, None)
    assert card.seconds_until_ok() == 60


@pytest.mark.parametrize("pause", [LOOKS_APART.total_seconds() + 1, -3600])
def test_a_pause_or_a_clock_that_was_set_back_begins_the_check_anew(card: Card, pause: float) -> None:
    card.look(reading(recovery_action=1))
    card.look(reading())
    assert card.look(reading(), after=pause).fault.check_since == card.now  # type: ignore[union-attr]


def test_a_worse_cause_takes_over_and_its_device_is_out_since_the_first(card: Card) -> None:
    card.look(silent())
    first = card.now
    judged = card.look(silent(lost=True))
    assert judged.fault
    assert (judged.health, judged.fault.cause, judged.fault.since) == (Health.FAULTY, Cause.LOST, first)
    assert judged.fault.evidence == (
        "2030-05-17 12:00:02 UTC: the driver did not answer within 5 s; "
        "2030-05-17 12:00:04 UTC: NVML error 15 (GPU is lost)"
    )


def test_a_milder_cause_does_not_hide_the_worse_one(card: Card) -> None:
    card.look(silent(lost=True))
    judged = card.look(silent())
    assert judged.health is Health.FAULTY
    assert judged.reason == (
        "the driver has lost the card (it has fallen off the bus); the driver did not answer within 5 s"
    )
    assert card.look(Cause.UNLISTED).health is Health.FAULTY


def test_evidence_does_not_grow_for_ever() -> None:
    fault = Fault(Cause.SILENT, "0", "x", NOW)
    for n in range(1000):
        fault = choose_worse(fault, Fault(Cause.SILENT, str(n), f"read {n}", NOW))
    assert len(fault.evidence) <= MOST_EVIDENCE
    assert fault.evidence.endswith("read 999")


def test_a_second_hard_xid_is_added_and_the_same_one_is_not(card: Card) -> None:
    for xids in ((79,), (79,), (48,), (79,)):
        standing = card.look(reading(xids=xids)).standing_fault
    assert standing == f"{HARD}; hardware or driver fault, XID 48 (uncorrectable memory error)"
    assert card.record.fault
    assert card.record.fault.evidence == "2030-05-17 12:00:02 UTC: XID 79; 2030-05-17 12:00:06 UTC: XID 48"


def test_the_recovery_action_is_told_before_the_xid_and_the_xid_stands(card: Card) -> None:
    judged = card.look(reading(xids=(79,), recovery_action=2))
    assert judged.reason == f"the driver asks to reboot the host; {HARD}"
    assert card.look(reading()).reason == HARD


def test_the_driver_was_replaced_is_a_fault_and_silence_is_not(card: Card) -> None:
    assert card.look(Cause.SILENT).health is Health.UNKNOWN
    assert card.look(Cause.DRIVER).health is Health.FAULTY


def test_of_a_ledger_that_kept_no_faults(card: Card) -> None:
    card.record = replace(card.record, health=Health.UNKNOWN, health_reason="it hangs")
    assert card.look(reading()).fault.reason == "it hangs"  # type: ignore[union-attr]
    assert card.seconds_until_ok() == 8
    card.record = replace(card.record, health=Health.FAULTY, standing_fault=HARD)
    assert card.look(reading()).fault.cause is Cause.XID  # type: ignore[union-attr]


def test_a_hard_fault_of_the_card_is_one_of_its_parts_and_of_what_it_becomes() -> None:
    piece = record(device=device("MIG-1", parent="GPU-0"), standing_fault=HARD)
    assert find_card_faults([piece, record("GPU-1")]) == {"GPU-0": HARD}
    assert find_card_faults([record("GPU-0", standing_fault=HARD)]) == {"GPU-0": HARD}
    new = judge_look(reading("MIG-2"), None, HARD, now=NOW)
    assert (new.health, new.standing_fault) == (Health.FAULTY, HARD)


def test_a_device_that_was_never_seen_needs_no_check() -> None:
    assert judge_look(reading(), None, None, now=NOW) == Judgement(Health.OK, "")


def test_a_return_says_what_it_was_out_for() -> None:
    lost = Fault(Cause.LOST, "it was lost", "x", datetime.min)
    assert describe_return(lost) == "it answered without a fault for 60 s; it was out for: it was lost"
    assert "cleared by an administrator" in describe_return(replace(lost, cause=Cause.XID))
