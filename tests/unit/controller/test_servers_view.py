"""What the page of one's servers says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.servers import (
    Idleness,
    Judged,
    Over,
    ServersPage,
    draw_use,
    plot_window,
    view_servers,
)
from gpuspawner.core.culling import Keepable
from gpuspawner.core.idleness import Clock, Signal, Step, Verdict
from gpuspawner.core.model import Lease, LeaseState, Message, Party, Sample
from gpuspawner.core.situation import Situation
from support.build import GIB, NOW, ago, lease, record, sample, ticket
from support.use import use_of

LINKS = Links("/hub/", "/services/gpu/")


def show(*leases: Lease, at: Any = NOW, samples: Any = (), **more: Any) -> ServersPage:
    cards = [record("GPU-0", sample=sample(at=at, utilization_percent=7, memory_used_bytes=2 * GIB))]
    view = LineView(at, tuple(more.pop("places", ())), Situation(at, cards, leases))
    return see(view, **{"samples": samples} | more)


def see(view: LineView, person: str | None = "ada", samples: Any = (), **more: Any) -> ServersPage:
    window, known = plot_window(view.at), {one.device.uuid: one for one in view.situation.inventory}
    did = {
        uuid: draw_use(
            samples,
            window,
            memory_bytes=known[uuid].device.memory_bytes if uuid in known else None,
            begin=one.created_at,
        )
        for one in view.situation.leases
        for uuid in one.devices
    }
    given = {"messages": (), "over": (), "extensions": {}, "verdicts": {}, "acts": True} | more
    return view_servers(view, person, LINKS, did=did, **given)


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (lease(), "running"),
        (lease(LeaseState.RESERVED), "starting"),
        (lease(LeaseState.RELEASING), "ending"),
        (lease(LeaseState.QUARANTINED), None),
        (lease(LeaseState.RESERVED, claim_by=NOW), None),
        (lease(owner="bob"), None),
    ],
)
def test_which_sessions_are_there(one: Lease, state: str | None) -> None:
    assert [server.state for server in show(one).servers] == ([state] if state else [])


KEEPABLE = Keepable(NOW + timedelta(hours=1), timedelta(hours=1))
WARNED = Verdict(
    Step.WARN, Clock.GPUS, NOW, "Its GPUs have been idle.", (Signal("GPUs", "samples", NOW, "idle"),)
)


@pytest.mark.parametrize("acts", [True, False])
def test_how_idle_it_is(acts: bool) -> None:
    judged = Judged(WARNED, KEEPABLE, finishes=True)
    (server,) = show(lease(), verdicts={"lease1": judged, "other": judged}, acts=acts).servers
    assert server.idle == Idleness(
        step="warn",
        at=NOW,
        reason=WARNED.reason,
        signals=WARNED.signals,
        acted_on=acts,
        keepable=KEEPABLE,
        keep="/services/gpu/servers/lease1/keep",
        finishes=True,
        finish="/services/gpu/servers/lease1/finish",
    )


def test_nothing_is_said_of_idleness_where_nobody_looked_or_nothing_runs() -> None:
    assert show(lease()).servers[0].idle is None
    assert (
        show(lease(LeaseState.RELEASING), verdicts={"lease1": Judged(WARNED, KEEPABLE, finishes=False)})
        .servers[0]
        .idle
        is None
    )


def test_what_is_held() -> None:
    (server,) = show(lease(image="i", ends_at=NOW, end_reason="why", party=Party((), ("vision",)))).servers
    assert (server.since, server.ends_at, server.end_reason) == (ago(60), NOW, "why")
    assert server.courses == ("vision",)
    (card,) = server.cards
    assert (card.model, card.memory_bytes, card.percent, card.used_bytes) == ("A100", 40 * GIB, 7, 2 * GIB)
    assert (server.open, server.stop) == ("/user/ada", "/services/gpu/servers/lease1/stop")
    assert show(lease(LeaseState.RELEASING)).servers[0].cards == (), "they are not theirs any more"


def test_unknown_is_not_zero() -> None:
    (server,) = show(lease(LeaseState.ACTIVE, "GPU-9")).servers
    (card,) = server.cards
    assert (card.model, card.memory_bytes, card.percent, card.used_bytes) == (None, None, None, None)
    assert (card.did.use.known, card.did.memory) == (False, None)
    assert all(row.percent is None and row.memory_bytes is None for row in card.did.rows)
    stale = LineView(NOW, (), Situation(NOW, [record(sample=sample(at=ago(31)))], [lease()]))
    page = see(stale)
    assert page.servers[0].cards[0].percent is None


def test_an_hour_with_a_gap() -> None:
    (server,) = show(lease(created_at=ago(7200)), samples=use_of(60, step=2, silent=(35, 26))).servers
    (card,) = server.cards
    assert card.did.memory
    assert (len(card.did.use.lines), len(card.did.memory.lines)) == (2, 2)
    assert sum(len(points.split()) for points in card.did.use.lines) == 120 - 18
    assert card.did.memory.most == pytest.approx(24, abs=0.1), "of memory the most counts"
    assert [row.since for row in card.did.rows] == [ago(300 * n) for n in range(1, 13)]
    assert (card.did.rows[6].percent, card.did.rows[6].memory_bytes) == (None, None)
    assert card.did.rows[0].percent == pytest.approx(60, abs=20)


def test_rows_begin_with_the_session() -> None:
    late = NOW + timedelta(minutes=7)
    (server,) = show(lease(created_at=NOW + timedelta(minutes=1)), at=late).servers
    assert [row.since for row in server.cards[0].did.rows] == [NOW + timedelta(minutes=5), NOW]


def test_nothing_changes_until_the_next_step_is_over() -> None:
    made, samples = lease(created_at=ago(7200)), use_of(61, step=2, until=NOW + timedelta(seconds=60))
    before, after = (
        [c.did for c in show(made, at=NOW + late, samples=samples).servers[0].cards]
        for late in (timedelta(seconds=1), timedelta(seconds=29))
    )
    assert before == after


def test_messages() -> None:
    sent = [Message(ago(hours * 3600), "ada", str(hours), "grace") for hours in (1, 2, 23, 23.5, 25)]
    page = show(messages=sent)
    assert [one.text for one in page.news] == ["1", "2", "23"]
    assert [one.text for one in page.messages] == ["23.5", "25"]


def test_how_the_last_one_ended() -> None:
    last = lease(LeaseState.RELEASED, ended_at=ago(30), server="a b")
    (ended,) = show(over=[Over(last, "It was idle.", "lease1")]).ended
    assert (ended.at, ended.told) == (ago(30), "It was idle.")
    assert ended.again == "/hub/spawn/ada/a%20b?opt-again=lease1"
    (plain,) = show(over=[Over(replace(last, ended_at=None), None, None)]).ended
    assert (plain.at, plain.told, plain.reason) == (ago(1), None, "stopped by ada")


def test_places_in_line() -> None:
    mine, others = (Place(ticket(owner=who), 0, "waits", None) for who in ("ada", "bob"))
    assert show(places=(mine, others)).places == 1


def test_a_service_has_nothing() -> None:
    view = LineView(NOW, (), Situation(NOW, [record()], [lease()]))
    page = see(view, None)
    assert (page.servers, page.messages, page.ended) == ((), (), ())


def test_a_sample_without_a_value() -> None:
    (server,) = show(lease(), samples=[Sample(ago(40))]).servers
    assert not server.cards[0].did.use.known
