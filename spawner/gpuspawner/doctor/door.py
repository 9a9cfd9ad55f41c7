"""The controller's door for servers: its port on the bridge, where JupyterLab asks about its session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.settings import load_settings

from .findings import Finding, Level

if TYPE_CHECKING:
    from .facts import Facts

PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class DoorFacts:
    """What was found behind the address that servers are given."""

    url: str
    error: str = ""
    """Why it is not the controller's door; empty when it is."""


def read_door(settings_file: Path | None) -> DoorFacts | None:
    """Knock as a server would, without a token; None where servers are given no such address."""
    if settings_file is None:
        return None
    try:
        settings = load_settings(settings_file)
    except SettingsError:  # the check of the policy says so
        return None
    return knock(settings.session_url) if settings.controller.enabled else None


def knock(url: str) -> DoorFacts:
    """Ask there without a token: the controller refuses that in its own words, and nobody else does."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        text = answer.read(4096)
    except (OSError, HTTPException) as error:
        return DoorFacts(url, getattr(error, "strerror", None) or str(error) or type(error).__name__)
    finally:
        connection.close()
    try:
        known = answer.status == 401 and "error" in json.loads(text)
    except ValueError:
        known = False
    return DoorFacts(url, "" if known else f"another program answers there (HTTP {answer.status})")


def check_door(facts: Facts) -> Iterator[Finding]:
    """Servers reach the controller, where it runs."""
    ledger, door = facts.ledger, facts.door
    if door is None or ledger is None or ledger.error or not ledger.controller_runs:
        return
    if not door.error:
        yield Finding("session-door", Level.OK, f"Servers reach the controller at {door.url}")
        return
    yield Finding(
        "session-door",
        Level.ERROR,
        f"The controller runs, but not at {door.url}: {door.error}.",
        "Servers ask there about their session: without it JupyterLab warns of no end, and can keep nothing.",
        "Set network.hub_address to the gateway of the servers' network, and controller.port to a port that "
        "is free there; then start the controller anew (systemctl restart gpuspawner-controller).",
    )
