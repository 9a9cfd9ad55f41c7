"""Looking after idle sessions over the real ledger: what is told, written down and ended, and what is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Sessions
from gpuspawner.allocator.idle import IdleWatch, Inside
from gpuspawner.core.activity import Kernels, begin_activity
from gpuspawner.core.culling import FINISHED, Watch, Wish
from gpuspawner.core.idleness import IdleLimits, Limits
from gpuspawner.core.model import Lease, LeaseState, Sample
from gpuspawner.core.sessions import Stop
from support.build import HOST, NOW, lease, record, ticket

MINUTE = timedelta(minutes=1)
TEN_SECONDS = timedelta(seconds=10)
STALE = timedelta(days=30)
LIMITS = Limits(IdleLimits(free=60 * MINUTE, wanted=30 * MINUTE, warning=15 * MINUTE))
CALM = Kernels(busy=0, idle=1, terminals=0, ran_at=None)
BUSY = Kernels(busy=1, idle=0, terminals=0, ran_at=None)


class Ward:
    """One session with one GPU, looked at every minute; samples come every ten seconds."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.now, self.cpu = Ledger(folder / "ledger.db"), NOW, 0.0
        self.limits = LIMITS
        self.watch = self.open()
        self.use: int | None = 0
        self.kernels: Kernels | None = CALM
        self.agent = True
        self.only_report = False
        with self.ledger.write() as unit:
            unit.put_device(record("GPU-0", seen_at=NOW))
            unit.add_lease(lease(LeaseState.ACTIVE, "GPU-0", created_at=NOW, container_id="c" * 64))

    def open(self) -> IdleWatch:
        """A controller that has just been started."""
        return IdleWatch(self.ledger, HOST, lambda _: self.limits, STALE, lambda: self.now)

    def pass_time(self, minutes: float, *, looks: bool = True) -> None:
        """Let time pass; with looks until the end, or without any."""
        end = self.now + minutes * MINUTE
        while self.now < end:
            self.now += MINUTE
            if self.agent:
                found = [("GPU-0", Sample(self.now - n * TEN_SECONDS, self.use)) for n in range(5, -1, -1)]
                with self.ledger.write() as unit:
                    unit.add_samples(HOST, found)
            if looks:
                self.look()

    def look(self) -> None:
        inside = {"lease1": Inside(self.now, self.kernels, self.cpu)}
        self.watch.carry_out(self.watch.judge(inside, only_report=self.only_report))

    def lease(self) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease("lease1")
        assert found is not None
        return found

    def trail(self) -> list[str]:
        with self.ledger.read() as unit:
            return [one.kind.removeprefix("session.") for one in reversed(unit.recent_events(100))]

    def told(self) -> list[str]:
        with self.ledger.read() as unit:
            return [one.text for one in reversed(unit.messages_for("ada"))]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = Ward(tmp_path)
    yield made
    made.ledger.close()


def test_an_idle_session_is_warned_and_given_its_end(ward: Ward) -> None:
    ward.pass_time(60)  # it was first seen at rest ten seconds after its start
    assert ward.trail() == ["idle_warned"] * 3
    assert [text.partition(",")[0] for text in ward.told()] == [
        f"Your session is stopped in {minutes} min" for minutes in (15, 5, 1)
    ]
    assert ward.lease().ends_at is None
    ward.pass_time(1)
    assert ward.trail() == ["idle_warned"] * 3 + ["idle_stop"]
    (stop,) = Sessions(ward.ledger, HOST, lambda: ward.now).plan_ends()
    assert isinstance(stop, Stop)
    assert stop.text == (
        "Your session was ended: Its GPUs have been idle for 60 min of the 60 min allowed while nobody waits."
    )
    with ward.ledger.read() as unit:
        event = unit.recent_events(1)[0]
    signals = event.data["signals"]
    assert isinstance(signals, list)
    assert [one["what"] for one in signals] == ["GPUs", "Notebooks and terminals", "Processors"]


def test_what_was_noted_at_the_start_holds_whatever_the_policy_says_later(ward: Ward) -> None:
    noted = Watch("soon", replace(LIMITS, warn_minutes=(20, 2)), begin_activity(NOW))
    with ward.ledger.write() as unit:
        unit.add_lease(lease(LeaseState.RESERVED, id="soon", server="soon", created_at=NOW, devices=()))
        unit.put_watches([replace(noted, lease_id="lease1"), noted])
    ward.limits = Limits(IdleLimits(5 * MINUTE, 5 * MINUTE, 5 * MINUTE))
    ward.pass_time(61)
    assert [text.partition(",")[0] for text in ward.told()] == [
        "Your session is stopped in 15 min",
        "Your session is stopped in 2 min",
    ]
    with ward.ledger.read() as unit:
        assert unit.watches()["soon"] == noted, "a session that has not begun is not forgotten"
    with ward.ledger.write() as unit:
        unit.update_lease(lease(LeaseState.RELEASED, id="soon", server="soon", created_at=NOW, devices=()))
    ward.look()
    with ward.ledger.read() as unit:
        assert unit.watched() == ["lease1"]


def test_the_end_is_told_once_and_stays(ward: Ward) -> None:
    ward.pass_time(61)
    end = ward.lease().ends_at
    ward.pass_time(10)
    assert (ward.trail().count("idle_stop"), ward.lease().ends_at) == (1, end)


@pytest.mark.parametrize("how", ["gpu", "kernel", "unseen GPU", "unseen kernels", "no agent"])
def test_what_works_or_cannot_be_seen_is_left_alone(ward: Ward, how: str) -> None:
    if how == "gpu":
        ward.use = 1
    elif how == "unseen GPU":
        ward.use = None
    elif how == "no agent":
        ward.agent = False
    else:
        ward.kernels = BUSY if how == "kernel" else None
    for _ in range(4):
        ward.cpu += 15 * 60
        ward.pass_time(30)
    trail = ["deaf"] if how == "unseen kernels" else []
    assert (ward.trail(), ward.told(), ward.lease().ends_at) == (trail, [], None)


def test_somebody_who_waits_shortens_the_limit_of_who_holds_what_they_want(ward: Ward) -> None:
    ward.pass_time(35)
    assert ward.trail() == []
    with ward.ledger.write() as unit:
        unit.add_ticket(ticket(1, id="grace"))
    ward.pass_time(1)
    assert ward.trail() == ["idle_warned"]
    ward.pass_time(13)
    assert ward.lease().ends_at is None, "the first warning is whole"
    ward.pass_time(3)
    assert ward.lease().ends_at is not None


def test_a_gpu_that_has_worked_is_left_three_times_as_long_while_somebody_waits(ward: Ward) -> None:
    ward.limits = Limits(IdleLimits(free=120 * MINUTE, wanted=30 * MINUTE, warning=15 * MINUTE))
    ward.use = 80
    ward.pass_time(5)
    ward.use = 0
    with ward.ledger.write() as unit:
        unit.add_ticket(ticket(1, id="grace"))
    ward.watch = ward.open()
    ward.pass_time(74)
    assert ward.trail() == []
    ward.pass_time(2)
    assert ward.trail() == ["idle_warned"]
    assert "of the 90 min allowed while somebody waits, as they have worked before." in ward.told()[0]


def test_a_controller_that_is_started_anew_goes_on_where_it_was(ward: Ward) -> None:
    ward.pass_time(50)
    assert ward.trail() == ["idle_warned"]
    ward.pass_time(6, looks=False)
    ward.watch = ward.open()
    ward.pass_time(1)
    assert ward.trail() == ["idle_warned"] * 2
    ward.pass_time(4)
    assert ward.lease().ends_at is not None
    assert ward.lease().ends_at <= NOW + timedelta(minutes=61)


def test_the_limits_are_those_of_the_beginning(ward: Ward) -> None:
    ward.pass_time(1)
    ward.limits = Limits(IdleLimits(free=MINUTE, wanted=MINUTE))
    ward.watch = ward.open()
    ward.pass_time(40)
    assert ward.trail() == []


def test_a_report_tells_and_ends_nothing(ward: Ward) -> None:
    ward.only_report = True
    ward.pass_time(90)
    assert ward.trail() == ["idle_warned"] * 3 + ["idle_stop"]
    assert (ward.told(), ward.lease().ends_at) == ([], None)
    with ward.ledger.read() as unit:
        assert all(event.data["dry_run"] for event in unit.recent_events(10))


def test_who_asked_to_be_kept_is_kept(ward: Ward) -> None:
    ward.pass_time(50)
    with ward.ledger.write() as unit:
        unit.put_wish("lease1", Wish(ward.now + 60 * MINUTE, 60 * MINUTE))
    ward.pass_time(59)
    assert ward.trail() == ["idle_warned", "idle_over"]
    ward.pass_time(2)
    assert ward.trail() == ["idle_warned", "idle_over", "idle_warned"]


def test_who_works_again_before_the_hub_stops_it_keeps_the_session(ward: Ward) -> None:
    """The Hub was away when its end came."""
    ward.pass_time(62)
    assert ward.lease().ends_at is not None
    ward.use = 50
    ward.pass_time(2)
    assert (ward.lease().ends_at, ward.lease().end_reason, ward.lease().warned) == (None, "", None)
    assert ward.trail()[-2:] == ["idle_stop", "idle_over"]
    ward.pass_time(30)
    assert ward.trail()[-1] == "idle_over"


def test_while_its_server_ends_nobody_is_told_otherwise(ward: Ward) -> None:
    ward.pass_time(61)
    ward.kernels = None
    ward.pass_time(5)
    assert ward.trail()[-1] == "idle_stop"


def test_what_was_asked_for_meanwhile_is_judged_anew(ward: Ward) -> None:
    ward.pass_time(60)
    ward.now += MINUTE
    judged = ward.watch.judge({"lease1": Inside(ward.now, CALM, 0.0)})
    assert judged[0].told is not None
    with ward.ledger.write() as unit:
        unit.put_wish("lease1", Wish(ward.now + 60 * MINUTE, 60 * MINUTE))
    ward.watch.carry_out(judged)
    assert ward.lease().ends_at is None


def test_what_another_version_wrote_is_looked_into_anew(ward: Ward) -> None:
    ward.pass_time(50)
    connection = sqlite3.connect(ward.ledger.path)
    connection.execute("UPDATE watches SET data = '{}'")
    connection.commit()
    connection.close()
    ward.pass_time(1)
    with ward.ledger.read() as unit:
        assert unit.watch_of("lease1") is not None


def test_a_sample_that_comes_late_counts(ward: Ward) -> None:
    ward.pass_time(50)
    before = ward.now
    ward.now += MINUTE
    ward.look()
    with ward.ledger.write() as unit:  # all that the agent saw in this minute comes only now
        unit.add_samples(
            HOST, [("GPU-0", Sample(before + n * TEN_SECONDS, 5 * (n == 5))) for n in range(1, 7)]
        )
    ward.now += MINUTE / 4
    ward.look()
    with ward.ledger.read() as unit:
        watch = unit.watch_of("lease1")
    assert watch is not None
    assert watch.activity.gpu_at >= before + 5 * TEN_SECONDS


@pytest.mark.parametrize("only_report", [False, True])
def test_who_asked_that_it_ends_gets_that_also_where_sessions_are_only_reported(
    ward: Ward, only_report: bool
) -> None:
    ward.only_report = only_report
    ward.kernels = BUSY
    with ward.ledger.write() as unit:
        unit.put_wish("lease1", Wish(finish=True))
    ward.cpu += 15 * 60
    ward.pass_time(20)
    assert ward.lease().ends_at is None
    ward.kernels = CALM
    ward.pass_time(3)
    assert (ward.lease().ends_at is not None, ward.lease().end_reason) == (True, FINISHED)


def test_a_session_that_changes_meanwhile_is_judged_anew(ward: Ward) -> None:
    ward.pass_time(60)
    ward.now += MINUTE
    judged = ward.watch.judge({"lease1": Inside(ward.now, CALM, 0.0)})
    extended = replace(ward.lease(), ends_at=NOW + timedelta(hours=9))
    with ward.ledger.write() as unit:
        unit.update_lease(extended)
    ward.watch.carry_out(judged)
    assert ward.lease() == extended


def test_what_is_over_is_forgotten(ward: Ward) -> None:
    ward.pass_time(1)
    with ward.ledger.write() as unit:
        unit.put_wish("lease1", Wish(NOW, MINUTE))
        unit.update_lease(replace(ward.lease(), state=LeaseState.RELEASING))
    ward.watch.carry_out(())
    with ward.ledger.read() as unit:
        assert (unit.watches(), unit.wishes()) == ({}, {})


def test_what_was_seen_survives_the_ledger(ward: Ward) -> None:
    ward.kernels = replace(CALM, ran_at=NOW)
    ward.pass_time(50)
    with ward.ledger.read() as unit:
        kept = unit.watches()["lease1"]
    judged = ward.watch.judge({"lease1": Inside(ward.now, ward.kernels, 0.0)})
    assert judged[0].watch == kept, "the same look again changes nothing"


def test_nothing_runs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "empty.db")
    watch = IdleWatch(ledger, HOST, lambda _: LIMITS, STALE, lambda: datetime.now(NOW.tzinfo))
    assert watch.running() == watch.judge({}) == ()
    watch.carry_out(())


def test_a_server_that_does_not_answer_is_told_of_once(ward: Ward) -> None:
    ward.kernels = None
    ward.pass_time(50)
    assert (ward.trail(), ward.told()) == (["deaf"], []), "its person is not warned for it"
    with ward.ledger.read() as unit:
        (event,) = unit.recent_events(1)
        watch = unit.watches()["lease1"]
    assert event.reason.startswith("the server has hardly answered, if at all, since 12:00 UTC and its GPUs")
    assert watch.verdict
    assert watch.verdict.reason == (
        "It is not known what its notebooks do, so it is left alone. Its server has hardly answered, "
        "if at all, since 12:00 UTC, and its GPUs do nothing."
    )
    for agent in (False, True):  # its GPUs cannot be seen for a while
        ward.agent = agent
        ward.pass_time(3 if agent is False else 40)
    assert ward.trail() == ["deaf"]
    ward.kernels = CALM
    ward.pass_time(2)
    ward.kernels = None
    ward.pass_time(50)
    assert ward.trail() == ["deaf"], "it has answered only now and then"
    ward.kernels = CALM
    ward.pass_time(32)
    ward.kernels = None
    ward.pass_time(29)
    assert ward.trail() == ["deaf"]
    ward.pass_time(5)
    assert ward.trail() == ["deaf", "deaf"]
