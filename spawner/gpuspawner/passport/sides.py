"""Passports as what :mod:`gpuspawner.core.drift` compares, and what a check of an image leaves in them."""

from __future__ import annotations

from gpuspawner.core.drift import Side, TrainingRun
from gpuspawner.core.errors import PassportError
from gpuspawner.core.reproduce import Report

from .model import Passport, Run


def to_side(passport: Passport) -> Side:
    """One of the two images of a comparison."""
    return Side(
        image=passport.image,
        digest=passport.digest,
        versions=passport.versions.model_dump(),
        packages=passport.packages,
        debian_packages=passport.debian_packages,
        other_packages=passport.others,
        minimum_driver=passport.minimum_driver,
        compute_capabilities=passport.compute_capabilities,
        size_bytes=passport.size_bytes,
        runs={
            name: TrainingRun(run.weights, run.losses, run.rng, run.step_seconds)
            for name, run in passport.runs.items()
        },
    )


def add_run(passport: Passport, report: Report) -> Passport:
    """The passport with one more run in it, or a newer one.

    Raises:
        PassportError: The run is of other locks.
    """
    if passport.lock_hash != report.key.lock_hash:
        raise PassportError(
            f"The passport of {passport.image} is of other lock files than what ran. "
            f"Make it anew: gpuspawner passport make {passport.image}"
        )
    run = Run(
        weights=report.runs[0].weights,
        losses_hash=report.runs[0].losses_hash,
        losses=report.losses,
        rng=dict(report.runs[0].rng),
        step_seconds=report.step_seconds,
        driver=report.driver,
        card=report.device if report.key.architecture.startswith("sm_") else None,
        date=report.at,
    )
    runs = {**passport.runs, report.key.architecture: run}
    return passport.model_copy(update={"runs": dict(sorted(runs.items()))})


def drop_run(passport: Passport, architecture: str) -> Passport:
    """The passport without a run that does not hold any more."""
    runs = {name: run for name, run in passport.runs.items() if name != architecture}
    return passport.model_copy(update={"runs": runs})
