"""``gpuspawner status``: cards, and who holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gpuspawner.core.claims import Drain, Pin
from gpuspawner.core.culling import Watch
from gpuspawner.core.drains import find_drain, find_pin, find_stop, why_drained, why_kept
from gpuspawner.core.model import DeviceRecord, Health, Lease, LeaseState
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.words import describe_duration

from .common import (
    clean,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    print_json,
    render_table,
)

MEBIBYTE = 1024 * 1024
SHORT_UUID = 12
_HELD = {LeaseState.RESERVED: "held", LeaseState.ACTIVE: "held"}
_HEADINGS = (
    *("GPU", "MODEL", "UUID", "UTIL %", "MEMORY MiB", "TEMP °C"),
    *("HEALTH", "STATE", "HOLDER", "SINCE (UTC)", "CONTAINER"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One card as it is shown; None is unknown, or nobody."""

    index: int | None
    model: str
    uuid: str
    parent: str | None
    utilization_percent: int | None
    memory_used_bytes: int | None
    memory_bytes: int
    temperature_celsius: int | None
    health: str
    reason: str
    """Why it is not well, or not free, in words."""
    state: str
    """free, kept, held, releasing, quarantined, drained, occupied, faulty or unknown."""
    holder: str | None
    since: datetime | None
    container: str | None
    last_report: datetime
    drained: str | None = None
    """By whom, until when and why it is drained, in words."""
    drained_until: datetime | None = None
    """When it comes back by itself; None also when somebody must undrain it."""
    kept_for: str | None = None
    """For whom it is kept."""


def build_rows(
    inventory: Iterable[DeviceRecord],
    leases: Iterable[Lease],
    *,
    now: datetime,
    stale_after: timedelta,
    drains: Sequence[Drain] = (),
    pins: Sequence[Pin] = (),
    watches: Mapping[str, Watch] | None = None,
) -> tuple[Row, ...]:
    """Say of every card what is known of it now. What an old report says is not known any more."""
    by_device = {uuid: lease for lease in leases for uuid in lease.devices}
    rows = []
    for record in inventory:
        lease = by_device.get(record.device.uuid)
        row = _build_row(record, lease, now, stale_after)
        watch = (watches or {}).get(lease.id) if lease else None
        if watch is not None and watch.deaf_since is not None:
            since = f"{watch.deaf_since:%H:%M} UTC"
            said = f"does nothing, and the server has hardly answered, if at all, since {since}"
            row = replace(row, reason="; ".join(filter(None, (row.reason, said))))
        drain, pin = find_drain(record.device, drains, now), find_pin(record.device, pins)
        rows.append(_withhold(row, drain, pin, now))
    return tuple(rows)


def _withhold(row: Row, drain: Drain | None, pin: Pin | None, now: datetime) -> Row:
    """Add what an administrator said of the card."""
    words = [row.reason]
    state = row.state
    if pin is not None:
        words.append(why_kept(pin))
        state = "kept" if state == "free" else state
    if drain is not None:
        words.append(why_drained(drain, now))
        state = "drained" if row.holder is None else state
    return replace(
        row,
        state=state,
        reason="; ".join(filter(None, words)),
        drained=why_drained(drain, now) if drain else None,
        drained_until=drain.until if drain else None,
        kept_for=str(pin.holder) if pin else None,
    )


def _build_row(record: DeviceRecord, lease: Lease | None, now: datetime, stale_after: timedelta) -> Row:
    device, stale = record.device, now - record.seen_at > stale_after
    sample = record.sample
    if stale or sample is None or now - sample.at > stale_after:
        sample = None
    health = Health.UNKNOWN if stale else record.health
    reasons = [f"last report {describe_duration(now - record.seen_at)} ago"] if stale else []
    if record.health is health:
        reasons.append(record.health_reason)
    if lease is not None:
        state = _HELD.get(lease.state, lease.state.value)
        if lease.state is LeaseState.QUARANTINED:
            reasons.append(lease.evidence or lease.reason)
    elif health is Health.UNKNOWN:
        state = "unknown"
    elif record.occupied_by:
        state = "occupied"
        reasons.append(f"in use by others: {record.occupied_by}")
    else:
        state = "faulty" if health is Health.FAULTY else "free"
    return Row(
        index=device.index,
        model=device.model,
        uuid=device.uuid,
        parent=device.parent,
        utilization_percent=sample.utilization_percent if sample else None,
        memory_used_bytes=sample.memory_used_bytes if sample else None,
        memory_bytes=device.memory_bytes,
        temperature_celsius=sample.temperature_celsius if sample else None,
        health=health.value,
        reason="; ".join(filter(None, reasons)),
        state=state,
        holder=None if lease is None else _name_holder(lease),
        since=lease.state_since if lease else None,
        container=lease.container_id if lease else None,
        last_report=record.seen_at,
    )


def _name_holder(lease: Lease) -> str:
    return f"{lease.owner}/{lease.server}" if lease.server else lease.owner


def render(rows: Sequence[Row], *, now: datetime, stale_after: timedelta) -> str:
    """The rows as an aligned table, followed by what does not fit into one."""
    if not rows:
        return "No GPU is known: the agent has not reported any. Check that it runs: gpuspawner doctor"
    lines = render_table(_HEADINGS, [_cells(row) for row in rows])
    newest = max(row.last_report for row in rows)
    if now - newest > stale_after:
        lines += [
            f"State not known: last report {describe_duration(now - newest)} ago. See: gpuspawner doctor"
        ]
    else:
        lines += [
            f"GPU {_known(r.index)} ({r.uuid[:SHORT_UUID]}): {clean(r.reason)}" for r in rows if r.reason
        ]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    used = None if row.memory_used_bytes is None else row.memory_used_bytes // MEBIBYTE
    return (
        _known(row.index),
        row.model,
        row.uuid[:SHORT_UUID],
        _known(row.utilization_percent),
        f"{_known(used)} / {row.memory_bytes // MEBIBYTE}",
        _known(row.temperature_celsius),
        row.health,
        f"kept for {row.kept_for}" if row.state == "kept" else row.state,
        row.holder or "-",
        f"{row.since.astimezone(UTC):%Y-%m-%d %H:%M}" if row.since else "-",
        row.container[:12] if row.container else "-",
    )


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def to_json(rows: Sequence[Row], host: str, *, now: datetime, stale_after: timedelta) -> dict[str, object]:
    """The rows for programs; null is unknown, or nobody."""
    newest = max((row.last_report for row in rows), default=None)
    return {
        "schema": 1,
        "host": host,
        "at": now.isoformat(),
        "last_report": newest.isoformat() if newest else None,
        "stale": newest is None or now - newest > stale_after,
        "devices": [
            {
                **asdict(row),
                "since": row.since.isoformat() if row.since else None,
                "last_report": row.last_report.isoformat(),
                "drained_until": row.drained_until.isoformat() if row.drained_until else None,
            }
            for row in rows
        ],
    }


@click.command(short_help="Show cards and who holds them.")
@ledger_option
@host_option
@json_option
def status(ledger: Path | None, host: str, as_json: bool) -> None:
    """Show cards and who holds them."""
    with open_ledger(ledger, host) as book, book.read() as unit:
        inventory, leases = unit.inventory(host), unit.live_leases(host)
        drains, pins, watches = unit.drains(host), unit.pins(host), unit.watches()
    now = datetime.now(UTC)
    rows = build_rows(
        inventory, leases, now=now, stale_after=STALE_AFTER, drains=drains, pins=pins, watches=watches
    )
    stop = find_stop(drains, now)
    stopped = why_drained(stop, now) if stop else None
    if as_json:
        print_json(to_json(rows, host, now=now, stale_after=STALE_AFTER) | {"without_gpu": stopped})
        return
    click.echo(render(rows, now=now, stale_after=STALE_AFTER))
    if stopped:
        click.echo(clean(f"Servers without a GPU: {stopped}"))
