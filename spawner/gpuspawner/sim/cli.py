"""`gpuspawner sim`: sets what simulated GPUs show. Prints what it did; errors name the thing and the fix."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gpuspawner.sim.cdi import DEFAULT_CDI_DIR
from gpuspawner.sim.errors import SimError
from gpuspawner.sim.faults import Recovery
from gpuspawner.sim.layout import DEMO_LAYOUT
from gpuspawner.sim.report import Report
from gpuspawner.sim.simulation import Simulation

_MEMORY = re.compile(r"([0-9]{1,9})\s*(MiB|GiB|)")
_PERCENT = re.compile(r"([0-9]{1,3})%?")


def parse_percent(value: str) -> int:
    """The number in 80 or 80%.

    Raises:
        click.BadParameter: it is none, or over 100.
    """
    match = _PERCENT.fullmatch(str(value))
    if match is None or int(match[1]) > 100:
        raise click.BadParameter(f"{value!r} is not a whole number of percent from 0 to 100, such as 80%")
    return int(match[1])


def parse_memory(value: str) -> int:
    """MiB in 4000MiB, 4GiB, or 4000, which means MiB.

    Raises:
        click.BadParameter: it is no amount of memory.
    """
    match = _MEMORY.fullmatch(str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is not an amount of memory, such as 4000MiB or 4GiB")
    return int(match[1]) * (1024 if match[2] == "GiB" else 1)


def _root_option(function: Callable[..., None]) -> Callable[..., None]:
    """Adds --root, and turns SimError into the command's error."""

    @click.option(
        "--root",
        required=True,
        envvar="GPUSPAWNER_SIM_ROOT",
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="The simulation's directory.",
    )
    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except SimError as error:
            raise click.ClickException(str(error)) from error
        except PermissionError as error:
            raise click.ClickException(f"{error}; run this as the user who made the simulation") from error

    return command


@click.group()
def sim() -> None:
    """Simulated GPUs, for evaluation and tests. CARD is an index, a UUID or the beginning of one."""


@sim.command()
@_root_option
@click.option("--layout", default=DEMO_LAYOUT, show_default=True, help="Cards: [COUNTx]MODEL,...")
@click.option("--instance", help="Its name on this host [default: from the directory]. UUIDs come from it.")
@click.option(
    "--cdi-dir",
    default=DEFAULT_CDI_DIR,
    show_default=True,
    type=click.Path(path_type=Path),
    help="CDI spec directory.",
)
@click.option("--no-cdi", is_flag=True, help="Write no CDI spec: for use without containers.")
@click.option("--keep", is_flag=True, help="Keep one that is there; put back its library and CDI spec.")
def create(root: Path, layout: str, *, instance: str | None, cdi_dir: Path, no_cdi: bool, keep: bool) -> None:
    """Make a simulation: state, NVML library, nvidia-smi, CDI spec."""
    name = instance or default_instance(root)
    make = Simulation.ensure if keep else Simulation.create
    simulation = make(root, layout, instance=name, cdi_dir=None if no_cdi else cdi_dir)
    click.echo(f"Simulation {name} in {simulation.root}:")
    for card in simulation.cards:
        click.echo(f"GPU {card.index}: {card.name} (UUID: {card.uuid})")


def default_instance(root: Path) -> str:
    """A name for the simulation in this directory that no other directory gets."""
    absolute = str(root.absolute())
    word = re.sub(r"[^a-z0-9]+", "-", root.absolute().name.lower()).strip("-")[:24] or "sim"
    return f"{word}-{hashlib.sha256(absolute.encode()).hexdigest()[:8]}"


@sim.command("list")
@_root_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_cards(root: Path, as_json: bool) -> None:
    """Show what each card and MIG instance shows now."""
    simulation = Simulation(root)
    reports = simulation.reports()
    if as_json:
        about = {
            "schema": 1,
            "instance": simulation.instance,
            "driver": simulation.driver(),
            "hang": simulation.hanging(),
        }
        click.echo(json.dumps({**about, "devices": [asdict(report) for report in reports]}, indent=1))
        return
    click.echo(f"SIMULATED GPUs of {simulation.instance}, driver {simulation.driver()}")
    if simulation.hanging():
        click.echo("The driver hangs.")
    for report in reports:
        click.echo(_line(report))


def _line(report: Report) -> str:
    notes = [word for word, on in (("LOST", report.lost), ("HANGS", report.hang), ("MIG", report.mig)) if on]
    if report.recovery != "none":
        notes.append(f"needs {report.recovery}")
    if report.xids:
        notes.append(f"XIDs {', '.join(map(str, report.xids[-5:]))}")
    if report.pids:
        notes.append(f"processes {', '.join(map(str, report.pids))}")
    place = f"  {report.index}" if report.parent else str(report.index)
    memory = f"{report.used_mib}/{report.memory_mib} MiB"
    line = f"{place:<4}{report.uuid}  {report.utilization:3d} %  {memory}  {report.name}"
    return f"{line}  {'; '.join(notes)}".rstrip()


@sim.command()
@_root_option
@click.argument("card")
@click.option("--utilization", type=parse_percent, metavar="PERCENT", default=0, help="Such as 80%.")
@click.option(
    "--memory",
    type=parse_memory,
    metavar="MEMORY",
    default=0,
    help="Such as 4000MiB or 4GiB, above the idle baseline.",
)
@click.option("--pid", type=int, help="A host process that shows on the card, until it ends.")
def load(root: Path, card: str, utilization: int, memory: int, pid: int | None) -> None:
    """Make a card or MIG instance busy."""
    Simulation(root).set_load(card, utilization=utilization, memory_mib=memory, pid=pid)
    by = f" by process {pid}" if pid is not None else ""
    click.echo(f"Card {card}: {utilization} %, {memory} MiB{by}.")


@sim.command()
@_root_option
@click.argument("card")
def idle(root: Path, card: str) -> None:
    """Take away what `load` put there; loads in containers go on."""
    Simulation(root).idle(card)
    click.echo(f"Card {card}: no load from the host.")


@sim.command()
@_root_option
@click.argument("card")
@click.argument("number", type=int)
@click.option(
    "--recovery",
    type=click.Choice([action.name.lower().replace("_", "-") for action in Recovery]),
    help="What the driver asks for [default: what this XID usually does].",
)
def xid(root: Path, card: str, number: int, recovery: str | None) -> None:
    """Raise an XID error on a card."""
    action = Recovery[recovery.upper().replace("-", "_")] if recovery else None
    Simulation(root).raise_xid(card, number, action)
    click.echo(f"Card {card}: XID {number}.")


@sim.command()
@_root_option
@click.argument("card")
def lose(root: Path, card: str) -> None:
    """Let a card fall off the bus."""
    Simulation(root).lose(card)
    click.echo(f"Card {card}: lost.")


@sim.command()
@_root_option
@click.argument("card")
def restore(root: Path, card: str) -> None:
    """Put a card back as after a reset."""
    Simulation(root).restore(card)
    click.echo(f"Card {card}: as after a reset.")


@sim.command()
@_root_option
@click.argument("card", required=False)
def hang(root: Path, card: str | None) -> None:
    """Let calls on a card, or without one all calls, block."""
    Simulation(root).hang(card)
    click.echo(f"{f'Card {card}' if card else 'The driver'} hangs until: gpuspawner sim unhang")


@sim.command()
@_root_option
@click.argument("card", required=False)
def unhang(root: Path, card: str | None) -> None:
    """Let blocked calls go on."""
    Simulation(root).unhang(card)
    click.echo(f"{f'Card {card}' if card else 'The driver'} answers again.")


@sim.command()
@_root_option
@click.argument("card")
@click.option("--instances", help="MIG profiles, such as 3g.20gb,3g.20gb.")
@click.option("--off", is_flag=True, help="Make the card whole again.")
def mig(root: Path, card: str, instances: str | None, off: bool) -> None:
    """Divide a card into MIG instances, or make it whole."""
    if (instances is None) != off:
        raise click.UsageError("give either --instances PROFILE,... or --off")
    profiles = [name.strip() for name in instances.split(",")] if instances is not None else []
    for instance in Simulation(root).set_mig(card, profiles):
        click.echo(f"MIG {instance.profile.name} Device {instance.index}: (UUID: {instance.uuid})")
    if off:
        click.echo(f"Card {card}: whole.")


@sim.command()
@_root_option
@click.argument("version")
@click.option("--mismatch", is_flag=True, help="As upgraded without a reboot: nvmlInit fails.")
def driver(root: Path, version: str, mismatch: bool) -> None:
    """Set the driver's version."""
    Simulation(root).set_driver(version, mismatch=mismatch)
    click.echo(f"Driver {version}{', not the one that is loaded' if mismatch else ''}.")


@sim.command()
@_root_option
def env(root: Path) -> None:
    """Print the variables under which a host process sees the simulation, for eval."""
    for name, value in Simulation(root).environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")


@sim.command()
@_root_option
def destroy(root: Path) -> None:
    """Remove the simulation and its CDI spec."""
    simulation = Simulation(root)
    simulation.destroy()
    click.echo(f"Removed the simulation {simulation.instance} in {simulation.root}.")
