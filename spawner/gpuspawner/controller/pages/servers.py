"""One's servers: the page, stopping one, and what its GPUs did as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC

from tornado.web import HTTPError

from gpuspawner.controller.api import leases
from gpuspawner.controller.api.access import find_lease
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.views.servers import ServersPage, is_session, plot_window, view_servers
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import Sample
from gpuspawner.core.words import mark

from .operation import run
from .page import File, Outcome, Visit

OWN_WISH = mark("its person stopped it")
CSV_COLUMNS = ("time", "gpu", "utilization_percent", "memory_used_bytes")


def load_servers(visit: Visit) -> ServersPage:
    """The page's model. Raises: LedgerError."""
    person, view = visit.caller.person, visit.line
    since = plot_window(view.at).since
    mine = [lease for lease in view.situation.leases if is_session(lease, person) and not lease.state.ending]
    with visit.services.ledger.read() as unit:
        # What was measured before a session began is somebody else's.
        samples = {
            uuid: unit.recent_samples(visit.services.host, uuid, max(since, lease.created_at))
            for lease in mine
            for uuid in lease.devices
        }
        messages = unit.messages_for(person) if person is not None else ()
        last = unit.last_session(visit.services.host, person) if person is not None and not mine else None
    return view_servers(view, person, visit.links, samples=samples, messages=messages, last=last)


def press_stop(visit: Visit) -> Outcome:
    """*Stop this server*; others' are not there."""
    lease_id = visit.parts["lease"]
    if find_lease(Call(visit.services, visit.caller, {"lease_id": lease_id})).owner != visit.caller.person:
        raise NotFound("There is no such session.")
    reason = visit.form.get("reason", "").strip() or OWN_WISH
    run(visit, leases.stop, {"lease_id": lease_id}, {"reason": reason})
    return Outcome(back_to_servers(visit), "Your server is being stopped.")


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
