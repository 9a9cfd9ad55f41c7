"""A large installation in its busiest hour, made up: cards, people, groups, sessions, a line, reservations.

The same size gives the same crowd each time. What people may use comes from a real policy file, so that
their terms differ as much as fifty groups make them differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.claims import (
    Actor,
    ActorKind,
    Drain,
    Holder,
    Pin,
    Reservation,
    Standing,
    Terms,
    Ticket,
    TicketState,
    Usage,
)
from gpuspawner.core.coursechoice import find_courses
from gpuspawner.core.model import Device, DeviceRecord, Health, Lease, LeaseState, Party, Sample, SpawnRequest
from gpuspawner.core.occurrences import open_occurrences
from gpuspawner.core.policy import Policy, find_party, find_terms, resolve_allowance
from gpuspawner.core.situation import Situation
from gpuspawner.policy.policy import load_policy

HOST = "gpu1"
NOW = datetime(2026, 11, 25, 14, 0, tzinfo=UTC)
STALE_AFTER = timedelta(days=1)
"""The cards are looked at once, when the crowd is made: they count as fresh for as long as is measured."""
HORIZON = timedelta(days=35)
"""As far ahead as :mod:`gpuspawner.allocator.gather` looks for reservations."""
GIB = 1024**3
MODELS = {"NVIDIA A100-SXM4-80GB": 80, "NVIDIA L40S": 45, "NVIDIA H100 80GB HBM3": 80}
"""Memory in GiB by model; of eight cards in a row, four are of the first, and two of each other."""
ROW = ["NVIDIA A100-SXM4-80GB"] * 4 + ["NVIDIA L40S"] * 2 + ["NVIDIA H100 80GB HBM3"] * 2
GROUPS, COURSES = 50, 20
HELD = 0.9
"""Part of the cards that are in sessions."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a crowd is."""

    devices: int
    tickets: int
    people: int = 500
    reservations: int = 10
    held: float = HELD
    seed: int = 1


FULL = Size(64, 1000)
"""What the goals are for."""
LARGE = Size(1000, 10_000, 5000)
"""What is only reported."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """All that there is."""

    policy: Policy
    groups_of: dict[str, tuple[str, ...]]
    """The hub's groups, by person."""
    inventory: tuple[DeviceRecord, ...]
    leases: tuple[Lease, ...]
    tickets: tuple[Ticket, ...]
    standings: dict[str, Standing]
    drains: tuple[Drain, ...]
    pins: tuple[Pin, ...]
    reservations: tuple[Reservation, ...]
    usage: tuple[Usage, ...]

    def situation(self) -> Situation:
        """As a decision sees it."""
        held: dict[str, dict[object, float]] = {}
        for one in self.usage:
            held.setdefault(one.owner, {})[one.day] = one.held_seconds
        return Situation(
            now=NOW,
            inventory=self.inventory,
            leases=self.leases,
            tickets=self.tickets,
            standings=self.standings,
            drains=self.drains,
            pins=self.pins,
            occurrences=open_occurrences(self.reservations, (), NOW, NOW + HORIZON),
            held=held,  # type: ignore[arg-type]
            stale_after=STALE_AFTER,
        )

    def store(self, path: Path, *, tickets: bool = True) -> Ledger:
        """A ledger with all of it."""
        ledger = Ledger(path)
        with ledger.write() as unit:
            for record in self.inventory:
                unit.put_device(record)
            for lease in self.leases:
                unit.add_lease(lease)
            for ticket in self.tickets if tickets else ():
                unit.add_ticket(ticket)
            for drain in self.drains:
                unit.put_drain(HOST, drain)
            for pin in self.pins:
                unit.put_pin(HOST, pin)
            for reservation in self.reservations:
                unit.put_reservation(reservation)
            unit.put_standings(HOST, self.standings)
            unit.add_usage(HOST, self.usage)
        return ledger


def write_policy(path: Path, people: Sequence[str]) -> Path:
    """A policy file of 50 groups and 20 courses, with an entry for every person."""
    chance = random.Random(1)
    models = list(MODELS)
    groups: dict[str, dict[str, object]] = {
        "default": {
            "gpus_per_person": 8,
            "gpus_per_server": 8,
            "gpu_hours_per_week": 100,
            "longest_session": "12 h",
            "models": models,
        }
    }
    for n in range(GROUPS - 1):
        entry: dict[str, object] = {
            "models": chance.sample(models, chance.choice([1, 2, 3])),
            "pools": [f"pool{n % 5}"],
            "longest_session": f"{chance.choice([8, 16, 24, 48])} h",
            "weight": chance.choice([1, 1, 2, 4]),
            "memory": f"{chance.choice([64, 128, 256])}G",
        }
        entry |= {"guaranteed_share": "4 %"} if n < 12 else {}
        entry |= {"gpu_hours_per_week": chance.choice([150, 300])} if n % 2 else {}
        groups[f"group{n:02}"] = entry
    courses = {
        f"course{n:02}": {
            "group": f"group{n:02}",
            "teachers": [people[n]],
            "image": f"image{n % 4}",
            "seats": 40,
            "longest_session": "10 h",
            "materials": [{"path": f"/srv/courses/{n}", "target": f"/materials/{n}"}],
        }
        for n in range(COURSES)
    }
    entries: dict[str, dict[str, object]] = {
        name: {"groups": [f"group{chance.randrange(GROUPS - 1):02}"]}
        | ({"gpus_per_person": 16} if n % 20 == 0 else {})
        for n, name in enumerate(people)
    }
    pools = {f"pool{n}": [f"GPU-{n:05}", f"GPU-{n + 8:05}", models[n % 3]] for n in range(5)}
    path.write_text(yaml.safe_dump({"pools": pools, "groups": groups, "people": entries, "courses": courses}))
    return path


def name_people(count: int) -> list[str]:
    return [f"person{n:04}" for n in range(count)]


def make_crowd(size: Size, policy_file: Path) -> Crowd:
    """Make a crowd; its policy is written to a file on the way."""
    chance = random.Random(1000 + size.seed)
    people = name_people(size.people)
    images = [f"image{n}" for n in range(4)]
    policy = load_policy(write_policy(policy_file, people), images=images)
    groups_of = {
        name: tuple(f"group{one:02}" for one in chance.sample(range(GROUPS - 1), chance.choice([1, 1, 2])))
        for name in people
    }
    inventory = tuple(_make_card(n) for n in range(size.devices))
    sessions = tuple(_make_sessions(inventory, size.held, groups_of, policy, chance))
    used_days = [(NOW - timedelta(days=n)).date() for n in range(7)]
    return Crowd(
        policy=policy,
        groups_of=groups_of,
        inventory=inventory,
        leases=sessions,
        tickets=tuple(_make_tickets(size.tickets, groups_of, policy, chance)),
        standings={
            name: Standing(chance.expovariate(1 / 200_000), NOW - timedelta(minutes=chance.randrange(60)))
            for name in people
        },
        drains=tuple(
            Drain(inventory[n].device.uuid, "new fans", "root", NOW - timedelta(hours=1))
            for n in range(size.devices - 1, size.devices * 31 // 32 - 1, -1)
        ),
        pins=tuple(
            Pin(inventory[n].device.uuid, Holder("group", f"group{n % 10:02}"), "their grant", "root", NOW)
            for n in range(0, size.devices, 24)
        ),
        reservations=tuple(_make_reservation(n) for n in range(size.reservations)),
        usage=tuple(
            _make_usage(name, day, chance) for name in people for day in used_days if chance.random() < 0.4
        ),
    )


def _make_card(n: int) -> DeviceRecord:
    """One of eight in a chassis, joined by NVLink in fours and by PCIe beyond."""
    model, first = ROW[n % 8], n - n % 8
    capability = (9, 0) if "H100" in model else (8, 0)
    links = tuple((f"GPU-{m:05}", 400 if m // 4 == n // 4 else 10) for m in range(first, first + 8) if m != n)
    memory = MODELS[model] * GIB
    return DeviceRecord(
        device=Device(HOST, f"GPU-{n:05}", model, memory, n, capability, None, links=links),
        health=Health.OK,
        health_reason="",
        seen_at=NOW,
        baseline_bytes=4 * 1024**2,
        sample=Sample(NOW, 80, memory // 2, 60, 300_000, ()),
    )


def _make_sessions(
    inventory: Sequence[DeviceRecord],
    held: float,
    groups_of: dict[str, tuple[str, ...]],
    policy: Policy,
    chance: random.Random,
) -> Iterable[Lease]:
    """Sessions of one, two or four cards in a row, on as many cards as are to be held."""
    people = list(groups_of)
    n, count = 0, 0
    end = int(len(inventory) * held)
    while n < end:
        gpus = min(chance.choice([1, 1, 1, 2, 4]), end - n)
        owner = people[count % len(people)]
        began = NOW - timedelta(minutes=chance.randrange(1, 480))
        yield Lease(
            id=f"lease{count:05}",
            host=HOST,
            owner=owner,
            server=f"held{count}",
            devices=tuple(record.device.uuid for record in inventory[n : n + gpus]),
            state=LeaseState.ACTIVE,
            reason="the server runs",
            claimant="run1",
            created_at=began,
            state_since=began,
            image="registry.example.org/image0:1",
            container_id=f"{count:064x}",
            party=_find_party(policy, owner, groups_of[owner], "image0"),
            ends_at=NOW + timedelta(minutes=chance.randrange(5, 720)),
            end_reason="a session may last 12 h at most",
        )
        n, count = n + gpus, count + 1


def _find_party(policy: Policy, owner: str, groups: tuple[str, ...], image: str) -> Party:
    """That of a session for the first of somebody's courses with an image."""
    courses = find_courses(policy, owner, groups)
    return find_party(policy, owner, groups, next((one for one in courses if courses[one] == image), None))


def _make_tickets(
    count: int,
    groups_of: dict[str, tuple[str, ...]],
    policy: Policy,
    chance: random.Random,
) -> Iterable[Ticket]:
    people = list(groups_of)
    terms: dict[tuple[str, str], tuple[Party, Terms]] = {}
    for n in range(count):
        owner, image = people[n % len(people)], f"image{n % 4}"
        if (owner, image) not in terms:
            party = _find_party(policy, owner, groups_of[owner], image)
            allowance = resolve_allowance(policy, owner, groups_of[owner])
            terms[owner, image] = party, find_terms(policy, party, allowance)
        party, theirs = terms[owner, image]
        asked = NOW - timedelta(seconds=chance.randrange(60, 86_400))
        yield Ticket(
            id=f"{n:016x}",
            host=HOST,
            owner=owner,
            server=f"s{n // len(people)}",
            request=_make_request(theirs, image, chance),
            image=f"registry.example.org/{image}:1",
            asked_at=asked,
            queued_at=asked,
            state=TicketState.WAITING,
            state_since=asked,
            reason="You asked for 1 GPU; 0 of 32 GPUs are free now (32 in use).",
            terms=theirs,
            party=party,
        )


def _make_request(terms: Terms, image: str, chance: random.Random) -> SpawnRequest:
    models = sorted(set(MODELS) & terms.cards) if terms.cards is not None else list(MODELS)
    hours = chance.choice([None, None, 1, 2, 4, 8])
    return SpawnRequest(
        gpus=chance.choice([1, 1, 1, 1, 1, 2, 2, 4, 8]),
        model=chance.choice([None, *models]),
        image=image,
        memory_bytes=chance.choice([None, None, 40 * GIB, 60 * GIB]),
        compute_capability=chance.choice([None, None, None, (8, 0)]),
        session=None if hours is None else timedelta(hours=hours),
        shorten=chance.random() < 0.5,
    )


def _make_reservation(n: int) -> Reservation:
    """A weekly lab of two hours; two are on now, and some of those that come overlap."""
    return Reservation(
        id=f"reservation{n:02}",
        host=HOST,
        title=f"lab {n}",
        holder=Holder("course", f"course{n % COURSES:02}"),
        devices=4,
        start=NOW.replace(hour=(13 + 3 * n) % 24) + timedelta(days=n % 4 - 14),
        length=timedelta(hours=2),
        zone="Europe/Zurich",
        actor=Actor(f"person{n:04}", ActorKind.PERSON),
        made_at=NOW - timedelta(days=30),
        cards=frozenset({ROW[0]}) if n % 3 == 0 else frozenset(),
        rule="FREQ=WEEKLY;COUNT=15",
        lead=timedelta(minutes=10),
    )


def _make_usage(owner: str, day: object, chance: random.Random) -> Usage:
    return Usage(
        lease_id=f"{owner}-{day}",
        device="GPU-00000",
        day=day,  # type: ignore[arg-type]
        owner=owner,
        server="",
        image="registry.example.org/image0:1",
        model=ROW[0],
        party=Party(),
        held_seconds=chance.uniform(600, 40_000),
        sampled_seconds=600,
        active_seconds=300,
    )
