"""Fetching images from a registry, where one is configured, instead of building them; and pushing them there.

Nothing here is needed: without ``GPUSPAWNER_REGISTRY`` no registry is ever asked.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from .console import capture, run_step, say, tail
from .errors import SetupError
from .images import ImageEntry
from .paths import Paths

VARIABLE = "GPUSPAWNER_REGISTRY"
PREFIX = re.compile(r"[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9._-]+)*")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PUSHED = re.compile(rf"digest: ({DIGEST.pattern})")
DIGESTS = "digests.toml"
"""Beside the catalogue: reference → digest, which is the only thing that is fetched under that name."""
HEADER = (
    "# What `make push` put into the registry. What is listed here is fetched by this digest and no other.\n"
)


def registry_prefix(environment: Mapping[str, str] = os.environ) -> str | None:
    """What stands before the names of images in the registry: ``registry.example.org/lab``; None without one.

    Raises:
        SetupError: It is no such prefix.
    """
    text = environment.get(VARIABLE, "").strip().rstrip("/")
    if text and not PREFIX.fullmatch(text):
        raise SetupError(
            f"{VARIABLE} must be a registry and a path in lower case, such as registry.example.org/lab, "
            f"without https://; it is {text!r}."
        )
    return text or None


def read_digests(file: Path) -> dict[str, str]:
    """The digests that are configured, by reference; none without the file.

    Raises:
        SetupError: The file is malformed; names the entry and the fix.
    """
    try:
        found = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{file} cannot be read: {error}. Correct it, or remove it.") from error
    for reference, digest in found.items():
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise SetupError(
                f"{file}: {reference!r} must be sha256: and 64 hexadecimal digits, not {digest!r}."
            )
    return {reference: str(digest) for reference, digest in found.items()}


def fetch_images(paths: Paths, entries: Sequence[ImageEntry]) -> None:
    """Fetch what the registry has, by digest where one is configured; the rest is left to be built.

    Raises:
        SetupError: A configured digest cannot be had: something else must not take its name.
    """
    prefix = registry_prefix()
    if prefix is None:
        return
    digests = read_digests(paths.images / DIGESTS)
    for entry in entries:
        _fetch(paths, prefix, entry, digests.get(entry.reference))


def _fetch(paths: Paths, prefix: str, entry: ImageEntry, digest: str | None) -> None:
    try:
        _pull(paths, prefix, entry, digest)
    except SetupError as error:
        if digest:
            raise SetupError(
                f"{error}\n{DIGESTS} says that {entry.reference} is {digest}. If the registry does not "
                "have it any more, remove that line, and the image is built here."
            ) from error
        say(f"    {entry.reference} is not taken, it is built here: {str(error).splitlines()[0]}")


def _pull(paths: Paths, prefix: str, entry: ImageEntry, digest: str | None) -> None:
    """Fetch an image, and name it as everywhere. Raises: SetupError: It cannot be had, or is another."""
    name, _, tag = entry.reference.rpartition(":")
    wanted = f"{prefix}/{name}@{digest}" if digest else f"{prefix}/{name}:{tag}"
    run_step(
        f"Fetching {wanted}",
        ["docker", "pull", wanted],
        log=paths.logs / f"image-{entry.name}.log",
        fix="Is the registry reached from here, and is `docker login` needed?",
    )
    _require_labels(wanted, entry)
    for reference in (entry.reference, entry.latest):
        if capture(["docker", "tag", wanted, reference]) is None:
            raise SetupError(f"{wanted} was fetched and cannot be tagged as {reference}.")


def _require_labels(fetched: str, entry: ImageEntry) -> None:
    """Refuse what was not built from the locks of this checkout. Raises: SetupError."""
    found = json.loads(
        capture(["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", fetched]) or "null"
    )
    labels = {"gpuspawner.image": entry.name, "gpuspawner.lock_hash": entry.lock_hash}
    if not isinstance(found, dict) or not labels.items() <= found.items():
        raise SetupError(f"{fetched} is not {entry.name} from the lock files of this checkout.")


def split_by_digest(
    entries: Sequence[ImageEntry], digests: Mapping[str, str]
) -> tuple[list[ImageEntry], list[ImageEntry]]:
    """Those whose digest is known, and those whose is not."""
    known = [entry for entry in entries if entry.reference in digests]
    return known, [entry for entry in entries if entry.reference not in digests]


def pull_images(paths: Paths, entries: Sequence[ImageEntry]) -> None:
    """Fetch images by their digests, and by nothing else; nothing is built in their place.

    Raises:
        SetupError: No registry is configured, one has no digest, or it cannot be had.
    """
    prefix = registry_prefix()
    if prefix is None:
        raise SetupError(f"No registry is configured. Name one: {VARIABLE}=registry.example.org/lab")
    digests = read_digests(paths.images / DIGESTS)
    unknown = split_by_digest(entries, digests)[1]
    if unknown:
        names = ", ".join(entry.reference for entry in unknown)
        raise SetupError(f"{DIGESTS} has no digest of {names}. Write it by `make push` where they are built.")
    for entry in entries:
        if capture(["docker", "image", "inspect", "--format", "{{.Id}}", entry.reference]) is None:
            _pull(paths, prefix, entry, digests[entry.reference])


def push_images(paths: Paths, entries: Sequence[ImageEntry]) -> None:
    """Push images, and write their digests down.

    Raises:
        SetupError: No registry is configured, or it does not take one of them.
    """
    prefix = registry_prefix()
    if prefix is None:
        raise SetupError(
            f"No registry is configured. Name one: {VARIABLE}=registry.example.org/lab make push"
        )
    file = paths.images / DIGESTS
    for entry in entries:
        target = f"{prefix}/{entry.reference}"
        log = paths.logs / f"image-{entry.name}.log"
        if capture(["docker", "tag", entry.reference, target]) is None:
            raise SetupError(f"{entry.reference} is not built, so it cannot be pushed. Run make images.")
        run_step(
            f"Pushing {target}",
            ["docker", "push", target],
            log=log,
            fix="Is `docker login` needed, does it answer?",
        )
        digests = {**read_digests(file), entry.reference: _find_digest(log, entry)}
        lines = (
            f"{json.dumps(reference)} = {json.dumps(digest)}\n"
            for reference, digest in sorted(digests.items())
        )
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(HEADER + "".join(lines))
        partial.replace(file)


def _find_digest(log: Path, entry: ImageEntry) -> str:
    """The digest that the last push printed. Raises: SetupError."""
    # Not the Engine's RepoDigests: of an image that was pushed before it may know several.
    found = PUSHED.findall(tail(log))
    if not found:
        raise SetupError(f"{entry.reference} was pushed, and {log} does not say under which digest.")
    return str(found[-1])
