"""The use cases around idle sessions: look, judge, warn, and set the end that is then carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.activity import Kernels, Look, SshUse, begin_activity, find_deaf, look_at_gpus, observe
from gpuspawner.core.culling import DEAF, NO_WISH, Told, Watch, Wish, find_demanded, plan_idle
from gpuspawner.core.idleness import Limits
from gpuspawner.core.model import Event, Lease, LeaseState, Message, Sample
from gpuspawner.core.usage import SAMPLE_SPEAKS_FOR
from gpuspawner.core.words import mark

from .clock import utc_now
from .gather import gather

MOST_TO_READ = timedelta(hours=2)
"""After a longer time without a look, what the GPUs did before is not read: they may have worked."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What was learned of one session from outside the ledger; None is not known."""

    at: datetime
    kernels: Kernels | None = None
    cpu_seconds: float | None = None
    ssh: SshUse | None = None
    """None where nobody is in it by SSH."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A session, and what is to be done about it."""

    lease: Lease
    wish: Wish
    """What its person asked for."""
    watch: Watch
    """With its newest verdict."""
    told: Told | None
    """What its person is told now; None for nothing new."""
    grows_deaf: bool = False
    """Whether it is new that its server hardly answers."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is in the ledger at one moment."""

    leases: tuple[Lease, ...]
    """Those that run."""
    watches: Mapping[str, Watch]
    wishes: Mapping[str, Wish]
    samples: Mapping[str, tuple[Sample, ...]]
    demanded: frozenset[str]


class IdleWatch:
    """Looks after sessions in which nothing is done.

    Args:
        ledger: Where everything is kept.
        host: The host whose sessions these are.
        find_limits: Says what the policy allows a session now; asked once, when it is first seen, and only
            where that was not noted at its start.
        stale_after: Age from which a report on a device is no longer believed.
        clock: Says the present.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        find_limits: Callable[[Lease], Limits],
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger, self._host, self._find_limits = ledger, host, find_limits
        self._stale_after, self._clock = stale_after, clock

    def running(self) -> tuple[Lease, ...]:
        """The sessions to look at. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return _list_running(unit, self._host)

    def judge(
        self,
        inside: Mapping[str, Inside],
        *,
        hold_stops: bool = False,
        only_report: bool = False,
        before: Mapping[str, Watch] | None = None,
    ) -> tuple[Judged, ...]:
        """Judge every session that runs; nothing is written.

        Args:
            inside: What was learned of each, by the lease's id. Of whom nothing is there nothing is known.
            hold_stops: The clock is not to be believed for the moment.
            only_report: Nobody is to be told or stopped, but by their own wish.
            before: What came of a look before this one, in place of what is stored.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            seen = self._gather(unit, now)
        found = []
        for lease in seen.leases:
            watch = (before or {}).get(lease.id) or seen.watches.get(lease.id)
            if watch is None:
                watch = Watch(lease.id, self._find_limits(lease), begin_activity(lease.created_at))
            look = _make_look(lease, watch, inside.get(lease.id, Inside(now)), seen.samples)
            watch = replace(watch, activity=observe(watch.activity, look, has_gpus=bool(lease.devices)))
            wish = seen.wishes.get(lease.id, NO_WISH)
            watch, told = plan_idle(
                watch,
                lease,
                now,
                demanded=lease.id in seen.demanded,
                wish=wish,
                hold_stops=hold_stops,
                only_report=only_report,
            )
            was_deaf = watch.deaf_since
            deaf = find_deaf(watch.activity, was_deaf) if lease.devices else None
            watch = replace(watch, deaf_since=deaf)
            grows_deaf = deaf is not None and was_deaf is None
            found.append(Judged(lease, wish, watch, told, grows_deaf))
        return tuple(found)

    def carry_out(self, judged: tuple[Judged, ...]) -> None:
        """Write down what was judged, tell the people, and end what has come to its end.

        An end is set for now; whoever ends sessions then does so, as often as it takes.

        Args:
            judged: From :meth:`judge`.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            live = {lease.id: lease for lease in _list_running(unit, self._host)}
            wishes = unit.wishes()
            # What was noted at the start of a session that is not there yet stays.
            held = {lease.id for lease in unit.live_leases(self._host) if not lease.state.ending}
            unit.drop_watches([one for one in unit.watched() if one not in held])
            # What its person asked for meanwhile, or another end, is judged at the next look.
            still = [
                one
                for one in judged
                if live.get(one.lease.id) == one.lease and wishes.get(one.lease.id, NO_WISH) == one.wish
            ]
            unit.put_watches([one.watch for one in still])
            for one in still:
                if one.told is not None:
                    self._tell(unit, one, one.told, now)
                if one.grows_deaf and one.watch.deaf_since is not None:
                    unit.add_event(_note_deaf(one.lease, one.watch.deaf_since, now))

    def _tell(self, unit: LedgerUnit, judged: Judged, told: Told, now: datetime) -> None:
        lease, verdict = judged.lease, judged.watch.verdict
        evidence: dict[str, object] = {"dry_run": told.reported, "owner": lease.owner, "server": lease.server}
        if verdict is not None:
            evidence["clock"] = verdict.clock.value if verdict.clock else None
            evidence["signals"] = [
                asdict(one) | {"at": one.at.isoformat() if one.at else None} for one in verdict.signals
            ]
        unit.add_event(Event(now, told.kind, told.text, "culler", lease.id, data=evidence))
        if told.gives is not None:
            unit.update_lease(replace(lease, ends_at=told.gives.at, end_reason=told.text, warned=1))
        elif not told.reported:
            unit.add_message(Message(now, lease.owner, told.text, "culler", lease.id))
        if told.takes_back is not None:
            was = told.takes_back
            unit.update_lease(
                replace(lease, ends_at=was.ends_at, end_reason=was.end_reason, warned=was.warned)
            )

    def _gather(self, unit: LedgerUnit, now: datetime) -> _Seen:
        leases = _list_running(unit, self._host)
        watches = unit.watches()
        situation = gather(unit, self._host, now=now, stale_after=self._stale_after)
        since: dict[str, datetime] = {}
        for lease in leases:
            for uuid in lease.devices:
                since[uuid] = max(_last_look(lease, watches), now - MOST_TO_READ) - 2 * SAMPLE_SPEAKS_FOR
        samples = {uuid: unit.recent_samples(self._host, uuid, at) for uuid, at in since.items()}
        return _Seen(leases, watches, unit.wishes(), samples, find_demanded(situation, leases))


def _note_deaf(lease: Lease, since: datetime, now: datetime) -> Event:
    """What administrators are told: they alone can see what becomes of such a session."""
    text = mark(
        f"the server has hardly answered, if at all, since {since:%H:%M} UTC and its GPUs do nothing; nobody "
        "is stopped for what cannot be seen, so look at it, and stop it by hand if nothing runs in it"
    )
    return Event(now, DEAF, text, "culler", lease.id, data={"owner": lease.owner, "server": lease.server})


def _list_running(unit: LedgerUnit, host: str) -> tuple[Lease, ...]:
    return tuple(
        lease
        for lease in unit.live_leases(host)
        if lease.state is LeaseState.ACTIVE and lease.container_id is not None
    )


def _last_look(lease: Lease, watches: Mapping[str, Watch]) -> datetime:
    watch = watches.get(lease.id)
    look = watch.activity.look if watch else None
    return look.at if look else lease.created_at


def _make_look(lease: Lease, watch: Watch, inside: Inside, samples: Mapping[str, tuple[Sample, ...]]) -> Look:
    before = watch.activity.look
    # Some samples come to the ledger late: to look at them twice does no harm.
    since = (before.at if before else lease.created_at) - SAMPLE_SPEAKS_FOR
    gpu = look_at_gpus(samples, lease.devices, since, inside.at) if lease.devices else None
    return Look(inside.at, gpu, inside.kernels, inside.cpu_seconds, inside.ssh)
