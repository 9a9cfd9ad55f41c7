"""What ``gpuspawner-session verify --json`` says, checked: the image may be anybody's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from gpuspawner.core.errors import CheckError
from gpuspawner.core.reproduce import Key, Outcome, Report

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Architecture = Annotated[str, Field(pattern=r"^(sm_\d{2,3}|cpu-[a-z0-9]+)$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Streams = Annotated[dict[Name, Sha256], Field(min_length=1, max_length=16)]
Versions = Annotated[dict[Name, Text | None], Field(max_length=32)]
Losses = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=2, max_length=10_000)
]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Run(_Part):
    weights: Sha256
    losses_hash: Sha256
    data: Sha256
    rng: Streams
    step_seconds: Seconds

    def to_core(self) -> Outcome:
        return Outcome(self.weights, self.losses_hash, self.data, tuple(sorted(self.rng.items())))


class _Image(_Part):
    lock_hash: Sha256 | None


class _Answer(_Part):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    test: Name
    architecture: Architecture
    device: Text
    card_uuid: Text | None
    driver: Text | None
    image: _Image
    versions: Versions
    runs: Annotated[tuple[_Run, ...], Field(min_length=2, max_length=8)]
    losses: Losses
    torch_of_image: bool
    at: AwareDatetime


class _Error(_Part):
    error: Annotated[str, Field(min_length=1, max_length=2000)]


def parse_report(text: str) -> Report:
    """Read the answer of a container.

    Raises:
        CheckError: The image cannot do it, and says why; or what it says makes no sense.
    """
    try:
        answer = _Answer.model_validate_json(text)
    except ValidationError as error:
        raise _explain(text, error) from None
    if answer.image.lock_hash is None:
        raise CheckError(
            "The image does not say what it was locked to (/opt/gpuspawner/image.json), so its result holds "
            "for nothing. Build it with `make images`."
        )
    if not answer.torch_of_image:
        raise CheckError("The torch that ran is not the image's own, so this says nothing of the image.")
    return Report(
        key=Key(answer.image.lock_hash, answer.architecture, answer.test),
        runs=tuple(run.to_core() for run in answer.runs),
        losses=answer.losses,
        step_seconds=answer.runs[0].step_seconds,
        versions=tuple(sorted(answer.versions.items())),
        device=answer.device,
        card_uuid=answer.card_uuid,
        driver=answer.driver,
        at=answer.at,
    )


def _explain(text: str, error: ValidationError) -> CheckError:
    try:
        return CheckError(_Error.model_validate_json(text).error)
    except ValidationError:
        first = error.errors(include_url=False)[0]
        what = first["msg"]
        where = ".".join(str(part) for part in first["loc"]) or "its beginning"
        return CheckError(f"The image's answer makes no sense at {where}: {what}.")
