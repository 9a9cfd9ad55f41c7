"""``gpuspawner agent``: the command that runs the keeper."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.freshdriver import FreshDriver
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.adapters.process import log_to_stderr, stop_on_signals
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.core.errors import GpuSpawnerError

from .loop import TICK_SECONDS, run_loop
from .tick import Keeper

ONCE_MOST_TICKS = 20
ONCE_SETTLE_SECONDS = 15.0


@click.command("agent", short_help="Keep this GPU host: inventory, reconcile, release.")
@click.option(
    "--ledger",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The ledger's database file; its directory must exist.",
)
@click.option(
    "--host", default=socket.gethostname, show_default="this host's name", help="Name of this host."
)
@click.option(
    "--tick",
    default=TICK_SECONDS,
    show_default=True,
    type=click.FloatRange(min=0.1, max=10),
    help="Seconds from one look to the next.",
)
@click.option("--once", is_flag=True, help="Reconcile once, print what was done, and exit.")
def agent(ledger: Path, host: str, tick: float, once: bool) -> None:
    """Keep this GPU host.

    Takes the inventory of its cards, keeps leases and containers in agreement, and frees a card when it is
    proved free. Runs until it gets SIGTERM or SIGINT. Exit code 1: it could not start, or, with --once,
    something could not be done.
    """
    log_to_stderr()
    if not ledger.parent.is_dir():
        raise click.ClickException(f"The ledger's directory {ledger.parent} does not exist; create it.")
    try:
        lock = RunLock(Path(f"{ledger}.agent.lock"), "agent")
    except GpuSpawnerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or ledger}: {error.strerror}.") from None
    book = Ledger(ledger)
    try:
        if once:
            _reconcile_once(book, host)
        else:
            run_loop(lambda: make_keeper(book, host), stop_on_signals(), tick)
    finally:
        book.close()
        lock.release()


def make_keeper(ledger: Ledger, host: str) -> Keeper:
    """Put the keeper of this host together. Raises: LedgerError."""
    with ledger.read() as unit:
        engine = DockerEngine(ledger_id=unit.ledger_id())
    return Keeper(ledger, engine, FreshDriver(NvmlProbe(host)), host, Path(f"{ledger.path}.hub.lock"))


def _reconcile_once(ledger: Ledger, host: str) -> None:
    """Tick until nothing more follows: a release takes a tick for each of its steps."""
    problems: tuple[str, ...] = ()
    try:
        keeper = make_keeper(ledger, host)
        for _ in range(ONCE_MOST_TICKS):
            report = keeper.tick(settle_seconds=ONCE_SETTLE_SECONDS)
            problems = report.problems
            for done in report.applied:
                click.echo(done)
            if problems or not report.applied:
                break
    except GpuSpawnerError as error:
        raise click.ClickException(str(error)) from None
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        raise SystemExit(1)
