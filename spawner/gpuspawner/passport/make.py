"""From what an image and the Engine say to its passport."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gpuspawner.core.errors import PassportError
from gpuspawner.ports import ImageFacts

from .model import OtherPackage, Passport, Versions

LABEL_IMAGE = "gpuspawner.image"
LABEL_LOCK_HASH = "gpuspawner.lock_hash"

UNLOCKED = frozenset({"gpuspawner-session", "pip"})
"""Packages that are in no lock: this project's own, and what comes with Python."""

DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580"}
"""Major version of CUDA → the oldest driver that runs it (its release notes: minor version compatibility)."""

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d{1,2})(\d)([af]?)")


class _Torch(BaseModel):
    model_config = ConfigDict(extra="ignore")
    torch: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    nccl: str | None = None
    architectures: tuple[str, ...] = ()
    error: str | None = None


class _Told(BaseModel):
    """What :mod:`.inside` printed, in the image's own words."""

    model_config = ConfigDict(extra="ignore")
    python: str
    packages: dict[str, str]
    debian: dict[str, str]
    others: tuple[OtherPackage, ...] = ()
    torch: _Torch
    image: dict[str, Any] | None = None


def make_passport(
    facts: ImageFacts,
    told: str,
    name: str,
    minimum_driver: str | None = None,
) -> Passport:
    """Make the passport of an image.

    Args:
        facts: What the Engine says of it.
        told: What its own Python printed.
        name: What it is called where it does not say so itself.
        minimum_driver: The oldest driver, where nobody knows it from the version of CUDA.

    Raises:
        PassportError: What was told makes no sense, or the oldest driver is not known.
    """
    try:
        inside = _Told.model_validate_json(told)
        torch = inside.torch
        if torch.error:
            raise PassportError(f"The image {name} is broken: {torch.error}")
        return Passport(
            # What lies in the image comes first: who builds on an image inherits its labels.
            image=str((inside.image or {}).get("name") or facts.labels.get(LABEL_IMAGE) or name),
            digest=facts.digest,
            lock_hash=(inside.image or {}).get("lock_hash") or facts.labels.get(LABEL_LOCK_HASH),
            built=datetime.fromisoformat(facts.created),
            size_bytes=facts.size_bytes,
            versions=Versions(
                python=inside.python, torch=torch.torch, cuda=torch.cuda, cudnn=torch.cudnn, nccl=torch.nccl
            ),
            minimum_driver=minimum_driver or _find_driver(torch.cuda, name),
            compute_capabilities=read_architectures(torch.architectures),
            packages=inside.packages,
            debian_packages=inside.debian,
            other_packages=inside.others,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PassportError(
            f"What the image {name} says of itself makes no sense, at {where}: {first['msg']}."
        ) from None


def take_over(made: Passport, before: Sequence[Passport]) -> Passport:
    """The passport with the runs and tests of the same image, or of another build from the same locks.

    Args:
        made: A passport.
        before: Others, the best first.
    """
    runs, tests = dict(made.runs), dict(made.tests)
    for other in before:
        if other.digest == made.digest or is_of_same_locks(other, made):
            runs = {**other.runs, **runs}
            tests = {**other.tests, **tests}
    return made.model_copy(update={"runs": dict(sorted(runs.items())), "tests": dict(sorted(tests.items()))})


def is_of_same_locks(one: Passport, other: Passport) -> bool:
    """Whether two images were built from the same lock files, and have in them what these say.

    An image says itself from which locks it was built, and one that has other packages does not.
    """
    locked = one.lock_hash is not None and one.lock_hash == other.lock_hash
    return locked and _list_locked(one) == _list_locked(other)


def _list_locked(passport: Passport) -> dict[str, str]:
    return {name: version for name, version in passport.packages.items() if name not in UNLOCKED}


def read_architectures(flags: Sequence[str]) -> tuple[str, ...]:
    """What torch calls ``sm_80`` and ``compute_120``, as compute capabilities in order.

    Raises:
        PassportError: One of them is none.
    """
    code: dict[tuple[int, int, str], str] = {}
    later: set[tuple[int, int]] = set()
    for flag in flags:
        found = _ARCHITECTURE.fullmatch(flag)
        if found is None:
            raise PassportError(f"{flag!r}, which the image has code for, is no architecture such as sm_80.")
        major, minor = int(found[2]), int(found[3])
        if found[1] == "compute":
            later.add((major, minor))
        form = "" if found[1] == "compute" else found[4]
        code[major, minor, form] = f"{major}.{minor}{form}"
    for major, minor in later:
        code[major, minor, ""] = f"{major}.{minor}+PTX"
    return tuple(code[key] for key in sorted(code))


def _find_driver(cuda: str | None, name: str) -> str | None:
    if cuda is None:
        return None
    major = int(cuda.partition(".")[0]) if cuda.partition(".")[0].isdecimal() else 0
    if major not in DRIVERS:
        raise PassportError(
            f"Which driver CUDA {cuda} of the image {name} needs is not known here. "
            "Look it up in the release notes of CUDA, and give --minimum-driver VERSION."
        )
    return DRIVERS[major]
