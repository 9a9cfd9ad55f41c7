"""What can be done inside one transaction of the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gpuspawner.core.model import DeviceRecord, Home, Lease, LeaseState, Sample, SpawnRequest

from . import rows
from . import statements as sql
from .course_unit import CourseUnit
from .line_rows import json_to_request, request_to_json
from .line_unit import once
from .schema import devices, homes, leases, sample_hours, samples


class LedgerUnit(CourseUnit):
    """One transaction. Made by :class:`~gpuspawner.adapters.ledger.Ledger` only."""

    # -- identity -------------------------------------------------------------------------------------------

    def ledger_id(self) -> str:
        """The random name of this ledger; it marks the containers that belong to it."""
        return str(self._db.execute(sql.LEDGER_ID).scalar_one())

    def hosts(self) -> tuple[str, ...]:
        """Every host that ever reported a card."""
        return tuple(
            self._db.execute(sa.select(devices.c.host).distinct().order_by(devices.c.host)).scalars()
        )

    # -- devices --------------------------------------------------------------------------------------------

    @once
    def inventory(self, host: str) -> tuple[DeviceRecord, ...]:
        """Every device of the host that was there at the last inventory, in the driver's order."""
        return self._devices(sql.PRESENT_DEVICES, host)

    def absent_devices(self, host: str) -> tuple[DeviceRecord, ...]:
        """Every device of the host that was there once."""
        return self._devices(sql.ABSENT_DEVICES, host)

    def _devices(self, query: sa.Select[Any], host: str) -> tuple[DeviceRecord, ...]:
        found = self._db.execute(query, {"host": host})
        return tuple(rows.rows_to_devices(found.all()))

    def put_device(self, record: DeviceRecord) -> None:
        """Store what was learned of a device; it counts as present from now on."""
        row = rows.device_to_row(record)
        self._put(devices, row, key=("host", "uuid"))

    def drop_devices(self, host: str, present: Collection[str]) -> None:
        """Mark every other device of the host as no longer there; its history stays."""
        self._db.execute(
            sa.update(devices)
            .where(devices.c.host == host, devices.c.uuid.not_in(list(present)))
            .values(present=False)
        )

    def clear_fault(self, host: str, uuid: str) -> None:
        """Forget a device's standing fault; its health is judged anew at the agent's next look."""
        self._db.execute(
            sa.update(devices)
            .where(devices.c.host == host, devices.c.uuid == uuid)
            .values(standing_fault=None)
        )

    # -- samples --------------------------------------------------------------------------------------------

    def add_samples(self, host: str, found: Iterable[tuple[str, Sample]]) -> None:
        """Keep raw samples, given as (UUID, sample)."""
        new = [
            {
                "host": host,
                "device": uuid,
                "at": s.at,
                "utilization_percent": s.utilization_percent,
                "memory_used_bytes": s.memory_used_bytes,
                "temperature_celsius": s.temperature_celsius,
                "power_milliwatts": s.power_milliwatts,
                "processes": None if s.processes is None else len(s.processes),
            }
            for uuid, s in found
        ]
        if new:
            self._db.execute(sa.insert(samples).prefix_with("OR REPLACE"), new)

    def roll_up_samples(self, before: datetime) -> int:
        """Fold the raw samples of whole hours older than ``before`` into one row per device and hour.

        Returns:
            How many raw samples were folded.
        """
        hour = sa.func.strftime("%Y-%m-%d %H:00:00.000000", samples.c.at)
        busy = sa.case((samples.c.utilization_percent > 0, 1), else_=0)
        limit = before.replace(minute=0, second=0, microsecond=0)
        folded = (
            sa.select(
                samples.c.host,
                samples.c.device,
                hour,
                sa.func.count(),
                sa.func.count(samples.c.utilization_percent),
                sa.func.sum(busy),
                sa.func.avg(samples.c.utilization_percent),
                sa.func.max(samples.c.memory_used_bytes),
                sa.func.max(samples.c.temperature_celsius),
                sa.func.avg(samples.c.power_milliwatts),
            )
            .where(samples.c.at < limit)
            .group_by(samples.c.host, samples.c.device, hour)
        )
        self._db.execute(
            sa.insert(sample_hours).prefix_with("OR REPLACE").from_select(list(sample_hours.c), folded)
        )
        return self._db.execute(sa.delete(samples).where(samples.c.at < limit)).rowcount

    def recent_samples(self, host: str, device: str, since: datetime) -> tuple[Sample, ...]:
        """Raw samples of a device, oldest first; their processes are not kept and thus unknown."""
        found = self._db.execute(
            sa.select(samples)
            .where(samples.c.host == host, samples.c.device == device, samples.c.at >= since)
            .order_by(samples.c.at)
        )
        return tuple(
            Sample(
                at=row["at"],
                utilization_percent=row["utilization_percent"],
                memory_used_bytes=row["memory_used_bytes"],
                temperature_celsius=row["temperature_celsius"],
                power_milliwatts=row["power_milliwatts"],
            )
            for row in found.mappings()
        )

    # -- leases ---------------------------------------------------------------------------------------------

    @once
    def live_leases(self, host: str, *, owner: str | None = None) -> tuple[Lease, ...]:
        """Every lease of the host, or of one person there, that still holds its devices, oldest first."""
        if owner is None:
            return self._leases(sql.LIVE_LEASES, host=host)
        return self._leases(sql.LIVE_LEASES_OF, host=host, owner=owner)

    def lease(self, lease_id: str) -> Lease | None:
        """One lease, live or not."""
        found = self._leases(sql.LEASE, id=lease_id)
        return found[0] if found else None

    def last_lease(self, owner: str, server: str) -> Lease | None:
        """The newest lease of a person's server."""
        found = self._leases(sql.LAST_LEASE, owner=owner, server=server)
        return found[0] if found else None

    def last_session(self, host: str, owner: str) -> Lease | None:
        """The newest lease of a person that ran and is over, or coming to its end."""
        found = self._leases(sql.LAST_SESSION, host=host, owner=owner)
        return found[0] if found else None

    def sessions_over(self, host: str, owner: str, since: datetime) -> tuple[Lease, ...]:
        """Leases of a person that ran, and that they let go of or that ended by itself since then."""
        return self._leases(sql.SESSIONS_OVER, host=host, owner=owner, since=since)

    def put_choices(self, lease_id: str, request: SpawnRequest) -> None:
        """Store what the session of a lease was asked for with."""
        text = json.dumps(request_to_json(request))
        self._db.execute(sa.update(leases).where(leases.c.id == lease_id).values(choices=text))

    def choices_of(self, lease_id: str) -> SpawnRequest | None:
        """What the session of a lease was asked for with; None where that is not known."""
        text = self._db.execute(sa.select(leases.c.choices).where(leases.c.id == lease_id)).scalar()
        return None if text is None else json_to_request(json.loads(text))

    def released_among(self, lease_ids: Collection[str]) -> frozenset[str]:
        """Which of these are leases of this ledger that have ended."""
        found = self._db.execute(
            sa.select(leases.c.id).where(
                leases.c.id.in_(lease_ids), leases.c.state == LeaseState.RELEASED.value
            )
        )
        return frozenset(found.scalars())

    def seats_left_since(self, host: str, since: datetime) -> tuple[Lease, ...]:
        """Leases that had a seat of a reservation, and are over, whose people let go of them since then."""
        return self._leases(sql.SEATS_LEFT, host=host, since=since)

    def add_lease(self, lease: Lease) -> None:
        """Store a new lease. The unique index refuses a device that a live lease holds."""
        self._db.execute(sql.ADD_LEASE, rows.lease_to_row(lease))
        if lease.devices:
            self._db.execute(
                sql.ADD_LEASE_DEVICES,
                [
                    {
                        "lease_id": lease.id,
                        "position": n,
                        "host": lease.host,
                        "device": uuid,
                        "live": lease.state.live,
                    }
                    for n, uuid in enumerate(lease.devices)
                ],
            )

    def update_lease(self, lease: Lease) -> None:
        """Store a lease's new state; its devices never change."""
        self._db.execute(sql.UPDATE_LEASE, {**rows.lease_to_row(lease), "this": lease.id})
        self._db.execute(sql.UPDATE_LEASE_DEVICES, {"live": lease.state.live, "this": lease.id})

    def _leases(self, query: sql.LeaseQuery, **values: object) -> tuple[Lease, ...]:
        lease_rows = self._db.execute(query.leases, values).mappings().all()
        if not lease_rows:
            return ()
        held: dict[str, list[str]] = {row["id"]: [] for row in lease_rows}
        for lease_id, device in self._db.execute(query.devices, values):
            held[lease_id].append(device)
        return tuple(rows.row_to_lease(row, tuple(held[row["id"]])) for row in lease_rows)

    # -- homes ----------------------------------------------------------------------------------------------

    def home_of(self, owner: str) -> Home | None:
        """Where a person's files are, if they have a home yet."""
        row = self._db.execute(sa.select(homes).where(homes.c.owner == owner)).mappings().first()
        return rows.row_to_home(row) if row else None

    def put_home(self, home: Home, now: datetime) -> None:
        """Bind a new home to a person who has none."""
        self._db.execute(
            sa.insert(homes).values(
                owner=home.owner, kind=home.kind.value, source=home.source, created_at=now
            )
        )
