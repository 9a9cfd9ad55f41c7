"""The golden values: one file in the repository, one line in it for each."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from gpuspawner.core.errors import CheckError, SettingsError
from gpuspawner.core.reproduce import Golden, Key, Outcome

from .reports import Architecture, Losses, Name, Seconds, Sha256, Streams, Text, Versions
from .whole import write_whole

MOST_BYTES = 64 * 2**20
"""A value has some 5 KiB."""


class _Golden(BaseModel):
    """One line; the order of the keys is that in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text
    architecture: Architecture
    test: Name
    lock_hash: Sha256
    weights: Sha256
    losses_hash: Sha256
    data: Sha256
    rng: Streams
    step_seconds: Seconds
    versions: Versions
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    device: Text
    driver: Text | None
    recorded: AwareDatetime
    losses: Losses

    def to_core(self) -> Golden:
        """As a core value."""
        return Golden(
            key=Key(self.lock_hash, self.architecture, self.test),
            outcome=Outcome(self.weights, self.losses_hash, self.data, tuple(sorted(self.rng.items()))),
            losses=self.losses,
            step_seconds=self.step_seconds,
            versions=tuple(sorted(self.versions.items())),
            image=self.image,
            digest=self.digest,
            device=self.device,
            driver=self.driver,
            recorded=self.recorded,
        )

    @classmethod
    def of(cls, golden: Golden) -> _Golden:
        """Of a core value."""
        return cls(
            image=golden.image,
            architecture=golden.key.architecture,
            test=golden.key.test,
            lock_hash=golden.key.lock_hash,
            weights=golden.outcome.weights,
            losses_hash=golden.outcome.losses_hash,
            data=golden.outcome.data,
            rng=dict(golden.outcome.rng),
            step_seconds=golden.step_seconds,
            versions=dict(golden.versions),
            digest=golden.digest,
            device=golden.device,
            driver=golden.driver,
            recorded=golden.recorded,
            losses=golden.losses,
        )


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Annotated[Literal[1], Field(alias="schema")]
    goldens: tuple[_Golden, ...]


def read_goldens(path: Path) -> dict[Key, Golden]:
    """All that were recorded; none where there is no file.

    Raises:
        SettingsError: It cannot be read, is damaged, or says two things of one key.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"The golden values {path} cannot be read: {error.strerror}.") from error
    try:
        if len(text) > MOST_BYTES:
            raise SettingsError(f"The golden values {path} have more than {MOST_BYTES // 2**20} MiB.")
        listed = [golden.to_core() for golden in _File.model_validate_json(text).goldens]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"The golden values {path} are damaged{f', at {where}' if where else ''}: {first['msg']}. "
            "Take the file from the repository."
        ) from None
    found = {golden.key: golden for golden in listed}
    if len(found) != len(listed):
        raise SettingsError(f"The golden values {path} have two lines for one lock, architecture and test.")
    return found


def read_all_goldens(paths: Iterable[Path]) -> dict[Key, Golden]:
    """All that were recorded, in several files.

    Raises:
        SettingsError: One cannot be read, is damaged, or says another thing than one before it.
    """
    found: dict[Key, Golden] = {}
    for path in paths:
        for key, golden in read_goldens(path).items():
            known = found.setdefault(key, golden)
            if known.outcome != golden.outcome:
                raise SettingsError(
                    f"{path} says another thing of {golden.image} on {key.architecture} than the values that "
                    f"came with the release, of {known.recorded:%Y-%m-%d} with {known.device}. Take the line "
                    "that is wrong out of its file."
                )
    return found


def require_place(path: Path) -> None:
    """Check that values can be recorded there, before a long run whose value could not be.

    Raises:
        SettingsError: They cannot.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SettingsError(
            f"The golden values {path} cannot be written: {path.parent} is no folder that you may write to."
        )


def add_golden(path: Path, golden: Golden) -> bool:
    """Record a value; the file is written whole or not at all.

    Returns:
        False when the same was recorded already: nothing is changed then, its origin stays.

    Raises:
        CheckError: Another value is recorded for the same key.
        SettingsError: The file cannot be read or written.
    """
    with _alone(path):
        known = dict(read_goldens(path))
        before = known.get(golden.key)
        if before is not None:
            if before.outcome == golden.outcome:
                return False
            raise CheckError(
                f"Another value is recorded for {golden.image} on {golden.key.architecture}, of "
                f"{before.recorded:%Y-%m-%d} with {before.device}. If it is the wrong one, take its line out "
                f"of {path} first."
            )
        known[golden.key] = golden
        _write(path, known)
    return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two that record at the same time come one after the other."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"The golden values {path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, goldens: Mapping[Key, Golden]) -> None:
    listed = sorted(goldens.values(), key=lambda g: (g.image, g.key.architecture, g.key.test, g.recorded))
    lines = [json.dumps(_Golden.of(one).model_dump(mode="json"), ensure_ascii=False) for one in listed]
    text = '{"schema": 1, "goldens": [\n' + ",\n".join(lines) + "\n]}\n"
    try:
        write_whole(path, text)
    except OSError as error:
        raise SettingsError(f"The golden values {path} cannot be written: {error.strerror}.") from error
