"""The use cases around a session that runs: its end, messages to its person, and stopping it.

Stopping is asked for at the Hub, by the caller: the Hub then lets go of the lease, and the agent proves the
devices free. Here it is decided, told and written down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.culling import Wish, plan_keep
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound
from gpuspawner.core.model import Event, Lease, LeaseState, Message
from gpuspawner.core.policy import Limit
from gpuspawner.core.sessions import WARN_MINUTES, Stop, Warn, choose_end, find_newest, plan_ends
from gpuspawner.core.undo import tell_end
from gpuspawner.core.words import describe_duration, mark, read_text

from .clock import utc_now
from .desk import let_go

_MOST_TEXT = 1000
LEAST_GRACE = timedelta(minutes=WARN_MINUTES[-1])
MOST_GRACE = timedelta(days=1)
"""What is longer is no stop: it is for the policy, or for a talk."""


class Sessions:
    """What is done about sessions that run.

    Args:
        ledger: Where everything is kept.
        host: The host whose sessions these are.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.ledger = ledger
        self._host = host
        self._clock = clock

    def live(self) -> tuple[Lease, ...]:
        """Every session that holds something. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.live_leases(self._host)

    def find(self, lease_id: str) -> Lease:
        """One session, ended or not. Raises: NotFound, LedgerError."""
        with self.ledger.read() as unit:
            return self._find(unit, lease_id)

    def extend(
        self,
        lease_id: str,
        until: datetime,
        *,
        limit: datetime | None,
        limit_reason: str,
        actor: str,
        reason: str,
    ) -> Lease:
        """Let a session go on for longer; its warnings begin anew.

        Args:
            lease_id: The session.
            until: Its new end.
            limit: The latest end that is possible; None for no limit.
            limit_reason: What stands at that limit, such as a reservation, as a sentence.
            actor: Who extends it.
            reason: Why.

        Raises:
            NotFound: There is no such session.
            Conflict: It has no end, or ends already, or something stands in the way.
            InvalidRequest: The new end is not later than the one it has.
            LedgerError: The ledger cannot be used.
        """
        why, now = read_text(reason, "A reason"), self._clock()
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            if lease.ends_at is None:
                raise Conflict("This session has no end; there is nothing to extend.")
            if lease.warned == 0:
                raise Conflict("The end of this session has come, and its server is being stopped.")
            if until <= max(now, lease.ends_at):
                raise InvalidRequest(
                    f"The new end must be later than {max(now, lease.ends_at):%Y-%m-%d %H:%M} UTC."
                )
            if limit is not None and until > limit:
                raise Conflict(
                    f"The session cannot go on beyond {limit:%Y-%m-%d %H:%M} UTC: {limit_reason} Ask for an "
                    "earlier end."
                )
            before = lease
            lease = replace(
                lease, ends_at=until, end_reason=mark(f"{actor} extended it until then: {why}"), warned=None
            )
            unit.update_lease(lease)
            undo = {"ends": [tell_end(before, lease)]}
            self._note(unit, lease, "session.extended", why, actor, until=until.isoformat(), undo=undo)
            if actor != lease.owner:
                text = mark(f"{actor} extended your session until {until:%Y-%m-%d %H:%M} UTC: {why}")
                unit.add_message(Message(now, lease.owner, text, actor, lease.id))
            return lease

    def shorten(
        self,
        lease_id: str,
        until: datetime,
        *,
        actor: str,
        reason: str,
        warn_minutes: Sequence[int] = WARN_MINUTES,
    ) -> Lease:
        """Give a session under way an end, or an earlier one, and say so to its person.

        It never ends before its person had the time of the first warning.

        Raises:
            NotFound: There is no such session.
            Conflict: It ends already.
            LedgerError: The ledger cannot be used.
        """
        why, now = read_text(reason, "A reason"), self._clock()
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            end = choose_end(until, now, warn_minutes)
            if lease.ends_at is not None and lease.ends_at <= end:
                return lease
            lease = replace(lease, ends_at=end, end_reason=why, warned=None)
            unit.update_lease(lease)
            self._note(unit, lease, "session.shortened", why, actor, until=end.isoformat())
            text = mark(f"Your session will end at {end:%Y-%m-%d %H:%M} UTC: {why}")
            unit.add_message(Message(now, lease.owner, text, actor, lease.id))
            return lease

    def keep(self, lease_id: str, bound: Limit[timedelta], *, demanded: bool, actor: str) -> datetime:
        """Keep a session for a while whatever is done in it; a warning that stands is withdrawn.

        Args:
            lease_id: The session.
            bound: How long in all it may be kept while somebody waits for what it holds.
            demanded: Whether somebody waits.
            actor: Whose it is.

        Returns:
            Until when.

        Raises:
            NotFound: There is no such session.
            Conflict: It ends already, or was kept for as long as it may be.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            self._require_time(lease, now)
            wish = unit.wish_of(lease.id)
            planned = plan_keep(wish, bound, now, demanded=demanded)
            if planned.until is None:
                raise Conflict(planned.why_not)
            until = planned.until
            # Who wants to keep it does not want it to end by itself.
            unit.put_wish(lease.id, Wish(until, planned.total))
            text = mark(f"it is kept until {until:%Y-%m-%d %H:%M} UTC, whatever is done in it")
            self._note(unit, lease, "session.kept", text, actor, until=until.isoformat())
            return until

    def finish(self, lease_id: str, *, finish: bool, actor: str) -> None:
        """Let a session end by itself as soon as nothing runs in it any more, or not.

        Raises:
            NotFound: There is no such session.
            Conflict: It ends already.
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            self._require_time(lease, self._clock())
            wish = unit.wish_of(lease.id)
            if wish.finish == finish:
                return
            kept_until = None if finish else wish.kept_until
            unit.put_wish(lease.id, replace(wish, finish=finish, kept_until=kept_until))
            text = mark("it ends as soon as nothing runs in it any more")
            if not finish:
                text = mark("it does not end by itself any more when nothing runs in it")
            self._note(unit, lease, "session.finish", text, actor, finish=finish)

    def message(self, lease_id: str, text: str, *, actor: str) -> Message:
        """Leave a message for the person of a session.

        Raises:
            InvalidRequest: The text is empty or too long.
            NotFound: There is no such session.
            Conflict: It is over.
            LedgerError: The ledger cannot be used.
        """
        plain = read_text(text, "A message", _MOST_TEXT)
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            message = Message(self._clock(), lease.owner, plain, actor, lease.id)
            unit.add_message(message)
            self._note(unit, lease, "session.message", plain, actor)
            return message

    def announce(self, text: str, *, actor: str) -> int:
        """Leave a message for everybody who has a session; once, however many they have.

        Returns:
            How many people it is for.

        Raises:
            InvalidRequest: The text is empty or too long.
            LedgerError: The ledger cannot be used.
        """
        plain, now = read_text(text, "A message", _MOST_TEXT), self._clock()
        with self.ledger.write() as unit:
            newest = find_newest(unit.live_leases(self._host))
            for lease in newest.values():
                unit.add_message(Message(now, lease.owner, plain, actor, lease.id))
            data: dict[str, object] = {"people": sorted(newest)}
            unit.add_event(Event(now, "session.announcement", plain, actor, data=data))
        return len(newest)

    def request_stop(self, lease_id: str, *, reason: str, actor: str) -> Lease:
        """Write down who stops a session and why, and tell its person; the caller asks the Hub to do it.

        Raises:
            InvalidRequest: There is no reason.
            NotFound: There is no such session.
            Conflict: It ends already.
            LedgerError: The ledger cannot be used.
        """
        why = read_text(reason, "A reason")
        with self.ledger.write() as unit:
            lease = self._require_running(unit, lease_id)
            self._note(unit, lease, "session.stopping", why, actor)
            if actor != lease.owner:
                text = mark(f"{actor} stopped your session: {why}")
                unit.add_message(Message(self._clock(), lease.owner, text, actor, lease.id))
            return lease

    def stop_after(self, lease_id: str, grace: timedelta, *, reason: str, actor: str) -> Lease:
        """Set the end of a session so far off that its person can save; it is stopped then like at any end.

        Args:
            lease_id: The session.
            grace: How long it goes on.
            reason: Why.
            actor: Who stops it.

        Raises:
            InvalidRequest: There is no reason, or the grace is too short to be warned in, or too long.
            NotFound: There is no such session.
            Conflict: It ends already, or sooner.
            LedgerError: The ledger cannot be used.
        """
        why, now = read_text(reason, "A reason"), self._clock()
        if not LEAST_GRACE <= grace <= MOST_GRACE:
            raise InvalidRequest(
                f"A session is stopped at once, or after {describe_duration(LEAST_GRACE)} to "
                f"{describe_duration(MOST_GRACE)}."
            )
        end = now + grace
        with self.ledger.write() as unit:
            before = self._require_running(unit, lease_id)
            if before.warned == 0 or (before.ends_at is not None and before.ends_at <= end):
                raise Conflict("This session ends sooner than that. Stop it at once, or leave it as it is.")
            lease = replace(before, ends_at=end, end_reason=mark(f"{actor} stops it: {why}"), warned=None)
            unit.update_lease(lease)
            undo = {"ends": [tell_end(before, lease)]}
            self._note(unit, lease, "session.stopping", why, actor, ends_at=end.isoformat(), undo=undo)
            if actor != lease.owner:
                text = mark(
                    f"{actor} stops your session at {end:%Y-%m-%d %H:%M} UTC, so save your work: {why}"
                )
                unit.add_message(Message(now, lease.owner, text, actor, lease.id))
            return lease

    def end_now(self, lease_id: str, *, reason: str, actor: str) -> Lease:
        """End a session without the Hub: its lease is let go of, and the agent ends the server.

        Raises:
            InvalidRequest: There is no reason.
            NotFound: There is no such session.
            Conflict: It ends already.
            LedgerError: The ledger cannot be used.
        """
        lease = self.request_stop(lease_id, reason=reason, actor=actor)
        with self.ledger.write() as unit:
            let_go(unit, self._require_running(unit, lease.id), self._clock(), f"{actor}: {reason}", actor)
            return self._find(unit, lease.id)

    def plan_ends(
        self, warn_minutes: Sequence[int] = WARN_MINUTES, *, hold_stops: bool = False
    ) -> tuple[Warn | Stop, ...]:
        """What the ends of sessions ask for now. Raises: LedgerError."""
        return plan_ends(self.live(), self._clock(), warn_minutes, hold_stops=hold_stops)

    def carry_out(self, planned: Warn | Stop, actor: str = "controller") -> bool:
        """Write a warning or an end down, and tell the person; once.

        Returns:
            Whether it still holds: false when the session has changed since this was planned.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            lease = unit.lease(planned.lease.id)
            if lease is None or not _is_same(lease, planned.lease):
                return False
            if isinstance(planned, Stop):
                if planned.first:
                    unit.update_lease(replace(lease, warned=0))
                    self._tell(unit, lease, "session.ended", planned.text, actor)
                return True
            unit.update_lease(replace(lease, warned=planned.minutes, ends_at=planned.ends_at))
            self._tell(unit, lease, "session.warned", planned.text, actor)
            return True

    # -- parts ----------------------------------------------------------------------------------------------

    def _find(self, unit: LedgerUnit, lease_id: str) -> Lease:
        lease = unit.lease(lease_id)
        if lease is None or lease.host != self._host:
            raise NotFound(f"There is no session {lease_id}.")
        return lease

    @staticmethod
    def _require_time(lease: Lease, now: datetime) -> None:
        """Raises: Conflict: The session's end has come."""
        if lease.warned == 0 or (lease.ends_at is not None and lease.ends_at <= now):
            raise Conflict("The end of this session has come, and its server is being stopped.")

    def _require_running(self, unit: LedgerUnit, lease_id: str) -> Lease:
        lease = self._find(unit, lease_id)
        if lease.state.ending:
            raise Conflict("This session is over already.")
        return lease

    def _note(
        self,
        unit: LedgerUnit,
        lease: Lease,
        kind: str,
        reason: str,
        actor: str,
        **data: object,
    ) -> None:
        unit.add_event(Event(self._clock(), kind, reason, actor, lease.id, data=data))

    def _tell(self, unit: LedgerUnit, lease: Lease, kind: str, text: str, actor: str) -> None:
        self._note(unit, lease, kind, text, actor)
        unit.add_message(Message(self._clock(), lease.owner, text, actor, lease.id))


def _is_same(lease: Lease, planned: Lease) -> bool:
    return (
        lease.state is LeaseState.ACTIVE
        and lease.ends_at == planned.ends_at
        and lease.warned == planned.warned
    )
