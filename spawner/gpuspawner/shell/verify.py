"""``gpuspawner verify``: whether an image computes the same again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import click

from gpuspawner.adapters.docker_checks import DockerChecks
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_ledger, find_settings
from gpuspawner.allocator.checks import claim_checks, lend_card
from gpuspawner.core.checkrun import CheckRun, explain_end
from gpuspawner.core.errors import CheckError, PassportError, SettingsError
from gpuspawner.core.images import SIMULATED
from gpuspawner.core.reproduce import (
    Golden,
    Report,
    Result,
    Verdict,
    judge,
    make_golden,
    why_not_recordable,
)
from gpuspawner.passport.goldens import add_golden, read_all_goldens, require_place
from gpuspawner.passport.reports import parse_report
from gpuspawner.passport.shelf import Shelf
from gpuspawner.passport.sides import add_run, drop_run
from gpuspawner.policy.settings import load_settings
from gpuspawner.setup.paths import Paths

from .cards import find_device
from .common import clean, host_option, json_option, ledger_option, open_ledger, print_json, render_table
from .passport import find_image, open_shelf, passport_options, require_image

CONTAINERS = 2
NOT_RECORDED, DIFFERENT = 3, 4
"""Exit statuses, beside 0 for all the same, 1 for what could not be done and 2 for wrong use."""
GOLDENS = Paths().images / "goldens.json"
SPARE = timedelta(minutes=2)
"""A card is held for so much longer than the runs may take."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be checked, and where."""

    name: str
    digest: str
    model: str | None
    card: str | None
    minutes: int


@click.command(short_help="Check that an image computes the same again.")
@click.argument("image")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Where to train [auto: on a GPU where the ledger has a real one].",
)
@click.option("--model", metavar="MODEL", help="On a GPU of this model, as `gpuspawner status` shows it.")
@click.option("--card", metavar="CARD", help="On this GPU: an index, a UUID, or the beginning of one.")
@click.option(
    "--record", is_flag=True, help="Record the result as the golden value, where there is none yet."
)
@click.option(
    "--goldens",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of golden values [default: images/goldens.json of this repository, and on a server also "
    "goldens.json in the state directory, where it then records].",
)
@click.option(
    "--minutes",
    type=click.IntRange(1, 240),
    default=15,
    show_default=True,
    help="The longest that a container may take.",
)
@json_option
@passport_options
@ledger_option
@host_option
def verify(
    *,
    image: str,
    device: str,
    model: str | None,
    card: str | None,
    record: bool,
    goldens: Path | None,
    minutes: int,
    as_json: bool,
    settings: Path | None,
    passports: Path | None,
    ledger: Path | None,
    host: str,
) -> None:
    """Check that IMAGE computes the same again: twice in one process, in two containers, and as recorded.

    IMAGE is a name of images/images.toml or of the settings, or any name or id that Docker knows. A small
    model is trained with fixed seeds in containers without a network. A GPU is taken by a lease, as for
    everybody: only a free one, and never before those who wait. What holds is kept in the image's passport.
    Exit codes: 0 all the same, 3 the golden value is not recorded, 4 something differs, 1 it could not be
    done.
    """
    if device == "cpu" and (model or card):
        raise click.UsageError("--model and --card name a GPU, and --device cpu uses none.")
    files = find_goldens(goldens, settings, record=record)
    known = read_all_goldens(files.read)
    if record:
        require_place(files.write)
    shelf = open_shelf(settings, passports)
    named = find_image(image, settings)
    wish = Wish(named.name, require_image(DockerImages(), named).digest, model, card, minutes)
    checks = DockerChecks()
    checks.remove_leftovers()
    with _ending_by_signals():
        reports = _run(wish, device, checks, ledger, host)
    golden = known.get(reports[0].key)
    verdict = judge(reports, golden)
    recorded = record and _record(reports[0], verdict, wish, files, golden)
    _keep(shelf, wish.digest, reports[0], verdict, recorded=recorded)
    if as_json:
        print_json(to_json(wish, reports, verdict, golden, recorded=recorded))
    else:
        click.echo(render(wish, reports, verdict))
        if recorded:
            click.echo(f"Recorded in {files.write}.")
    sys.exit(find_status(verdict, recorded=recorded))


def find_status(verdict: Verdict, *, recorded: bool) -> int:
    """The exit status."""
    if verdict.result is Result.NOT_RECORDED:
        return 0 if recorded else NOT_RECORDED
    return DIFFERENT if verdict.result is Result.DIFFERENT else 0


class GoldenFiles(NamedTuple):
    """Where golden values are."""

    read: tuple[Path, ...]
    write: Path


def find_goldens(given: Path | None, settings: Path | None, *, record: bool) -> GoldenFiles:
    """Where golden values are read, and where new ones go: never into a release, which the next one replaces.

    Raises:
        SettingsError: The settings are broken, or there are none that say where a release keeps new ones.
    """
    if given is not None:
        return GoldenFiles((given,), given)
    where = find_settings(settings)
    is_checkout = GOLDENS.parent.is_dir() and not Paths().is_release
    if where is None:
        if record and not is_checkout:
            raise SettingsError(
                "Where golden values are kept is not known: name the settings of the installation, with "
                f"--settings FILE or {SETTINGS_VARIABLE}."
            )
        return GoldenFiles((GOLDENS,), GOLDENS)
    own = load_settings(where).state_dir / GOLDENS.name
    return GoldenFiles((GOLDENS, own), GOLDENS if is_checkout else own)


def _record(report: Report, verdict: Verdict, wish: Wish, files: GoldenFiles, golden: Golden | None) -> bool:
    """Whether it was recorded just now. Raises: CheckError: It must not be."""
    why_not = why_not_recordable(report, verdict)
    if why_not is not None:
        raise CheckError(f"Nothing was recorded: {why_not}.")
    if golden is not None:  # it is the same, or the verdict would say otherwise; its origin stays
        return False
    return add_golden(files.write, make_golden(report, image=wish.name, digest=wish.digest))


def _keep(shelf: Shelf, digest: str, report: Report, verdict: Verdict, *, recorded: bool) -> None:
    """Put into the image's passport on what it was tried, or that it does not hold any more."""
    try:
        passport = shelf.find(digest)
        if passport is None:
            click.echo("note: the image has no passport here that could keep this.", err=True)
        elif verdict.result is Result.DIFFERENT:
            shelf.put(drop_run(passport, report.key.architecture))
        elif verdict.result is Result.SAME or recorded:
            shelf.put(add_run(passport, report))
    except PassportError as error:
        click.echo(clean(f"note: {error}"), err=True)


# -- where --------------------------------------------------------------------------------------------------


def _run(wish: Wish, device: str, checks: DockerChecks, path: Path | None, host: str) -> list[Report]:
    if device == "cpu" or (device == "auto" and not (wish.model or wish.card) and not _has_cards(path, host)):
        return _run_containers(_make_run(wish, "cpu"), checks)
    with open_ledger(path, host, change=True) as book:
        lock = claim_checks(book.path)
        try:
            return _run_on_card(wish, checks, book, host, lock)
        finally:
            lock.release()


def _has_cards(path: Path | None, host: str) -> bool:
    """Whether the ledger knows a real card of this host."""
    try:
        found = find_ledger(path)
    except SettingsError:
        if path is not None:
            raise
        return False
    book = Ledger(found, migrate=False)
    try:
        with book.read() as unit:
            return any(SIMULATED not in record.device.model for record in unit.inventory(host))
    finally:
        book.close()


def _run_on_card(wish: Wish, checks: DockerChecks, book: Ledger, host: str, lock: RunLock) -> list[Report]:
    uuid = None
    if wish.card is not None:
        with book.read() as unit:
            uuid = find_device(wish.card, unit.inventory(host))
    length = timedelta(minutes=wish.minutes) * CONTAINERS + SPARE
    seconds = int(length.total_seconds())
    holder = CheckRun(
        image=wish.digest, command=("cat",), seconds=seconds, memory_bytes=256 * 2**20, cpus=0.5
    )
    with lend_card(
        book,
        host,
        checks,
        holder,
        lock=lock,
        server=wish.name,
        model=wish.model,
        card=uuid,
        length=length,
    ) as loan:
        click.echo(f"Holding {', '.join(loan.devices)}.", err=True)
        run = _make_run(wish, "cuda", loan.devices, loan.labels)
        return _run_containers(run, checks, loan.confirm)


def _make_run(
    wish: Wish, device: str, devices: tuple[str, ...] = (), labels: dict[str, str] | None = None
) -> CheckRun:
    command = ("gpuspawner-session", "verify", "--json", "--device", device)
    return CheckRun(
        image=wish.digest,
        command=command,
        seconds=wish.minutes * 60,
        devices=devices,
        labels=labels or {},
        cpus=float(min(2, os.cpu_count() or 1)),
        memory_bytes=(16 if devices else 8) * 2**30,
    )


def _run_containers(
    run: CheckRun, checks: DockerChecks, confirm: Callable[[], object] = lambda: None
) -> list[Report]:
    reports = []
    for number in range(1, CONTAINERS + 1):
        click.echo(f"Container {number} of {CONTAINERS} trains twice ...", err=True)
        ended = checks.run(run, confirm)
        why = explain_end(ended, run.seconds)
        if why is not None:
            raise CheckError(f"Container {number} gave no result. {why}")
        reports.append(parse_report(ended.out))
    return reports


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """What ends a process politely ends this one as Ctrl-C does: containers and leases go first."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- what is shown ------------------------------------------------------------------------------------------


def render(wish: Wish, reports: list[Report], verdict: Verdict) -> str:
    """The verdict for people."""
    first = reports[0]
    driver = f", driver {first.driver}" if first.driver else ""
    steps, begun, ended = len(first.losses), first.losses[0], first.losses[-1]
    lines = [
        clean(f"{wish.name} ({wish.digest}) on {first.device}{driver}, {first.key.architecture}"),
        "",
        *render_table(
            ("COMPARED", "RESULT", "WHAT"),
            [(one.name, one.result.value, one.detail) for one in verdict.levels],
        ),
        "",
        f"weights  {first.runs[0].weights}",
        f"losses   {first.runs[0].losses_hash}, from {begun:.4f} to {ended:.4f} in {steps} steps",
        f"step     {first.step_seconds * 1000:.2f} ms (median)",
        f"lock     {first.key.lock_hash}",
    ]
    return "\n".join(lines)


def to_json(
    wish: Wish, reports: list[Report], verdict: Verdict, golden: Golden | None, *, recorded: bool
) -> dict[str, object]:
    """The verdict for programs."""
    first = reports[0]
    return {
        "schema": 1,
        "image": wish.name,
        "digest": wish.digest,
        "lock_hash": first.key.lock_hash,
        "architecture": first.key.architecture,
        "test": first.key.test,
        "device": first.device,
        "card_uuid": first.card_uuid,
        "driver": first.driver,
        "versions": dict(first.versions),
        "result": verdict.result.value,
        "levels": [
            {"name": one.name, "result": one.result.value, "detail": one.detail} for one in verdict.levels
        ],
        "weights": first.runs[0].weights,
        "losses_hash": first.runs[0].losses_hash,
        "data": first.runs[0].data,
        "rng": dict(first.runs[0].rng),
        "step_seconds": first.step_seconds,
        "losses": list(first.losses),
        "golden": _golden_to_json(golden),
        "recorded": recorded,
        "at": first.at.isoformat(),
    }


def _golden_to_json(golden: Golden | None) -> dict[str, object] | None:
    if golden is None:
        return None
    return {
        "recorded": golden.recorded.isoformat(),
        "device": golden.device,
        "driver": golden.driver,
        "digest": golden.digest,
        "weights": golden.outcome.weights,
        "losses_hash": golden.outcome.losses_hash,
    }
