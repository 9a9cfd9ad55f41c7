"""A start that finds no GPU takes a place in line, and a start whose turn has come finds what is reserved."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.clock import utc_now
from gpuspawner.allocator.line import Line
from gpuspawner.core.claims import Drain, Holder, Ticket, TicketState
from gpuspawner.core.model import LeaseState, Party
from jupyterhub.spawner import SpawnException
from support.build import HOST
from support.fake_docker import FakeDocker
from support.mock_hub import MockHub

POLICY = """\
groups:
  default: {gpus_per_person: 2, gpus_per_server: 2, guaranteed_share: 10 %, longest_session: 8 h}
  lab: {weight: 2}
people:
  ada: {groups: [lab]}
"""


@pytest.fixture
def line(ledger: Ledger) -> Line:
    return Line(ledger, HOST)


@pytest.fixture
def queueing(make: Callable[..., MockHub], docker: FakeDocker, tmp_path: Path) -> MockHub:
    policy = tmp_path / "policy.yml"
    policy.write_text(POLICY)
    return make(queue_url="/services/gpu/queue", policy=str(policy))


def tickets(ledger: Ledger) -> list[Ticket]:
    with ledger.read() as unit:
        return list(unit.live_tickets(HOST))


async def read_page(hub: MockHub, name: str, server: str = "") -> str:
    """What somebody reads on the start page."""
    html = await hub.spawner(name, server).get_options_form()
    return " ".join(re.sub(r"(?s)<(style|script)>.*?</\1>|<[^>]*>", " ", html).split())


async def fill(hub: MockHub) -> None:
    """Somebody takes both cards."""
    await hub.start({"gpus": 2}, name="bob")


async def refused(hub: MockHub, options: dict[str, object], name: str = "ada") -> SpawnException:
    with pytest.raises(SpawnException) as caught:
        await hub.start(options, name=name)
    return caught.value


async def test_a_place_in_line_instead_of_a_refusal(queueing: MockHub, ledger: Ledger) -> None:
    await fill(queueing)
    error = await refused(queueing, {"gpus": 1})
    assert (error.reason, error.status_code) == ("in_line", 409)
    assert error.jupyterhub_message.startswith(
        "You are the first in line. You asked for 1 GPU; 0 of 2 GPUs are"
    )
    assert '<a href="/services/gpu/queue">' in error.jupyterhub_html_message
    (ticket,) = tickets(ledger)
    assert (ticket.owner, ticket.server, ticket.image) == ("ada", "", "demo/base:1")
    assert ticket.party == Party(("lab",))
    assert (ticket.terms.weight, ticket.terms.longest) == (2.0, timedelta(hours=8))
    assert ticket.terms.shares == ((Holder("group", "default"), 0.1),)


async def test_asking_again_keeps_the_place(queueing: MockHub, ledger: Ledger) -> None:
    await fill(queueing)
    await refused(queueing, {"gpus": 1})
    (before,) = tickets(ledger)
    await refused(queueing, {"gpus": 1})
    assert tickets(ledger) == [before]
    error = await refused(queueing, {"gpus": 1}, name="eve")
    assert error.jupyterhub_message.startswith("You are number 2 in line.")


async def test_the_start_page_does_not_count_one_s_own_place(queueing: MockHub) -> None:
    await fill(queueing)
    await refused(queueing, {"gpus": 1})
    page = await read_page(queueing, "ada")
    assert "None of 2 free now; expected within 8 h, you would be the first in line" in page
    assert "You are number 1 in line for 1 GPU. See your place in line" in page
    page = await read_page(queueing, "eve")
    assert "None of 2 free now; expected within 8 h, 1 ahead of you in line" in page
    assert "None of the 2 GPUs is free now 1 waiting" in page
    assert "You are number" not in page


async def test_what_is_drained_is_not_said_to_be_in_use(queueing: MockHub, ledger: Ledger) -> None:
    with ledger.write() as unit:
        first, second = (one.device.uuid for one in unit.inventory(HOST))
        unit.put_drain(HOST, Drain(first, "fan is replaced", "root", utc_now()))
    assert "1 of 2 free now" in await read_page(queueing, "ada")
    with ledger.write() as unit:
        unit.put_drain(HOST, Drain(second, "fan is replaced", "root", utc_now()))
    page = await read_page(queueing, "ada")
    assert "All 2 are out of service now; you would be the first in line" in page
    assert "None of 2" not in page


async def test_without_a_controller_nobody_queues(hub: MockHub, ledger: Ledger) -> None:
    await hub.start({"gpus": 1}, name="bob")
    await hub.start({"gpus": 1}, name="eve")
    assert (await refused(hub, {"gpus": 1})).reason == "not_free_now"
    assert tickets(ledger) == []


async def test_whoever_does_not_want_to_wait_does_not(queueing: MockHub, ledger: Ledger) -> None:
    await fill(queueing)
    assert (await refused(queueing, {"gpus": 1, "wait": False})).reason == "not_free_now"
    assert tickets(ledger) == []


async def give_turn(hub: MockHub, ledger: Ledger, line: Line) -> Ticket:
    """Ada waits, the cards come free, and her turn comes."""
    await fill(hub)
    await refused(hub, {"gpus": 1})
    release_all(ledger)
    (ticket,) = line.grant_turns()
    return ticket


def release_all(ledger: Ledger) -> None:
    """What the agent does once nothing is left on the cards."""
    from dataclasses import replace  # noqa: PLC0415

    with ledger.write() as unit:
        for lease in unit.live_leases(HOST):
            unit.update_lease(replace(lease, state=LeaseState.RELEASED))


async def test_a_start_takes_up_what_is_reserved(queueing: MockHub, ledger: Ledger, line: Line) -> None:
    ticket = await give_turn(queueing, ledger, line)
    await queueing.start({"gpus": 1})
    with ledger.read() as unit:
        lease = unit.lease(ticket.lease_id or "")
    assert lease is not None
    assert (lease.state, lease.claim_by, lease.claimant != "line") == (LeaseState.ACTIVE, None, True)
    (turn,) = line.turns()
    assert turn.started
    assert not turn.over


async def test_a_start_for_a_turn_is_for_that_turn_only(
    queueing: MockHub, ledger: Ledger, line: Line
) -> None:
    ticket = await give_turn(queueing, ledger, line)
    line.leave(ticket.id, actor=ticket.owner)
    with pytest.raises(SpawnException) as caught:
        await queueing.start({"gpus": 1, "turn": ticket.id})
    assert "is over" in str(caught.value)
    assert queueing.spawner().orm_spawner.user_options == {"gpus": 1}
    assert line.is_empty()


async def test_a_server_without_gpu_keeps_the_offer(queueing: MockHub, ledger: Ledger, line: Line) -> None:
    ticket = await give_turn(queueing, ledger, line)
    await queueing.start({"gpus": 0})
    (turn,) = line.turns()
    assert turn.ticket.id == ticket.id
    assert not turn.started
    assert turn.other is not None
    assert turn.other.devices == ()


async def test_a_start_with_other_wishes_replaces_the_offer(
    queueing: MockHub, ledger: Ledger, line: Line
) -> None:
    ticket = await give_turn(queueing, ledger, line)
    await queueing.start({"gpus": 1, "image": "torch"})
    with ledger.read() as unit:
        old, found = unit.lease(ticket.lease_id or ""), unit.ticket(ticket.id)
    assert old is not None
    assert old.state is LeaseState.RELEASING
    assert found is not None
    assert found.state is TicketState.CLAIMED
    assert found.lease_id != ticket.lease_id


async def test_the_announced_end_is_with_the_lease(queueing: MockHub, ledger: Ledger) -> None:
    await queueing.start({"gpus": 1})
    with ledger.read() as unit:
        (lease,) = unit.live_leases(HOST)
    assert lease.ends_at is not None
    assert lease.ends_at - lease.created_at == timedelta(hours=8)
    assert lease.end_reason == "a session may last 8 h at most"
    await queueing.start({"gpus": 0}, name="bob")
    with ledger.read() as unit:
        bob = next(one for one in unit.live_leases(HOST) if one.owner == "bob")
    assert isinstance(bob.ends_at, datetime)
