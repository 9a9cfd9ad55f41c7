"""The page "SSH & editors": keys, what one's own machine needs to know, and why an attempt was refused."""

from __future__ import annotations

from collections.abc import Collection

from tornado.web import HTTPError

from gpuspawner.controller.api import keys as api
from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.services import Services, SshPlace
from gpuspawner.controller.sshway import WAY
from gpuspawner.controller.views.ssh import (
    Known,
    SshPage,
    view_machines,
    write_config,
    write_gateway,
    write_known_hosts,
    write_through,
)
from gpuspawner.core.errors import Conflict, HubError, NotFound
from gpuspawner.core.ssh import choose_doors, why_not_person
from gpuspawner.core.words import mark

from .page import Outcome, Visit

PAGE = "ssh"
_MOST_SESSIONS = 10


def load_ssh(visit: Visit) -> SshPage:
    """The page's model. Raises: LedgerError, SettingsError, HTTPError."""
    place, person = _require_place(visit), visit.caller.person
    if person is None:
        raise HTTPError(403, "A service has no servers of its own.")
    services, caller = visit.services, visit.caller
    running = services.keys.running(person, services.host)
    doors = services.keys.doors(person, ["", *sorted(running)])
    there = _find_servers(services, person, running)
    shown = choose_doors([one for one in doors if there is None or one.server in there], running)
    # Those that were deleted are named with the others, which are called the same before and after.
    named = sorted({*choose_doors(doors, running), *shown}, key=lambda one: one.number)
    start = {door.server: visit.links.spawn(person, door.server) for door in named}
    addresses = {door.address for door in shown}
    machines = tuple(one for one in view_machines(named, running, start) if one.address in addresses)
    known = _find_known(place, person)
    way = f"{visit.origin}{visit.links.page(WAY)}" if place.by_web else None
    gateway = write_gateway(place.host, place.port, place.account, way=None if place.by_port else way)
    return SshPage(
        why_not_person(services.policies.allowance(person, caller.groups).ssh, caller.groups),
        services.keys.list(person),
        machines,
        write_config(machines, place.host, gateway, person),
        write_through(way) if way and place.by_port else "",
        place.client if way else None,
        f"{visit.links.hub}token#ssh",
        place.port,
        write_known_hosts(known, place.host, person),
        known,
        services.keys.recent(person, _MOST_SESSIONS),
        visit.links.below(PAGE, "add"),
        visit.links.below(PAGE, "remove"),
    )


def press_add(visit: Visit) -> Outcome:
    """*Add this key*."""
    _require_place(visit)
    sent = {"key": visit.form.get("key", ""), "name": visit.form.get("name", "")}
    made = api.add_key(Call(visit.services, visit.caller, {}, body=check(api.KeyBody, sent, "field")))
    return Outcome(back_to_ssh(visit), mark(f"The key {made.name} lets you in from now on."))


def press_remove(visit: Visit) -> Outcome:
    """*Remove*."""
    _require_place(visit)
    try:
        gone = api.remove_key(Call(visit.services, visit.caller, {"key_id": visit.form.get("key", "")}))
    except NotFound as error:  # it was removed on another page
        raise Conflict(str(error)) from None
    said = mark(f"The key {gone.name} was removed. What is open by it ends within a minute.")
    return Outcome(back_to_ssh(visit), said)


def back_to_ssh(visit: Visit) -> str:
    """Where the page is."""
    return visit.links.page(PAGE)


def _require_place(visit: Visit) -> SshPlace:
    if visit.services.ssh is None:
        raise HTTPError(404, "This hub has no gateway for SSH. The administrator can set one up.")
    return visit.services.ssh


def _find_servers(services: Services, person: str, running: Collection[str]) -> Collection[str] | None:
    """Names of a person's servers that are there, at the Hub or in the ledger; None where it does not say."""
    try:
        found = services.ssh_hub.servers_of(person)
    except HubError:
        return None
    return None if found is None else {"", *found, *running}


def _find_known(place: SshPlace, person: str) -> Known:
    try:
        gateway, servers = place.files.gateway_key(), place.files.person_key(person)
    except OSError as error:
        raise HTTPError(503, "The keys of this hub cannot be read; tell the administrator.") from error
    return Known(gateway.public, gateway.fingerprint, servers.public, servers.fingerprint)
