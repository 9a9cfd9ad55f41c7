"""What must be true of the whole installation after every step, and how it comes to rest at the end."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import sqlalchemy as sa
from gpuspawner.adapters.ledger.schema import lease_devices
from gpuspawner.core.claims import TicketState
from gpuspawner.core.container import LABEL_LEASE
from gpuspawner.core.errors import HubError, InvalidRequest
from gpuspawner.core.model import LeaseState
from gpuspawner.core.reservations import open_occurrences

from support.build import HOST

from .people import GENEROUS
from .seats import HORIZON
from .world import World

MOST_ROUNDS = 80
ROUND_SECONDS = 20.0


def check(world: World) -> None:
    """Raise if anything is not as it must be. Raises: AssertionError."""
    assert not world.wrongs, "; ".join(dict.fromkeys(world.wrongs))
    _check_containers(world)
    _check_devices(world)


def _check_containers(world: World) -> None:
    """No device is in two containers that run, and each that runs has its devices from a live lease."""
    used = Counter(uuid for c in world.running for uuid in c.devices)
    twice = [uuid for uuid, count in used.items() if count > 1]
    assert not twice, f"in two containers that run: {twice}"
    for container in world.running:
        lease = world.watch.leases.get(container.labels[LABEL_LEASE])
        held = lease.devices if lease and lease.state.live else ()
        assert set(container.devices) <= set(held), (
            f"{container.name} runs with {container.devices} and has a lease of {held or 'nothing'}"
        )


def _check_devices(world: World) -> None:
    """Every device is known, and is held by nobody or by exactly one live lease, in both tables."""
    with world.ledger.read() as unit:
        known = [r.device.uuid for r in (*unit.inventory(HOST), *unit.absent_devices(HOST))]
        rows = unit._db.execute(sa.select(lease_devices.c.device).where(lease_devices.c.live)).scalars()
        held_rows = sorted(rows)
        leases = unit.live_leases(HOST)
    assert sorted(known) == sorted(world.probe.uuids), "a device was lost or invented"
    held = sorted(uuid for lease in leases for uuid in lease.devices)
    assert held == held_rows, "leases and their devices do not agree"
    assert len(held) == len(set(held)), f"held twice: {held}"
    assert {lease.id for lease in leases} == set(world.watch.leases), "a write was not seen"


def find_order(world: World) -> list[str]:
    """The line as anybody would see it now."""
    return [place.ticket.id for place in world.line.view().places]


def settle(world: World) -> None:
    """Repair everything, let every session end and time pass: then nobody waits and nothing is held."""
    _repair(world)
    for _ in range(MOST_ROUNDS):
        world.run_hub()
        world.opened |= {id_ for id_, one in world.watch.leases.items() if one.state is LeaseState.ACTIVE}
        world.tick_agent()
        world.tick_controller()
        check(world)
        if not world.watch.leases and not world.watch.tickets:
            return
        _go_home(world)
        world.wait(ROUND_SECONDS)
    with world.ledger.read() as unit:
        kept = open_occurrences(unit.reservations(HOST), (), world.now, world.now + HORIZON)
    raise AssertionError(
        f"after {MOST_ROUNDS} rounds: waits {list(world.watch.tickets.values())}, "
        f"held {list(world.watch.leases.values())}, reserved {kept}"
    )


def _repair(world: World) -> None:
    world.mend()
    world.hub.eager, world.hub.answers_lost = True, 0
    for uuid in world.probe.uuids:
        with suppress(InvalidRequest):
            world.cards.undrain(uuid, reason="mended", actor="root")
        with suppress(InvalidRequest):
            world.cards.unpin(uuid, reason="not needed", actor="root")
    world.cancel_reservations()
    world.tick_agent()
    for uuid in world.probe.uuids:
        with suppress(InvalidRequest):
            world.cards.clear_fault(uuid, reason="mended", actor="root")
    world.policy = GENEROUS


def _go_home(world: World) -> None:
    """Everybody stops what they work in; who has just been given a turn is given the time to come."""
    offered = {t.lease_id for t in world.watch.tickets.values() if t.state is TicketState.OFFERED}
    for key in sorted(world.hub.servers):
        server = world.hub.servers[key]
        if server.lease_id not in offered:
            with suppress(HubError):
                world.hub.stop_server(*key)
