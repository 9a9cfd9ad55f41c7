"""Sessions: seeing them, and what teachers and administrators do about them."""

from __future__ import annotations

from datetime import timedelta

from gpuspawner.allocator.usage import held_in_window
from gpuspawner.controller.services import Services
from gpuspawner.core.culling import find_demanded, plan_keep
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.extension import Extension, plan_own_extension
from gpuspawner.core.idleness import Verdict
from gpuspawner.core.model import Lease
from gpuspawner.core.policy import IdleSessions, Limit
from gpuspawner.core.roster import Right
from gpuspawner.core.words import describe_duration, mark

from . import models as m
from .access import find_lease, find_lease_in_charge, find_own_lease, sees_lease
from .routes import Call

LONGEST_EXTENSION = timedelta(days=14)
"""From now; what is longer is a slip, or a matter for the policy."""


def list_sessions(call: Call) -> m.Sessions:
    """One's own sessions, those of the courses one teaches, or all."""
    visible = [lease for lease in call.services.sessions.live() if sees_lease(call, lease)]
    return m.Sessions(at=call.services.clock(), sessions=[_session(lease) for lease in visible])


def show_session(call: Call) -> m.Session:
    """One session, also one that is over."""
    return _session(find_lease(call))


def extend(call: Call) -> m.Session:
    """Let a session go on, as far as nothing stands in the way."""
    body: m.ExtendBody = call.body
    lease = find_lease_in_charge(call, Right.EXTEND, owner_too=False)
    furthest = call.services.clock() + LONGEST_EXTENSION
    if body.until > furthest:
        raise InvalidRequest(f"A session can be extended until {furthest:%Y-%m-%d %H:%M} UTC at most.")
    limit, limit_reason = call.services.line.latest_end(lease)
    extended = call.services.sessions.extend(
        lease.id,
        body.until,
        limit=limit,
        limit_reason=limit_reason,
        actor=call.caller.actor,
        reason=body.reason,
    )
    return _session(extended)


def show_own_extension(call: Call) -> m.OwnExtension:
    """What one more step would come to, for its own person."""
    _, found = _plan_own_extension(call)
    return m.OwnExtension(until=found.until, why_not=found.why_not)


def extend_own(call: Call) -> m.Session:
    """Let one's own session go on by one step."""
    body: m.OwnExtendBody = call.body or m.OwnExtendBody()
    lease, found = _plan_own_extension(call)
    if found.until is None:
        raise Conflict(found.why_not)
    if body.until is not None and body.until != found.until:
        raise Conflict(
            f"It could end at {found.until:%Y-%m-%d %H:%M} UTC now, which is not what you were shown. Look "
            "again; nothing was done."
        )
    extended = call.services.sessions.extend(
        lease.id,
        found.until,
        limit=None,
        limit_reason="",
        actor=call.caller.actor,
        reason=mark(f"{describe_duration(found.by)} more for themselves, as the policy allows"),
    )
    return _session(extended)


def _plan_own_extension(call: Call) -> tuple[Lease, Extension]:
    """One's own session, and what a step would come to. Raises: NotFound, Forbidden, SettingsError."""
    lease, services, caller = find_own_lease(call), call.services, call.caller
    allowance = services.policies.allowance(lease.owner, caller.groups)
    situation = services.see_line().situation
    with services.ledger.read() as unit:
        held = held_in_window(unit, services.host, situation.leases, situation.now, owner=lease.owner)
    return lease, plan_own_extension(lease, situation, allowance, held.get(lease.owner, {}))


def show_idleness(call: Call) -> m.Idleness:
    """Whether something is done in one's own session, what follows, and how long it can be kept."""
    lease, now = find_own_lease(call), call.services.clock()
    with call.services.ledger.read() as unit:
        watch, wish = unit.watch_of(lease.id), unit.wish_of(lease.id)
    verdict = watch.verdict if watch else None
    keepable = plan_keep(wish, _find_keep(call, lease), now, demanded=is_demanded(call.services, lease))
    return m.Idleness(
        step=verdict.step.value if verdict else None,
        at=verdict.at if verdict else None,
        reason=verdict.reason if verdict else "",
        signals=list_signals(verdict),
        acted_on=call.services.policies.idle_sessions() is IdleSessions.STOP,
        kept_until=wish.kept_until if wish.kept_until and wish.kept_until > now else None,
        finish=wish.finish,
        can_be_kept_until=keepable.until,
        why_not=keepable.why_not,
    )


def list_signals(verdict: Verdict | None) -> list[m.Signal]:
    """What a verdict rests on."""
    signals = verdict.signals if verdict else ()
    return [m.Signal(what=one.what, source=one.source, at=one.at, says=one.says) for one in signals]


def keep_own(call: Call) -> m.Kept:
    """Keep one's own session for a while, whatever is done in it."""
    lease = find_own_lease(call)
    until = call.services.sessions.keep(
        lease.id,
        _find_keep(call, lease),
        demanded=is_demanded(call.services, lease),
        actor=call.caller.actor,
    )
    return m.Kept(until=until)


def finish_own(call: Call) -> m.Idleness:
    """Let one's own session end by itself as soon as nothing runs in it any more, or not."""
    body: m.FinishBody = call.body
    lease = find_own_lease(call)
    if body.finish and call.services.policies.idle_sessions() is IdleSessions.IGNORE:
        raise Conflict("Nobody looks into sessions here, so none can end by itself.")
    call.services.sessions.finish(lease.id, finish=body.finish, actor=call.caller.actor)
    return show_idleness(call)


def _find_keep(call: Call, lease: Lease) -> Limit[timedelta]:
    return call.services.policies.allowance(lease.owner, call.caller.groups).keep


def is_demanded(services: Services, lease: Lease) -> bool:
    """Whether somebody waits for what a session holds. Raises: LedgerError."""
    return lease.id in find_demanded(services.see_line().situation, [lease])


def stop(call: Call) -> m.Session:
    """End a session: now, or when its person had time to save."""
    body: m.StopBody = call.body
    lease, actor = find_lease_in_charge(call, Right.STOP, owner_too=True), call.caller.actor
    if body.grace_seconds:
        grace = timedelta(seconds=body.grace_seconds)
        return _session(call.services.sessions.stop_after(lease.id, grace, reason=body.reason, actor=actor))
    stopped = call.services.sessions.request_stop(lease.id, reason=body.reason, actor=actor)
    call.services.hub.stop_server(lease.owner, lease.server)
    return _session(stopped)


def message(call: Call) -> m.MessageInfo:
    """Tell the person of a session something."""
    lease = find_lease_in_charge(call, Right.MESSAGE, owner_too=False)
    sent = call.services.sessions.message(lease.id, call.body.text, actor=call.caller.actor)
    return m.MessageInfo(at=sent.at, text=sent.text, actor=sent.actor, lease_id=sent.lease_id)


def _session(lease: Lease) -> m.Session:
    return m.Session(
        id=lease.id,
        owner=lease.owner,
        server=lease.server,
        state=lease.state.value,
        reason=lease.reason,
        devices=list(lease.devices),
        image=lease.image,
        digest=lease.digest,
        courses=list(lease.party.courses),
        created_at=lease.created_at,
        ends_at=lease.ends_at,
        end_reason=lease.end_reason,
    )
