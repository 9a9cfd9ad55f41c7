"""Cards: looking at them, draining, keeping them for somebody."""

from __future__ import annotations

from gpuspawner.controller.cardstate import by_device, fresh_sample, name_card_state
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.drains import find_drain, find_pin
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import DeviceRecord, Lease

from . import models as m
from .access import sees_lease
from .basics import Done, HolderInfo
from .routes import Call


def list_cards(call: Call) -> m.Cards:
    """Every card, and who holds it as far as the caller may know."""
    services = call.services
    with services.ledger.read() as unit:
        inventory, leases = unit.inventory(services.host), unit.live_leases(services.host)
        drains, pins = unit.drains(services.host), unit.pins(services.host)
    holders = by_device(leases)
    now = services.clock()
    cards = [
        _card(
            call, r, holders.get(r.device.uuid), find_drain(r.device, drains, now), find_pin(r.device, pins)
        )
        for r in inventory
    ]
    return m.Cards(host=services.host, at=now, cards=cards)


def drain(call: Call) -> Done:
    """Take a card out of use."""
    body: m.DrainBody = call.body
    call.services.cards.drain(
        _known(call), reason=body.reason, actor=call.caller.actor, until=body.until, now=body.now
    )
    return Done()


def undrain(call: Call) -> Done:
    """Give a card back."""
    call.services.cards.undrain(_known(call), reason=call.body.reason, actor=call.caller.actor)
    return Done()


def assign(call: Call) -> Done:
    """Keep a card for somebody, or for nobody."""
    body: m.AssignBody = call.body
    cards, device = call.services.cards, _known(call)
    if body.holder is None:
        cards.unpin(device, reason=body.reason, actor=call.caller.actor)
    else:
        holder = Holder(body.holder.kind, body.holder.name)
        cards.pin(device, holder, reason=body.reason, actor=call.caller.actor)
    return Done()


def clear(call: Call) -> Done:
    """Say that a card's fault is mended."""
    call.services.cards.clear_fault(_known(call), reason=call.body.reason, actor=call.caller.actor)
    return Done()


def _known(call: Call) -> str:
    """The UUID of a card that is, or was, here; also of a divided one. Raises: NotFound."""
    uuid = call.path["uuid"]
    with call.services.ledger.read() as unit:
        host = call.services.host
        known = (*unit.inventory(host), *unit.absent_devices(host))
        if any(uuid in (record.device.uuid, record.device.parent) for record in known):
            return uuid
    raise NotFound("There is no such card here; GET cards lists them by UUID.")


def _card(
    call: Call, record: DeviceRecord, lease: Lease | None, drained: Drain | None, pin: Pin | None
) -> m.Card:
    services, device = call.services, record.device
    now, stale_after = services.clock(), services.stale_after
    sample = fresh_sample(record, now=now, stale_after=stale_after)
    visible = lease if lease is not None and sees_lease(call, lease) else None
    capability = device.compute_capability
    return m.Card(
        uuid=device.uuid,
        model=device.model,
        index=device.index,
        parent=device.parent,
        memory_bytes=device.memory_bytes,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
        state=name_card_state(record, lease, drained, now=now, stale_after=stale_after),  # type: ignore[arg-type]
        health=record.health.value,
        health_reason=record.health_reason,
        seen_at=record.seen_at,
        utilization_percent=sample.utilization_percent if sample else None,
        memory_used_bytes=sample.memory_used_bytes if sample else None,
        temperature_celsius=sample.temperature_celsius if sample else None,
        power_milliwatts=sample.power_milliwatts if sample else None,
        drain=drain_info(call, drained) if drained else None,
        pin=_pin_info(call, pin) if pin else None,
        mine=lease is not None and lease.owner == call.caller.person,
        lease_id=visible.id if visible else None,
        holder=visible.owner if visible else None,
    )


def drain_info(call: Call, drained: Drain) -> m.DrainInfo:
    """A drain; who drained it is for administrators."""
    return m.DrainInfo(
        reason=drained.reason,
        actor=drained.actor if call.caller.manages else "",
        since=drained.since,
        until=drained.until,
        now=drained.now,
    )


def _pin_info(call: Call, pin: Pin) -> m.PinInfo | None:
    mine = pin.holder.kind == "person" and pin.holder.name == call.caller.person
    if not call.caller.manages and pin.holder.kind == "person" and not mine:
        holder = HolderInfo(kind="person", name="")  # that it is kept is no secret, for whom is
    else:
        holder = HolderInfo(kind=pin.holder.kind, name=pin.holder.name)  # type: ignore[arg-type]
    return m.PinInfo(
        holder=holder,
        reason=pin.reason if call.caller.manages or mine else "",
        actor=pin.actor if call.caller.manages else "",
        since=pin.since,
    )
