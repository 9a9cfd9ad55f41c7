"""The command ``gpuspawner doctor``."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.adapters.whereabouts import LEDGER_VARIABLE, find_ledger, find_settings
from gpuspawner.core.errors import SettingsError
from gpuspawner.sim import SimError, Simulation

from .checks import check_all
from .door import read_door
from .facts import gather, read_images, read_policy
from .findings import Finding, Level
from .gateway import read_gateway

_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.ERROR: "ERROR  ", Level.UNKNOWN: "unknown"}


@click.command(short_help="Check this host, and say how to fix what is wrong.")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The ledger's database file [default: ${LEDGER_VARIABLE}, or the demo's].",
)
@click.option("--host", default=socket.gethostname, show_default="this host's name", help="Name of the host.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(ledger: Path | None, host: str, as_json: bool) -> None:
    """Check this host, and say how to fix what is wrong. Exit code 1: there is an error."""
    try:
        path: Path | None = find_ledger(ledger)
    except SettingsError:
        named = os.environ.get(LEDGER_VARIABLE)
        path = ledger or (Path(named) if named else None)
    _see_simulated_cards(path)
    facts = gather(DockerEngine(), NvmlProbe(host), path, host, now=datetime.now(UTC))
    where = find_settings(None)
    images = read_images(where, DockerImages(timeout_seconds=10))
    facts = replace(
        facts,
        policy=read_policy(where),
        images=images,
        door=read_door(where),
        gateway=read_gateway(where),
    )
    findings = check_all(facts)
    click.echo(json.dumps(to_json(findings, host), indent=2) if as_json else render(findings))
    if any(finding.level is Level.ERROR for finding in findings):
        raise SystemExit(1)


def _see_simulated_cards(ledger: Path | None) -> None:
    """Look at the demo's cards where its ledger is looked at: no variable has to be set for that."""
    root = ledger.with_name("sim") if ledger else None
    if root is not None and root.is_dir():
        with contextlib.suppress(SimError):
            Simulation(root).load_here()


def render(findings: Sequence[Finding]) -> str:
    """The findings for people, each with why and fix below it, and a count at the end."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]}  {finding.check}: {finding.what}")
        lines += [f"         why: {finding.why}"] if finding.why else []
        lines += [f"         fix: {finding.fix}"] if finding.fix else []
    counts = [(level, sum(f.level is level for f in findings)) for level in Level]
    return "\n".join([*lines, ", ".join(f"{count} {level.value}" for level, count in counts)])


def to_json(findings: Sequence[Finding], host: str) -> dict[str, object]:
    """The findings for programs. ``schema`` rises when a key changes its meaning."""
    return {
        "schema": 1,
        "host": host,
        "healthy": not any(finding.level is Level.ERROR for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }
