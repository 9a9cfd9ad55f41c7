"""The passport of an image, as it is kept in ``<sha256>.json`` and in ``images/<name>/passport.json``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from gpuspawner.core.errors import PassportError
from gpuspawner.core.images import list_untried, require_code
from gpuspawner.core.model import ImageNeeds

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Architecture = Annotated[str, Field(pattern=r"^(sm_\d{2,3}|cpu-[a-z0-9]+)$")]
Code = Annotated[str, AfterValidator(require_code)]
Version = Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+_-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Versions(_Part):
    """Versions as the image itself says them; None: it has no such thing."""

    python: Version
    torch: Version | None = None
    cuda: Version | None = None
    cudnn: Version | None = None
    nccl: Version | None = None


class Run(_Part):
    """A fixed-seed training on one architecture (``gpuspawner verify``)."""

    weights: Annotated[Sha256, Field(description="Hash of the final weights.")]
    losses_hash: Annotated[Sha256, Field(description="Hash of the loss curve.")]
    losses: Annotated[tuple[FiniteFloat, ...], Field(description="The loss curve.")]
    rng: Annotated[dict[str, Sha256], Field(description="Hash of each stream of random numbers, by name.")]
    step_seconds: Annotated[FiniteFloat, Field(ge=0, description="Median time of one step, in seconds.")]
    driver: Annotated[str | None, Field(description="Driver that it ran under; null without a GPU.")] = None
    card: Annotated[str | None, Field(description="Model of the card; null without a GPU.")] = None
    date: AwareDatetime


class OtherPackage(_Part):
    """A package that is neither Python's nor Debian's."""

    kind: Annotated[
        Literal["npm", "generic"], Field(description="Whose: npm's, or generic: a program by itself.")
    ]
    name: Annotated[str, Field(min_length=1, max_length=214)]
    version: Annotated[str, Field(min_length=1, max_length=256)]
    hash: Annotated[
        str | None,
        Field(
            pattern=r"^sha(1:[0-9a-f]{40}|256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})$",
            description="Of the package as the registry has it, or of the program; null: none is known.",
        ),
    ] = None


class Passport(_Part):
    """One image."""

    schema_version: Annotated[Literal[1], Field(description="Rises when a key changes its meaning.")] = 1
    image: Annotated[str, Field(min_length=1, max_length=200, description="Name in images/images.toml.")]
    digest: Annotated[Digest, Field(description="The image's id.")]
    lock_hash: Annotated[
        Sha256 | None, Field(description="Hash over the lock files of its chain; null: it was not locked.")
    ] = None
    built: AwareDatetime
    size_bytes: Annotated[int, Field(ge=0)]
    versions: Versions
    minimum_driver: Annotated[
        Version | None, Field(description="The oldest driver it runs with; null: any, it brings no CUDA.")
    ] = None
    compute_capabilities: Annotated[
        tuple[Code, ...],
        Field(description="There is code for these: 8.0, 9.0a (this one alone), 12.0+PTX (and later ones)."),
    ] = ()
    packages: Annotated[dict[str, str], Field(description="Python packages: name → version.")]
    debian_packages: Annotated[dict[str, str], Field(description="Debian packages: name → version.")]
    other_packages: Annotated[
        tuple[OtherPackage, ...],
        Field(
            description="VS Code's packages of npm, and its Node; left out where there are none.",
            # So that a release that does not know of them can read the passports of its own images.
            exclude_if=lambda found: not found,
        ),
    ] = ()
    tests: Annotated[
        dict[str, Literal["passed", "failed", "skipped"]], Field(description="Tests of the image: result.")
    ] = {}
    runs: Annotated[dict[Architecture, Run], Field(description="By architecture: sm_80, cpu-avx2.")] = {}

    def needs(self, name: str) -> ImageNeeds | None:
        """What it needs of a card and its driver; None when any will do.

        Args:
            name: What people choose it by.
        """
        if self.minimum_driver is None and not self.compute_capabilities:
            return None
        return ImageNeeds(name, self.minimum_driver, self.compute_capabilities)

    def list_untried(self, fleet: Iterable[str]) -> tuple[str, ...]:
        """On which architectures of a fleet it was not tried; none without torch, with which it is tried."""
        return list_untried(self.runs, fleet) if self.versions.torch else ()

    def list_failed(self) -> tuple[str, ...]:
        """Its tests that failed."""
        return tuple(name for name, result in self.tests.items() if result == "failed")

    def may_be_default(self, fleet: Iterable[str]) -> bool:
        """Whether a start may take it that names no image, where another one may be taken too.

        What was not built from locks cannot be tried, so nothing is asked of it.
        """
        return self.lock_hash is None or not (self.list_failed() or self.list_untried(fleet))

    @property
    def others(self) -> dict[str, str]:
        """Packages that are neither Python's nor Debian's: name → version, or versions."""
        found: dict[str, list[str]] = {}
        for one in self.other_packages:
            found.setdefault(one.name, []).append(one.version)
        return {name: ", ".join(versions) for name, versions in found.items()}

    @property
    def sha256(self) -> str:
        """The image's id without its prefix: the name of the passport's file."""
        return self.digest.removeprefix("sha256:")


def parse_passport(text: str | bytes, source: str) -> Passport:
    """Read a passport.

    Args:
        text: JSON.
        source: Where it is from, for the error.

    Raises:
        PassportError: It is not one; names the source, the key and the fix.
    """
    try:
        return Passport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PassportError(
            f"The passport {source} is damaged{f', at {where}' if where else ''}: {first['msg']}. "
            "Make it anew: gpuspawner passport make IMAGE"
        ) from None
