"""Lost cards, hanging drivers, XIDs, version mismatch."""

import pytest
from gpuspawner.sim import Recovery, SimError, Simulation
from unit.sim.sim_probe import Probe

LOST, TIMEOUT, MISMATCH = 15, 10, 18


def test_lost_card_says_so_on_every_call_and_hides_no_other(probe: Probe, sim: Simulation) -> None:
    probe("h1 = n.nvmlDeviceGetHandleByIndex(1)")
    sim.lose(1)
    assert probe("r = n.nvmlDeviceGetCount()") == 4
    for call in (
        "n.nvmlDeviceGetUUID(h1)",
        "n.nvmlDeviceGetMemoryInfo(h1)",
        "n.nvmlDeviceGetUtilizationRates(h1)",
        "n.nvmlDeviceGetComputeRunningProcesses(h1)",
        "n.nvmlDeviceGetFieldValues(h1, [230])",
        "n.nvmlDeviceGetHandleByIndex(1)",
        f"n.nvmlDeviceGetHandleByUUID({sim.cards[1].uuid!r})",
    ):
        assert probe.error(call) == LOST, call
    for index in (0, 2, 3):
        assert probe.device(index, "n.nvmlDeviceGetUUID(h)") == sim.cards[index].uuid
    sim.restore(1)
    assert probe("r = n.nvmlDeviceGetUUID(h1)") == sim.cards[1].uuid


@pytest.mark.parametrize("card", [None, 2])
def test_hang_blocks_until_unhang(probe: Probe, sim: Simulation, card: int | None) -> None:
    probe("h2 = n.nvmlDeviceGetHandleByIndex(2)")
    sim.hang(card)
    probe.send("r = n.nvmlDeviceGetUtilizationRates(h2).gpu")
    assert not probe.answers_within(0.1)
    sim.unhang(card)
    assert probe.receive(seconds=2) == 0


def test_hanging_card_leaves_others_alone(probe: Probe, sim: Simulation) -> None:
    sim.hang(2)
    assert probe.device(1, "n.nvmlDeviceGetUtilizationRates(h).gpu") == 0
    probe.send("n.nvmlDeviceGetHandleByIndex(2)")
    assert not probe.answers_within(0.1)
    sim.unhang()
    assert probe.receive(seconds=2) is None


def test_hang_blocks_init_and_removal_frees_it(probe: Probe, sim: Simulation) -> None:
    sim.hang()
    probe.send("try:\n    n.nvmlInit()\nexcept n.NVMLError as e:\n    r = e.value")
    assert not probe.answers_within(0.1)
    sim.destroy()
    assert probe.receive(seconds=2) == 9


def test_event_set_gets_every_xid_raised_after_it_registered(probe: Probe, sim: Simulation) -> None:
    sim.raise_xid(0, 13)
    probe(
        "hs = [n.nvmlDeviceGetHandleByIndex(i) for i in range(4)]\ns = n.nvmlEventSetCreate()\n"
        "for h in hs: n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)"
    )
    wait = "e = n.nvmlEventSetWait_v2(s, 0)\nr = [n.nvmlDeviceGetIndex(e.device), e.eventType, e.eventData]"
    assert probe.error(wait) == TIMEOUT
    sim.raise_xid(0, 31)
    sim.raise_xid(0, 31)
    sim.raise_xid(3, 94)
    assert [probe(wait) for _ in range(3)] == [[0, 8, 31], [0, 8, 31], [3, 8, 94]]
    assert probe.error(wait) == TIMEOUT
    probe("n.nvmlEventSetFree(s)")


def test_waiting_set_wakes_up(probe: Probe, sim: Simulation) -> None:
    probe("s = n.nvmlEventSetCreate()\nn.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(1), 8, s)")
    probe.send("r = n.nvmlEventSetWait_v2(s, 3000).eventData")
    assert not probe.answers_within(0.05)
    sim.raise_xid(1, 48)
    assert probe.receive(seconds=1) == 48


def test_last_words_of_a_lost_card_and_xids_of_others_arrive(probe: Probe, sim: Simulation) -> None:
    probe(
        "s = n.nvmlEventSetCreate()\n"
        "for i in (0, 1): n.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(i), 8, s)"
    )
    sim.raise_xid(0, 79)
    sim.lose(0)
    sim.raise_xid(1, 45)
    wait = "r = n.nvmlEventSetWait_v2(s, 100).eventData"
    assert [probe(wait), probe(wait)] == [79, 45]
    assert probe.error(wait) == LOST


def test_old_xids_are_dropped_but_numbering_goes_on(probe: Probe, sim: Simulation) -> None:
    probe("s = n.nvmlEventSetCreate()\nn.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(0), 8, s)")
    for number in range(1, 71):
        sim.raise_xid(0, number, Recovery.NONE)
    got = probe("r = []\nfor _ in range(64): r.append(n.nvmlEventSetWait_v2(s, 0).eventData)")
    assert got == list(range(7, 71))


@pytest.mark.parametrize(
    ("xid", "given", "shown"),
    [(79, None, 2), (48, None, 1), (13, None, 0), (13, Recovery.DRAIN_AND_RESET, 4), (79, Recovery.NONE, 0)],
)
def test_recovery_action(probe: Probe, sim: Simulation, xid: int, given: Recovery | None, shown: int) -> None:
    read = "n.nvmlDeviceGetFieldValues(h, [230])[0].value.uiVal"
    sim.raise_xid(0, xid, given)
    assert probe.device(0, read) == shown
    assert probe.device(1, read) == 0
    sim.restore(0)
    assert probe.device(0, read) == 0


def test_xids_carry_their_time(sim: Simulation) -> None:
    sim.raise_xid(0, 79)
    line = next(
        line
        for line in (sim.root / "devices" / sim.cards[0].uuid / "state").read_text().splitlines()
        if line.startswith("xid ")
    )
    sequence, number, time_us = map(int, line.split()[1:])
    assert (sequence, number) == (1, 79)
    assert time_us > 1_700_000_000_000_000


def test_driver_upgraded_under_us(probe: Probe, sim: Simulation) -> None:
    sim.set_driver("590.10", mismatch=True)
    assert probe.error("n.nvmlInit()") == MISMATCH
    sim.set_driver("590.10")
    assert probe("n.nvmlInit(); n.nvmlShutdown(); r = n.nvmlSystemGetDriverVersion()") == "590.10"


@pytest.mark.parametrize("number", [0, -1, 1024])
def test_bad_xid_changes_nothing(sim: Simulation, number: int) -> None:
    with pytest.raises(SimError, match=str(number)):
        sim.raise_xid(0, number)
    assert sim.reports()[0].xids == ()
