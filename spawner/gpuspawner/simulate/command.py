"""``gpuspawner simulate``: rules for idle GPUs side by side, on a trace of one's own or on generated ones."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import timedelta
from math import isnan
from pathlib import Path
from typing import Any

import click

from gpuspawner.core.idleness import IdleLimits
from gpuspawner.core.policy import IDLE_GPU, IDLE_GPU_WANTED

from .compare import CardCount, Options, Study, study, study_generated, summarize
from .csvfiles import MOST_GPUS, read_trace, write_events, write_sessions
from .generate import generate_rows, quote_sizes
from .plot import write_plot
from .report import render, to_json

_DAY = 24 * 60
_MOST_SESSIONS = 1_000_000


def _read_counts(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> tuple[CardCount, ...]:
    """Numbers of cards, each as ``8`` or ``60%``."""
    return tuple(_read_count(text) for text in value)


def _read_count(text: str) -> CardCount:
    digits = text.strip().removesuffix("%")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", digits, re.ASCII):
        raise click.BadParameter(f"{text!r} is neither a number of GPUs (8) nor a share of the mean (60%).")
    count = CardCount(float(digits), of_mean_held=digits != text.strip())
    if not 0 < count.amount <= MOST_GPUS or (not count.of_mean_held and count.amount % 1):
        raise click.BadParameter(f"{text!r}: give a whole number from 1 to {MOST_GPUS}, or a share above 0%.")
    return count


def _read_timeouts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Minutes, each as a number, with commas between."""
    found = []
    for text in value.split(","):
        if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text.strip(), re.ASCII) or not float(text):
            raise click.BadParameter(f"{text!r} is not a number of minutes above 0. Write such as 10,30,60.")
        found.append(float(text))
    return tuple(dict.fromkeys(found))


class _Minutes(click.FloatRange):
    """A number of minutes; click itself lets ``nan`` through."""

    def __init__(self) -> None:
        super().__init__(0, 365 * _DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        found = float(super().convert(value, param, ctx))
        if isnan(found):
            self.fail(f"{value!r} is not a number of minutes.", param, ctx)
        return found


_minutes = _Minutes()


def _limit(limit: timedelta) -> float:
    return limit.total_seconds() / 60


@click.group(short_help="Compare rules for idle GPUs on a trace.", invoke_without_command=True)
@click.option("--sessions", type=click.Path(path_type=Path), help="CSV file of sessions.")
@click.option("--events", type=click.Path(path_type=Path), help="CSV file of the work inside them.")
@click.option(
    "--generated",
    type=click.IntRange(1, _MOST_SESSIONS),
    metavar="N",
    help="Instead of files: generated traces of N sessions.",
)
@click.option(
    "--seeds", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many of them."
)
@click.option("--first-seed", type=int, default=1, show_default=True, help="Seed of the first.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    help="Processes for several seeds [default: one for each processor].",
)
@click.option(
    "--gpus",
    multiple=True,
    callback=_read_counts,
    metavar="N|P%",
    help="How many GPUs there are: a number, or per cent of the mean held without culling. May be repeated.",
)
@click.option(
    "--idle-limit",
    type=_minutes,
    default=_limit(IDLE_GPU),
    show_default=True,
    help="Ours: minutes that GPUs may be idle while nobody waits.",
)
@click.option(
    "--idle-limit-waiting",
    type=_minutes,
    default=_limit(IDLE_GPU_WANTED),
    show_default=True,
    help="Ours: the same while somebody waits; three times that for one GPU that has worked.",
)
@click.option(
    "--warning",
    type=_minutes,
    default=_limit(IdleLimits().warning),
    show_default=True,
    help="Ours: minutes from the warning to the stop.",
)
@click.option(
    "--restart", type=_minutes, default=2.0, show_default=True, help="Minutes that a restart costs."
)
@click.option(
    "--timeouts",
    default="10,20,30,45,60,90,120,180,240",
    callback=_read_timeouts,
    metavar="M,M,...",
    show_default=True,
    help="Minutes of the fixed time-outs to compare with.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Draw waste recovered against re-acquisitions: an SVG file.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def simulate(
    ctx: click.Context,
    *,
    sessions: Path | None,
    events: Path | None,
    generated: int | None,
    seeds: int,
    first_seed: int,
    jobs: int | None,
    gpus: tuple[CardCount, ...],
    idle_limit: float,
    idle_limit_waiting: float,
    warning: float,
    restart: float,
    timeouts: tuple[float, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare rules for idle GPUs on a trace, in virtual time.

    Ours (a long idle limit while GPUs are free, a short one while somebody waits) is shown next to holding
    for the session, fixed time-outs, and a rule that knows the future. See docs/simulate.md for what is
    computed.
    """
    if ctx.invoked_subcommand is not None:
        return
    if not gpus:
        raise click.UsageError("Say how many GPUs there are: --gpus 8, or --gpus 60% of the mean held.")
    options = Options(
        cards=gpus,
        limits=IdleLimits(*(timedelta(minutes=m) for m in (idle_limit, idle_limit_waiting, warning))),
        restart=timedelta(minutes=restart),
        timeouts=timeouts,
    )
    if generated is not None and sessions is None and events is None:
        seeds_used = range(first_seed, first_seed + seeds)
        workers = min(jobs or os.cpu_count() or 1, seeds)
        studies: list[Study] = study_generated(generated, seeds_used, options, jobs=workers)
    elif generated is None and sessions is not None and events is not None:
        studies = [study(read_trace(sessions, events), options)]
    else:
        raise click.UsageError("Give a trace: --sessions FILE --events FILE, or else --generated N.")
    results = summarize(studies, options)
    if plot is not None:
        write_plot(plot, results)
    click.echo(json.dumps(to_json(results), indent=2) if as_json else render(results))


@simulate.command(short_help="Make a trace of notebook sessions.")
@click.option("--seed", type=int, required=True, help="The same seed makes the same trace.")
@click.option("--sessions", type=click.IntRange(1, _MOST_SESSIONS), required=True, help="How many sessions.")
@click.option("--out-sessions", type=click.Path(path_type=Path), required=True, help="CSV file of sessions.")
@click.option("--out-events", type=click.Path(path_type=Path), required=True, help="CSV file of events.")
def generate(seed: int, sessions: int, out_sessions: Path, out_events: Path) -> None:
    """Make a synthetic trace of notebook sessions, fitted to published figures."""
    rows, events = generate_rows(sessions, seed)
    write_sessions(out_sessions, rows)
    write_events(out_events, events)
    click.echo(f"{quote_sizes(rows, events)}: {out_sessions}, {out_events}")
