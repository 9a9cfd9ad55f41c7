"""``gpuspawner controller``: the command that runs the controller."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import click

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.process import log_to_stderr, raise_open_files
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.adapters.secret import ensure_secret
from gpuspawner.core.errors import GpuSpawnerError, SettingsError
from gpuspawner.policy.settings import Settings, load_settings

from .app import ADDRESS, serve
from .base import House
from .identity import make_auth
from .live import Watch
from .loop import Ticking
from .metrics import Metrics
from .wiring import make_services, make_ssh_door, make_ssh_ways, make_tick

ONCE_SETTLE_SECONDS = 30.0
"""How long --once waits for the servers that it stops."""


@click.command("controller", short_help="Keep the line, and serve /services/gpu.")
@click.option(
    "--settings",
    "settings_file",
    required=True,
    envvar="GPUSPAWNER_CONFIG",
    show_envvar=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings file of the hub.",
)
@click.option("--once", is_flag=True, help="Tick once, print what went wrong, and exit.")
def controller(settings_file: Path, once: bool) -> None:
    """Keep the line, and serve /services/gpu.

    Gives GPUs to whose turn it is, warns of the ends of sessions and ends them, and serves the API and the
    pages behind the hub's proxy. Runs until it gets SIGTERM or SIGINT. Exit code 1: it could not start, or,
    with --once, something could not be done.
    """
    log_to_stderr()
    try:
        settings = load_settings(settings_file)
        if not settings.controller.enabled:
            raise SettingsError(
                f"{settings_file} has no controller. Write this there, and restart the hub:\n"
                "controller:\n  enabled: true"
            )
        token = ensure_secret(settings.controller_token_path)
        lock = RunLock(Path(f"{settings.ledger_path}.controller.lock"), "controller")
    except GpuSpawnerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or settings_file}: {error.strerror}.") from None
    ledger = Ledger(settings.ledger_path)
    ended = True
    try:
        ended = _work(settings, ledger, token, once=once)
    finally:
        if ended:
            ledger.close()
            lock.release()
    if not ended:
        # A thread that hangs must not keep the process, and with it the lock, for ever.
        os._exit(1)


def _work(settings: Settings, ledger: Ledger, token: str, *, once: bool) -> bool:
    """Tick once, or serve until a signal; whether nothing hangs."""
    services = make_services(settings, ledger, token)
    tick = make_tick(services, settings)
    if once:
        report = tick.run()
        tick.finish(ONCE_SETTLE_SECONDS)
        for problem in report.problems:
            click.echo(f"Error: {problem}", err=True)
        if report.problems:
            raise SystemExit(1)
        return True
    metrics = Metrics(ledger, services.host, services.clock, services.stale_after, tick.names)
    ticking = Ticking(tick, settings.controller.tick, metrics.observe_tick)
    auth = make_auth(settings, token)
    ways = make_ssh_ways(services, auth)
    if ways is not None:
        raise_open_files()
    house = House(auth, services, metrics, ticking, Watch(services.see_line), ways=ways)
    port, inside = settings.controller.port, settings.network.hub_address
    try:
        door = make_ssh_door(services, metrics.count_ssh_refusal, ways) if settings.ssh.enabled else None
        return asyncio.run(serve(house, token, port, inside, door))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            told = f"This host has no address {inside}. Start Docker first, or set network.hub_address."
        else:
            told = (
                f"Port {port} is not free on {ADDRESS} and {inside} ({error.strerror}). Stop what uses it, "
                "or set controller.port."
            )
        raise click.ClickException(told) from None
