"""``gpuspawner cull`` and ``history``: what is done about idle sessions, and why sessions ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.notebooks import NotebookServers
from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_settings
from gpuspawner.allocator import Rosters, utc_now
from gpuspawner.allocator.idle import IdleWatch, Judged
from gpuspawner.allocator.ssh import count_open
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.core.activity import LEAST_BETWEEN
from gpuspawner.core.errors import HubError, InvalidRequest
from gpuspawner.core.idleness import Limits, Signal, Step
from gpuspawner.core.model import Event, Lease
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.policy import Policy, find_idle_limits, resolve_allowance
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import Settings, load_settings
from gpuspawner.ports import HubApi

from .common import clean, host_option, json_option, ledger_option, open_ledger, print_json, render_table

_HEADINGS = ("PERSON", "SERVER", "GPUS", "VERDICT", "AT (UTC)", "WHY")
_ENDS = ("session.", "lease.released", "lease.quarantined", "lease.releasing")
_SHOWN = 100
_HUB_SECONDS = 3.0
_AT_ONCE = 8
"""Questions to the Hub."""


@click.command(short_help="Show what would be done about idle sessions.")
@click.option("--dry-run", is_flag=True, help="Show the verdict on every session; nothing is done.")
@ledger_option
@host_option
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help=f"The settings file, which names the policy [default: ${SETTINGS_VARIABLE}, or the usual ones].",
)
@json_option
def cull(*, dry_run: bool, ledger: Path | None, host: str, settings: Path | None, as_json: bool) -> None:
    """Look into every session that runs, and show what would be done about it and why.

    It takes some seconds: what processors do is known from two looks. To warn and to stop is the controller's
    part, if the policy says `idle_sessions: stop`.
    """
    if not dry_run:
        raise InvalidRequest("Give --dry-run. To warn and to stop sessions is the controller's part.")
    loaded = _load_settings(settings)
    policy = _load_policy(loaded)

    with open_ledger(ledger, host) as book:
        # Rosters put people into courses, whose limits are theirs.
        whole = replace(policy, enrolment=Rosters(book).enrolment())

        def limits(lease: Lease) -> Limits:
            allowance = resolve_allowance(whole, lease.owner, lease.party.groups)
            return find_idle_limits(allowance, policy.warn_minutes)

        judged = _look(book, host, limits)
    if as_json:
        judged = _add_hub_activity(judged, _find_hub(loaded))
    if as_json:
        print_json({"schema": 1, "host": host, "idle_sessions": policy.idle_sessions.value,
                    "sessions": [to_json(one) for one in judged]})  # fmt: skip
    else:
        click.echo(render(judged))


@click.command(short_help="Show how somebody's sessions ended, and why.")
@click.argument("user")
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="How far back.")
@ledger_option
@host_option
@json_option
def history(user: str, days: int, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show what happened to the sessions of USER, newest first: warnings, ends, reasons and evidence."""
    with open_ledger(ledger, host) as book, book.read() as unit:
        found = unit.events_of(user, utc_now() - timedelta(days=days), _ENDS, _SHOWN + 1)
    shown, more = found[:_SHOWN], len(found) > _SHOWN
    if as_json:
        events = [event_to_json(one) for one in shown]
        print_json({"schema": 1, "host": host, "user": user, "events": events, "more": more})
        return
    click.echo(render_history(user, shown, days))
    if more:
        click.echo(f"There is more before that: these are the newest {_SHOWN}.")


def _load_settings(given: Path | None) -> Settings | None:
    where = find_settings(given)
    return load_settings(where) if where else None


def _find_hub(settings: Settings | None) -> HubApi | None:
    """The Hub, for whoever may read the controller's secret."""
    if settings is None or not settings.controller.enabled:
        return None
    with suppress(OSError):
        token = settings.controller_token_path.read_text(encoding="ascii").strip()
        return HttpHubApi(settings.hub_api_url, token, timeout_seconds=_HUB_SECONDS)
    return None


def _add_hub_activity(judged: Sequence[Judged], hub: HubApi | None) -> tuple[Judged, ...]:
    """Add to the evidence what the Hub says of activity.

    It is no signal of the verdict: a server's own token may write any time there, so that it proves no work;
    and where it is silent, the server itself was asked.
    """

    def ask(one: Judged) -> Judged:
        active = None
        if hub is not None:
            with suppress(HubError):
                server = hub.server(one.lease.owner, one.lease.server)
                active = server.last_activity if server else None
        says = f"last activity at {active:%H:%M} UTC, which keeps no session" if active else "not known"
        signal = Signal("Hub activity", "the Hub, which believes what servers say", utc_now(), says)
        verdict = one.watch.verdict
        if verdict is None:
            return one
        verdict = replace(verdict, signals=(*verdict.signals, signal))
        return replace(one, watch=replace(one.watch, verdict=verdict))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pool.map(ask, judged))


def _load_policy(settings: Settings | None) -> Policy:
    if settings is None:
        return Policy()
    loaded = load_policy(settings.policy, images=settings.images) if settings.policy else Policy()
    return replace(loaded, base=settings.limits.as_rule())


def _look(book: Ledger, host: str, limits: Callable[[Lease], Limits]) -> tuple[Judged, ...]:
    """Every session's verdict. What the controller saw before counts; without it, there are two looks."""
    watch = IdleWatch(book, host, limits, STALE_AFTER)
    sweeper = Sweeper(DockerEngine(), NotebookServers(), utc_now, lambda: count_open(book))
    leases = watch.running()
    first = sweeper.look(leases)
    before = {one.lease.id: one.watch for one in watch.judge(first)}
    if not leases:
        return ()
    time.sleep(LEAST_BETWEEN.total_seconds() + 1)
    return watch.judge(sweeper.look(leases), before=before)


def render(judged: Sequence[Judged]) -> str:
    """The verdicts as a table, what comes first first."""
    if not judged:
        return "No session runs."
    rows = []
    for one in sorted(judged, key=_urgency):
        verdict = one.watch.verdict
        if verdict is not None:
            at = f"{verdict.at:%Y-%m-%d %H:%M}" if verdict.at else "never"
            row = (one.lease.owner, one.lease.server or "(default)", str(len(one.lease.devices)))
            rows.append((*map(clean, row), verdict.step.value, at, clean(verdict.reason)))
    lines = render_table(_HEADINGS, rows)
    return "\n".join([*lines, "AT is when it would be warned (keep) or stopped (warn, stop)."])


def _urgency(one: Judged) -> tuple[int, float]:
    verdict = one.watch.verdict
    if verdict is None:
        return 3, 0.0
    return list(Step)[::-1].index(verdict.step), verdict.at.timestamp() if verdict.at else math.inf


def to_json(one: Judged) -> dict[str, object]:
    """A verdict for programs; null is never, or not known."""
    verdict = one.watch.verdict
    return {
        "lease": one.lease.id,
        "user": one.lease.owner,
        "server": one.lease.server,
        "devices": list(one.lease.devices),
        "verdict": verdict.step.value if verdict else None,
        "clock": verdict.clock.value if verdict and verdict.clock else None,
        "at": verdict.at.isoformat() if verdict and verdict.at else None,
        "reason": verdict.reason if verdict else None,
        "signals": [
            {
                "what": signal.what,
                "source": signal.source,
                "at": signal.at.isoformat() if signal.at else None,
                "says": signal.says,
            }
            for signal in (verdict.signals if verdict else ())
        ],
    }


def render_history(user: str, found: Sequence[Event], days: int) -> str:
    """What happened, with the evidence below each line that has some."""
    if not found:
        return f"Nothing happened to sessions of {clean(user)} in the last {days} days."
    lines = []
    for event in found:
        lines.append(f"{event.at:%Y-%m-%d %H:%M} UTC  {event.kind}, by {clean(event.actor)}")
        lines.append(f"  {clean(event.reason)}")
        lines += [f"    {clean(line)}" for line in _list_evidence(event)]
    return "\n".join(lines)


def _list_evidence(event: Event) -> list[str]:
    digest = event.data.get("digest")
    if digest:
        return [f"it ran {event.data.get('image')}, {digest}"]
    signals = event.data.get("signals")
    if not isinstance(signals, list):
        return []
    found = [f"{one['what']} ({one['source']}): {one['says']}" for one in signals]
    if event.data.get("dry_run"):
        found.append("Nobody was told or stopped: the policy says `idle_sessions: report`.")
    return found


def event_to_json(event: Event) -> dict[str, object]:
    """A line of the history for programs."""
    return {
        "at": event.at.isoformat(),
        "kind": event.kind,
        "actor": event.actor,
        "lease": event.lease_id,
        "reason": event.reason,
        "evidence": event.data,
    }
