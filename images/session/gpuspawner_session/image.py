"""Which image this is, as it says itself and as the hub that started it says."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/opt/gpuspawner")
"""What an image says of itself; a course's packages are below it too."""
FILE = FOLDER / "image.json"
"""Put into every image when it is built."""
DIGEST_VARIABLE = "GPUSPAWNER_IMAGE_DIGEST"
"""The image's sha256 id; an image cannot know its own."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of the image; None is unknown."""

    name: str | None = None
    title: str | None = None
    lock_hash: str | None = None
    """sha256 over the lock files of the image and of those it stands on."""
    chain: tuple[str, ...] = ()
    """It and the images it stands on, as the file names them."""
    digest: str | None = None


def read_image(file: Path = FILE) -> Image:
    """Read it; outside an image, or where the file is damaged, all is unknown."""
    named = os.environ.get(DIGEST_VARIABLE, "")
    digest = named if _DIGEST.fullmatch(named) else None
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict):
        return Image(digest=digest)
    chain = data.get("chain")
    return Image(
        name=_text(data.get("name")),
        title=_text(data.get("title")),
        lock_hash=_text(data.get("lock_hash")),
        chain=tuple(part for part in chain if isinstance(part, str)) if isinstance(chain, list) else (),
        digest=digest,
    )


def to_json(image: Image) -> dict[str, object]:
    """For programs and for the stamp."""
    return {
        "name": image.name,
        "title": image.title,
        "digest": image.digest,
        "lock_hash": image.lock_hash,
        "chain": list(image.chain),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
