"""Metrics for Prometheus: gauges from the ledger at the moment of asking, counters since this process began.

No label has a person's name: who may read metrics need not know who works when.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.allocator.identities import TROUBLE, find_login_trouble
from gpuspawner.allocator.outbox import OUTCOMES
from gpuspawner.core.activity import GPUS_UNKNOWN, NOTEBOOKS_UNKNOWN, PROCESSORS_UNKNOWN
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import TicketState
from gpuspawner.core.culling import FINISHED, IDLE_STOP
from gpuspawner.core.endings import STOPPING
from gpuspawner.core.errors import LedgerError, RefusalKind
from gpuspawner.core.idleness import Clock, Step, find_unknown
from gpuspawner.core.model import Event, LeaseState
from gpuspawner.core.notices import Channel
from gpuspawner.core.ssh import Cause
from gpuspawner.core.waits import REFUSED

from .cardstate import CARD_STATES, by_device, fresh_sample, name_card_state
from .loop import TickReport

WAIT_BUCKETS = (10, 60, 300, 900, 1800, 3600, 7200, 4 * 3600, 8 * 3600, 24 * 3600, 72 * 3600)
TICK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
_MOST_REFUSALS = 10_000
STOP_REASONS = ("idle_gpus", "idle_session", "finished", "end", "by_hand")
"""Idle by either clock; as its person wished when nothing runs; its time was over; somebody stopped it."""
UNKNOWN_SOURCES = {GPUS_UNKNOWN: "gpus", NOTEBOOKS_UNKNOWN: "notebooks", PROCESSORS_UNKNOWN: "processors"}
NEVER_SEEN = "what it does"


class Metrics:
    """All metrics of one controller, in a registry of its own.

    Args:
        ledger: Where cards, leases and tickets are.
        host: Whose.
        clock: Says the present.
        stale_after: Age from which what is known of a card is no longer believed.
        steps: The steps of a tick: their failures are there, as 0, before the first.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        clock: Callable[[], datetime],
        stale_after: timedelta,
        steps: Iterable[str] = (),
    ) -> None:
        self._ledger, self._host, self._clock, self._stale_after = ledger, host, clock, stale_after
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._tick = Histogram(
            "gpuspawner_tick_seconds", "How long a tick took.", registry=registry, buckets=TICK_BUCKETS
        )
        self._failures = self._count(
            "gpuspawner_tick_failures", "Steps of a tick that broke off.", "step", steps
        )
        self._waits = Histogram(
            "gpuspawner_queue_wait_seconds",
            "From asking to having the server, of places in line that were claimed.",
            registry=registry,
            buckets=WAIT_BUCKETS,
        )
        self._ended = self._count(
            "gpuspawner_queue_ended", "Places in line that came to an end.", "how", ("claimed", "ended")
        )
        self._refused = self._count(
            "gpuspawner_refusals",
            "Refusals, the same one to the same person counted once a minute.",
            "kind",
            [kind.value for kind in RefusalKind],
        )
        self._notices = Counter(
            "gpuspawner_notices",
            "Messages that were delivered, had nobody to go to, or were given up.",
            ["channel", "outcome"],
            registry=registry,
        )
        for channel, outcome in product(Channel, OUTCOMES):
            self._notices.labels(channel.value, outcome)
        self._stops = self._count(
            "gpuspawner_session_stops", "Sessions that were stopped.", "reason", STOP_REASONS
        )
        self._logins = self._count(
            "gpuspawner_login_trouble",
            "What was wrong with logins; the same with the same person is counted once in a while.",
            "what",
            TROUBLE.values(),
        )
        self._ssh = self._count(
            "gpuspawner_ssh_refusals",
            "Keys and connections by SSH that were not let in.",
            "cause",
            [cause.value for cause in Cause],
        )
        self._counted_until = clock()
        self._rendering = threading.Lock()
        registry.register(_Gauges(self))

    def _count(self, name: str, text: str, label: str, known: Iterable[str]) -> Counter:
        # What has not happened yet is there, as 0: rates of what appears with its first time miss that.
        counter = Counter(name, text, [label], registry=self._registry)
        for value in known:
            counter.labels(value)
        return counter

    def observe_tick(self, report: TickReport) -> None:
        """Count a tick."""
        self._tick.observe(report.seconds)
        for step in report.failed:
            self._failures.labels(step).inc()

    def count_ssh_refusal(self, cause: Cause) -> None:
        """Count that somebody was not let in by SSH. Any thread may."""
        self._ssh.labels(cause.value).inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format. A ledger that cannot be read is itself a metric."""
        with self._rendering:
            with contextlib.suppress(LedgerError), self._ledger.read() as unit:
                self.count_new(unit)
            return generate_latest(self._registry)

    # -- from the ledger ------------------------------------------------------------------------------------

    def count_new(self, unit: LedgerUnit) -> None:
        """Count what has ended or was refused since the last look."""
        since, until = self._counted_until, self._clock()
        if until <= since:  # the clock was set back: wait until it has come there again
            return
        for ticket in unit.ended_tickets(self._host, since):
            if since < ticket.state_since <= until:
                claimed = ticket.state is TicketState.CLAIMED
                self._ended.labels("claimed" if claimed else "ended").inc()
                if claimed:
                    self._waits.observe((ticket.state_since - ticket.asked_at).total_seconds())
        known = {kind.value for kind in RefusalKind}
        for event in unit.recent_events(_MOST_REFUSALS, prefix=REFUSED):
            if event.at <= since:
                break
            kind = str(event.data.get("kind"))
            if event.at <= until and kind in known:
                self._refused.labels(kind).inc()
        for event in unit.find_events(EventSearch(kind="session.", since=since), _MOST_REFUSALS):
            if event.at > since and event.at <= until and (why := find_stop_reason(unit, event)) is not None:
                self._stops.labels(why).inc()
        for event in unit.find_events(EventSearch(kind="login.", since=since), _MOST_REFUSALS):
            if since < event.at <= until and event.kind in TROUBLE:
                self._logins.labels(TROUBLE[event.kind]).inc()
        for channel, outcome, number in unit.deliveries_ended(since, until):
            self._notices.labels(channel, outcome).inc(number)
        self._counted_until = until

    def gauges(self) -> Iterator[Metric]:
        """What is so now."""
        readable = GaugeMetricFamily("gpuspawner_ledger_readable", "Whether the ledger can be read.")
        try:
            with self._ledger.read() as unit:
                found = [
                    *self._card_gauges(unit),
                    *self._line_gauges(unit),
                    *self._session_gauges(unit),
                    _family(
                        "gpuspawner_notices_failing",
                        "Messages that could not be delivered so far and are tried again.",
                        "channel",
                        unit.deliveries_open(),
                        [channel.value for channel in Channel],
                    ),
                    self._login_gauge(unit),
                    *_ssh_gauges(unit),
                ]
        except LedgerError:
            found = []
        readable.add_metric([], 1 if found else 0)
        yield readable
        yield from found

    def _login_gauge(self, unit: LedgerUnit) -> Metric:
        silent = GaugeMetricFamily("gpuspawner_login_service_silent", "Whether the login service is silent.")
        silent.add_metric([], 1 if find_login_trouble(unit, self._clock())[0] else 0)
        return silent

    def _card_gauges(self, unit: LedgerUnit) -> Iterator[Metric]:
        now, stale_after = self._clock(), self._stale_after
        inventory, leases = unit.inventory(self._host), unit.live_leases(self._host)
        drains = {drain.device: drain for drain in unit.drains(self._host)}
        holders = by_device(leases)
        states = Tally(
            name_card_state(
                record,
                holders.get(record.device.uuid),
                drains.get(record.device.uuid),
                now=now,
                stale_after=stale_after,
            )
            for record in inventory
        )
        yield _family("gpuspawner_devices", "Devices by what they do.", "state", states, CARD_STATES)
        yield _family(
            "gpuspawner_leases",
            "Leases that hold something, or that a server without a GPU has.",
            "state",
            Tally(lease.state.value for lease in leases),
            [state.value for state in LeaseState if state.live],
        )
        labels = ["device", "model"]
        used = GaugeMetricFamily(
            "gpuspawner_device_utilization_ratio", "Time in which a kernel ran.", labels=labels
        )
        memory = GaugeMetricFamily("gpuspawner_device_memory_used_bytes", "Memory in use.", labels=labels)
        size = GaugeMetricFamily("gpuspawner_device_memory_bytes", "Memory installed.", labels=labels)
        heat = GaugeMetricFamily("gpuspawner_device_temperature_celsius", "Temperature.", labels=labels)
        power = GaugeMetricFamily("gpuspawner_device_power_watts", "Power draw.", labels=labels)
        for record in inventory:
            names = [record.device.uuid, record.device.model]
            size.add_metric(names, record.device.memory_bytes)
            sample = fresh_sample(record, now=now, stale_after=stale_after)
            if sample is None:  # unknown is absent, never 0
                continue
            for family, value, unit_size in (
                (used, sample.utilization_percent, 100),
                (memory, sample.memory_used_bytes, 1),
                (heat, sample.temperature_celsius, 1),
                (power, sample.power_milliwatts, 1000),
            ):
                if value is not None:
                    family.add_metric(names, value / unit_size)
        yield from (used, memory, size, heat, power)

    def _session_gauges(self, unit: LedgerUnit) -> Iterator[Metric]:
        now, watches = self._clock(), unit.watches()
        verdicts: Tally[str] = Tally()
        unknown: Tally[str] = Tally()
        deaf = GaugeMetricFamily(
            "gpuspawner_sessions_deaf", "Sessions whose server hardly answers while their GPUs do nothing."
        )
        silent = 0
        for lease in unit.live_leases(self._host):
            if lease.state is not LeaseState.ACTIVE:
                continue
            watch = watches.get(lease.id)
            missing = find_unknown(watch.activity, now) if watch else (NEVER_SEEN,)
            unknown.update(UNKNOWN_SOURCES.get(one, "everything") for one in missing)
            silent += watch is not None and watch.deaf_since is not None
            judged = watch.verdict if watch else None
            verdicts["unknown" if judged is None or missing else judged.step.value] += 1
        yield _family(
            "gpuspawner_session_verdicts",
            "Sessions that run, by what idleness asks for; unknown for those that cannot be judged.",
            "verdict",
            verdicts,
            [*(step.value for step in Step), "unknown"],
        )
        yield _family(
            "gpuspawner_session_signals_unknown",
            "Sessions of which something cannot be seen, by what.",
            "source",
            unknown,
            [*UNKNOWN_SOURCES.values(), "everything"],
        )
        deaf.add_metric([], silent)
        yield deaf

    def _line_gauges(self, unit: LedgerUnit) -> Iterator[Metric]:
        tickets = unit.live_tickets(self._host)
        yield _family(
            "gpuspawner_queue_tickets",
            "Places in line.",
            "state",
            Tally(ticket.state.value for ticket in tickets),
            [state.value for state in TicketState if state.live],
        )
        waiting = [ticket.asked_at for ticket in tickets if ticket.state is TicketState.WAITING]
        oldest = GaugeMetricFamily(
            "gpuspawner_queue_longest_wait_seconds", "Of who waits now, how long the longest has; 0 for none."
        )
        oldest.add_metric([], max(0.0, (self._clock() - min(waiting)).total_seconds()) if waiting else 0)
        yield oldest


def find_stop_reason(unit: LedgerUnit, event: Event) -> str | None:
    """Why a session was stopped, as one of :data:`STOP_REASONS`; None for an event that stops none."""
    if event.kind == STOPPING:
        return "by_hand"
    if event.kind != "session.ended" or event.lease_id is None:
        return None
    idle = unit.newest_of(event.lease_id, IDLE_STOP)
    if idle is None or idle.data.get("dry_run"):
        return "end"
    lease = unit.lease(event.lease_id)
    if lease is None or lease.end_reason != idle.reason:  # it was withdrawn, or somebody set another end
        return "end"
    if idle.reason == FINISHED:
        return "finished"
    return "idle_session" if idle.data.get("clock") == Clock.SESSION.value else "idle_gpus"


def _ssh_gauges(unit: LedgerUnit) -> Iterator[Metric]:
    for name, text, number in (
        ("gpuspawner_ssh_connections", "Connections by SSH that are open.", len(unit.open_ssh_sessions())),
        ("gpuspawner_ssh_keys", "Keys that people have added for SSH.", len(unit.ssh_keys())),
    ):
        family = GaugeMetricFamily(name, text)
        family.add_metric([], number)
        yield family


class _Gauges(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.gauges()


def _family(name: str, text: str, label: str, counts: Tally[str], known: Iterable[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value in known:
        family.add_metric([value], counts[value])
    return family
