"""One's servers: the page, stopping one, and what its GPUs did as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta

from tornado.web import HTTPError

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.allocator.lastend import TOLD_FOR, find_again, tell_end
from gpuspawner.allocator.places import LineView
from gpuspawner.allocator.usage import held_in_window
from gpuspawner.controller.api import leases
from gpuspawner.controller.api.access import find_lease
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.views.servers import (
    Drawn,
    Judged,
    Over,
    ServersPage,
    draw_use,
    is_session,
    plot_window,
    view_servers,
)
from gpuspawner.core.budget import Held
from gpuspawner.core.culling import Keepable, Watch, Wish, find_demanded, plan_keep
from gpuspawner.core.errors import NotFound, SettingsError
from gpuspawner.core.extension import STEP, Extension, plan_own_extension
from gpuspawner.core.model import Lease, Sample
from gpuspawner.core.policy import IdleSessions
from gpuspawner.core.situation import Situation
from gpuspawner.core.words import mark

from .operation import run
from .page import File, Outcome, Visit

OWN_WISH = mark("its person stopped it")
SETTLED = timedelta(seconds=4)
"""So long after a time all that was measured until then is in the ledger."""
CSV_COLUMNS = ("time", "gpu", "utilization_percent", "memory_used_bytes")


def load_servers(visit: Visit) -> ServersPage:
    """The page's model. Raises: LedgerError."""
    person, view = visit.caller.person, visit.line
    mine = [lease for lease in view.situation.leases if is_session(lease, person) and not lease.state.ending]
    with visit.services.ledger.read() as unit:
        did = {uuid: _find_use(visit, unit, view, lease, uuid) for lease in mine for uuid in lease.devices}
        live, host = view.situation.leases, visit.services.host
        held = held_in_window(unit, host, live, view.at, owner=person) if mine else {}
        messages = unit.messages_for(person) if person is not None else ()
        over = _find_over(unit, host, person, view) if person is not None else ()
        watches = {lease.id: unit.watch_of(lease.id) for lease in mine}
        wishes = {lease.id: unit.wish_of(lease.id) for lease in mine}
    return view_servers(
        view,
        person,
        visit.links,
        did=did,
        messages=messages,
        over=over,
        extensions=_plan_extensions(visit, view.situation, mine, held),
        verdicts=_plan_keeps(visit, view.situation, mine, watches, wishes),
        acts=_find_mode(visit) is IdleSessions.STOP,
    )


def _find_over(unit: LedgerUnit, host: str, person: str, view: LineView) -> list[Over]:
    """What is over and to be told: what its person did not wish for, or the last one where none runs."""
    running = {
        one.server for one in view.situation.leases if is_session(one, person) and not one.state.ending
    }
    newest = {one.server: one for one in unit.sessions_over(host, person, view.at - TOLD_FOR)}
    ends = {one.id: tell_end(unit, one) for one in newest.values() if one.server not in running}
    found = [one for one in newest.values() if ends.get(one.id) is not None]
    last = unit.last_session(host, person)
    if not running and last is not None and last not in found:
        found.append(last)
        ends[last.id] = tell_end(unit, last)
    return [
        Over(one, end.text if (end := ends[one.id]) else None, find_again(unit, one))
        for one in sorted(found, key=lambda one: one.created_at, reverse=True)
    ]


def _plan_keeps(
    visit: Visit,
    situation: Situation,
    mine: Iterable[Lease],
    watches: Mapping[str, Watch | None],
    wishes: Mapping[str, Wish],
) -> dict[str, Judged]:
    """By lease that was judged, its verdict, and what can be asked for."""
    judged = [
        (lease, watch.verdict)
        for lease in mine
        if (watch := watches[lease.id]) is not None and watch.verdict is not None
    ]
    demanded = find_demanded(situation, [lease for lease, _ in judged]) if judged else ()
    found = {}
    for lease, verdict in judged:
        try:
            bound = visit.services.policies.allowance(lease.owner, visit.caller.groups).keep
            keepable = plan_keep(wishes[lease.id], bound, situation.now, demanded=lease.id in demanded)
        except SettingsError:
            keepable = Keepable(None, timedelta(0), mark("The policy cannot be read at the moment."))
        found[lease.id] = Judged(verdict, keepable, wishes[lease.id].finish)
    return found


def _find_mode(visit: Visit) -> IdleSessions:
    try:
        return visit.services.policies.idle_sessions()
    except SettingsError:
        return IdleSessions.REPORT


def _find_use(visit: Visit, unit: LedgerUnit, view: LineView, lease: Lease, uuid: str) -> Drawn:
    """What a GPU did in a session; its samples are read again when the plots move on, and not before."""
    window = plot_window(view.at)
    record = next((one for one in view.situation.inventory if one.device.uuid == uuid), None)
    most = record.device.memory_bytes if record else None

    def make() -> Drawn:
        # What was measured before a session began is somebody else's.
        samples = unit.recent_samples(visit.services.host, uuid, max(window.since, lease.created_at))
        return draw_use(samples, window, memory_bytes=most, begin=lease.created_at)

    if view.at - window.until < SETTLED:
        return make()
    return visit.services.drawn.get(window.until, (lease.id, uuid, most), make)


def _plan_extensions(
    visit: Visit, situation: Situation, mine: Iterable[Lease], held: Mapping[str, Held]
) -> dict[str, Extension]:
    """By lease, what extending it would come to."""
    try:
        return {
            lease.id: plan_own_extension(
                lease,
                situation,
                visit.services.policies.allowance(lease.owner, visit.caller.groups),
                held.get(lease.owner, {}),
            )
            for lease in mine
        }
    except SettingsError:
        return {
            lease.id: Extension(STEP, None, mark("The policy cannot be read at the moment."))
            for lease in mine
        }


def press_extend(visit: Visit) -> Outcome:
    """*Extend by 1 h*; others' are not there."""
    lease_id = _require_own(visit)
    run(visit, leases.extend_own, {"lease_id": lease_id}, {"until": visit.form.get("until", "")})
    end = visit.services.sessions.find(lease_id).ends_at
    return Outcome(back_to_servers(visit), f"Your session goes on until {end:%Y-%m-%d %H:%M} UTC.")


def press_keep(visit: Visit) -> Outcome:
    """*Keep it for 1 h*; others' are not there."""
    lease_id = _require_own(visit)
    run(visit, leases.keep_own, {"lease_id": lease_id}, {})
    return Outcome(back_to_servers(visit), mark("Your session is kept for 1 h, whatever is done in it."))


def press_finish(visit: Visit) -> Outcome:
    """*Finish and release*, or its withdrawal; others' are not there."""
    lease_id, finish = _require_own(visit), visit.form.get("finish") == "yes"
    run(visit, leases.finish_own, {"lease_id": lease_id}, {"finish": finish})
    said = mark("Your server is stopped as soon as nothing runs in it any more.")
    return Outcome(back_to_servers(visit), said if finish else mark("Your server does not stop by itself."))


def press_stop(visit: Visit) -> Outcome:
    """*Stop this server*; others' are not there."""
    lease_id = _require_own(visit)
    reason = visit.form.get("reason", "").strip() or OWN_WISH
    run(visit, leases.stop, {"lease_id": lease_id}, {"reason": reason})
    return Outcome(back_to_servers(visit), "Your server is being stopped.")


def _require_own(visit: Visit) -> str:
    """The id of the caller's own session of the path. Raises: NotFound."""
    lease_id = visit.parts["lease"]
    if find_lease(Call(visit.services, visit.caller, {"lease_id": lease_id})).owner != visit.caller.person:
        raise NotFound("There is no such session.")
    return lease_id


def back_to_servers(visit: Visit) -> str:
    """Where the page is."""
    return visit.links.page("servers")


def make_use(visit: Visit) -> File:
    """The samples of the GPUs of a session that runs in the last hour, as they were measured."""
    services = visit.services
    lease = find_lease(Call(services, visit.caller, {"lease_id": visit.parts["lease"]}))
    if lease.state.ending or lease.claim_by is not None:
        raise HTTPError(404, "This session does not run, so its GPUs may be somebody else's now.")
    since = max(plot_window(services.clock()).since, lease.created_at)
    with services.ledger.read() as unit:
        found = [(uuid, unit.recent_samples(services.host, uuid, since)) for uuid in lease.devices]
    rows = ((uuid, sample) for uuid, samples in found for sample in samples)
    return File("gpu-use.csv", "text/csv", write_csv(rows))


def write_csv(samples: Iterable[tuple[str, Sample]]) -> str:
    """Samples as a table, given as (UUID, sample); what is not known is left empty."""
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(CSV_COLUMNS)
    table.writerows(
        (f"{one.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", uuid, one.utilization_percent, one.memory_used_bytes)
        for uuid, one in samples
    )
    return file.getvalue()
