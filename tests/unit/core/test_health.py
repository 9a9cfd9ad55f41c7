from __future__ import annotations

import pytest
from gpuspawner.core.health import APPLICATION_XIDS, RECOVERY_ACTIONS, find_standing_fault, judge_health
from gpuspawner.core.model import Health
from support.build import reading, sample, silent


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
    assert fault == f"hardware or driver fault, XID {xid}"
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
