"""A session asked for from inside of it, by its server with the server's own token: that one and no other."""

from __future__ import annotations

from datetime import datetime

from gpuspawner.controller.cardstate import fresh_sample
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.inside import Ahead, Remedy, choose_remedy, find_stop
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.policy import IdleSessions
from gpuspawner.core.words import mark

from . import insidemodels as im
from . import leases
from . import models as m
from .basics import Done
from .routes import Call, Forbidden

_OWN_WISH = mark("its person stopped it in JupyterLab")


def show(call: Call) -> im.InsideView:
    """What the session's GPUs do, what stops it, and what its person asked for."""
    lease, services, now = _find_lease(call), call.services, call.services.clock()
    with services.ledger.read() as unit:
        watch, wish = unit.watch_of(lease.id), unit.wish_of(lease.id)
        records = {one.device.uuid: one for one in unit.inventory(services.host)}
    acts = services.policies.idle_sessions() is IdleSessions.STOP
    stop, verdict = find_stop(lease, watch, wish, now, acts=acts), watch.verdict if watch else None
    gpus = []
    for uuid in lease.devices:
        record = records.get(uuid)
        sample = record and fresh_sample(record, now=now, stale_after=services.stale_after)
        gpus.append(
            im.InsideGpu(
                uuid=uuid,
                model=record.device.model if record else None,
                memory_bytes=record.device.memory_bytes if record else None,
                at=sample.at if sample else None,
                utilization_percent=sample.utilization_percent if sample else None,
                memory_used_bytes=sample.memory_used_bytes if sample else None,
            )
        )
    return im.InsideView(
        at=now,
        server=lease.server,
        gpus=gpus,
        stop=im.InsideStop(at=stop.at, cause=stop.cause.value, reason=stop.reason, warned=stop.warned)
        if stop
        else None,
        ending=lease.warned == 0 or lease.state.ending,
        reason=verdict.reason if verdict else "",
        signals=leases.list_signals(verdict),
        acted_on=acts,
        kept_until=wish.kept_until if wish.kept_until and wish.kept_until > now else None,
        finish=wish.finish,
    )


def keep(call: Call) -> im.InsideView:
    """*Keep for 1 h*: from idleness, or by moving an end that is less than that off."""
    call = _about(call, lease := _find_lease(call))
    now = call.services.clock()
    stop = _find_stop(call, lease, now)
    if choose_remedy(stop, now) is Remedy.EXTEND:
        leases.extend_own(call)
    elif call.services.policies.idle_sessions() is IdleSessions.STOP:
        leases.keep_own(call)
    elif stop is not None:
        raise Conflict(
            f"Idle sessions are not stopped here, and this one ends at {stop.at:%Y-%m-%d %H:%M} UTC. "
            "Ask again in its last hour."
        )
    else:
        raise Conflict("Nothing stops this session, so there is nothing to keep it from.")
    return show(call)


def finish(call: Call) -> im.InsideView:
    """*Finish and release*, or its withdrawal."""
    call = _about(call, _find_lease(call))
    leases.finish_own(call)
    return show(call)


def stop(call: Call) -> Done:
    """*Save all and stop*, after the saving."""
    call = _about(call, _find_lease(call), m.StopBody(reason=_OWN_WISH))
    leases.stop(call)
    return Done()


def _find_lease(call: Call) -> Lease:
    """The session of the server whose token this is. Raises: NotFound, Forbidden."""
    caller, services = call.caller, call.services
    if caller.person is None or caller.server is None:
        raise Forbidden("Only a server can ask this, of its own session and with its own token.")
    with services.ledger.read() as unit:
        mine = unit.live_leases(services.host, owner=caller.person)
    found = [one for one in mine if one.server == caller.server and one.state is LeaseState.ACTIVE]
    if not found:
        raise NotFound("There is no session of this server.")
    return found[-1]


def _find_stop(call: Call, lease: Lease, now: datetime) -> Ahead | None:
    with call.services.ledger.read() as unit:
        watch, wish = unit.watch_of(lease.id), unit.wish_of(lease.id)
    acts = call.services.policies.idle_sessions() is IdleSessions.STOP
    return find_stop(lease, watch, wish, now, acts=acts)


def _about(call: Call, lease: Lease, body: object = None) -> Call:
    """The same request, of this session by its id."""
    return Call(call.services, call.caller, {"lease_id": lease.id}, body=body or call.body)
