"""A host with much on it, for the administrators' board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.model import DeviceRecord, Health, Lease, LeaseState
from gpuspawner.core.situation import Situation

from .build import GIB, NOW, ago, busy, device, lease, record

if TYPE_CHECKING:
    from .controller import Office

HOSTILE = (
    "<script>alert(1)</script>",
    "\u202e\u05e9\u05dc\u05d5\u05dd\u0645\u0631\u062d\u0628\u0627",
    "🐘🧪" * 32,
    "n" * 64,
)
MODEL = "NVIDIA A100-SXM4-80GB"
LATER = NOW + timedelta(hours=1)
STALE = timedelta(seconds=30)
ONE_CARD = (record(),)


def drain(name: str = "GPU-0", **changes: Any) -> Drain:
    """GPU-0 is out of use until somebody undrains it."""
    return Drain(**{"device": name, "reason": "fan", "actor": "root", "since": ago(60)} | changes)


def pin(name: str = "GPU-0", kind: str = "person", whom: str = "grace") -> Pin:
    """GPU-0 is kept for somebody."""
    return Pin(name, Holder(kind, whom), "grant", "root", ago(60))


def situation(
    inventory: Sequence[DeviceRecord] = ONE_CARD, leases: Sequence[Lease] = (), **more: Any
) -> Situation:
    """One free card, unless there is more."""
    return Situation(NOW, inventory, leases, stale_after=STALE, **more)


def name(n: int) -> str:
    """One of many hostile names, of 64 characters at most."""
    return f"{HOSTILE[n % 4]}{n}"[-64:]


def many_cards(count: int) -> list[DeviceRecord]:
    """Cards that work, with a faulty one, a silent one, and one that somebody else uses."""
    cards = [
        record(
            f"GPU-{n:08x}-0000",
            device=device(f"GPU-{n:08x}-0000", model=MODEL, memory_bytes=80 * GIB, index=n),
            sample=busy(n, memory_used_bytes=31 * GIB, temperature_celsius=61, power_milliwatts=301_400),
        )
        for n in range(count)
    ]
    sick = replace(cards[-1], health=Health.FAULTY, health_reason="XID 79: it has fallen off the bus")
    cards[-3:] = [
        replace(cards[-3], occupied_by="process 4711 on the host"),
        replace(cards[-2], health=Health.UNKNOWN, health_reason="no answer within 5 s", sample=None),
        replace(sick, standing_fault="XID 79: it has fallen off the bus"),
    ]
    return cards


def many_leases(count: int, cards: list[DeviceRecord]) -> list[Lease]:
    """Sessions, of which the first have a card each."""
    return [
        lease(
            LeaseState.ACTIVE,
            id=f"lease{n:03}",
            owner=name(n),
            server="" if n % 2 else f"s{n}",
            devices=(cards[n].device.uuid,) if n < len(cards) - 4 else (),
            image="registry.example.org/group/pytorch-notebook:2030.05",
            created_at=ago(3600 + n),
            ends_at=NOW + timedelta(hours=2) if n % 3 else None,
        )
        for n in range(count)
    ]


def crowd(office: Office, cards: int = 64, leases: int = 200) -> None:
    """Fill the ledger."""
    records = many_cards(cards)
    with office.services.ledger.write() as unit:
        unit.drop_devices(office.services.host, [one.device.uuid for one in records])
        for one in records:
            unit.put_device(one)
        for held in many_leases(leases, records):
            unit.add_lease(held)
