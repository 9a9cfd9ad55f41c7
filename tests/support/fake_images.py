"""The Engine's images over a dictionary, and passports with a default for everything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gpuspawner.core.errors import EngineError
from gpuspawner.passport.model import Passport
from gpuspawner.ports import ImageFacts

from .fake_docker import image_id

TORCH = {
    "versions": {"python": "3.13.5", "torch": "2.9.1", "cuda": "12.8", "cudnn": "9.10.2", "nccl": "2.27.5"},
    "minimum_driver": "525.60.13",
    "compute_capabilities": ("7.0", "7.5", "8.0", "8.6", "9.0", "10.0", "12.0"),
}
"""What the passport of an image with torch 2.9 says."""


def run(**changes: Any) -> dict[str, Any]:
    """A fixed-seed run on one architecture."""
    values = {
        "weights": "ab" * 32,
        "losses_hash": "cd" * 32,
        "losses": [2.5, 1.25, 0.5],
        "rng": {"torch": "ef" * 32},
        "step_seconds": 0.0125,
        "date": "2030-05-01T10:00:00Z",
    }
    return values | changes


OTHERS = [
    {"kind": "npm", "name": "@coder/logger", "version": "3.0.1", "hash": "sha512:" + "1b" * 64},
    {"kind": "npm", "name": "ms", "version": "2.0.0", "hash": "sha512:" + "2c" * 64},
    {"kind": "npm", "name": "ms", "version": "2.1.3", "hash": "sha512:" + "3d" * 64},
    {"kind": "generic", "name": "node", "version": "24.19.0", "hash": "sha256:" + "4e" * 32},
]
"""Packages of an image that has VS Code."""


def make_passport(reference: str = "demo/torch:1", **changes: Any) -> Passport:
    """The passport of what a name of the fakes means at first; without torch unless it is told."""
    values: dict[str, Any] = {
        "image": "torch",
        "digest": image_id(reference),
        "lock_hash": "12" * 32,
        "built": datetime(2030, 5, 1, 9, 0, tzinfo=UTC),
        "size_bytes": 7_500_000_000,
        "versions": {"python": "3.13.5"},
        "packages": {"numpy": "2.3.5", "jupyterlab": "4.5.0"},
        "debian_packages": {"git": "1:2.47.3-0+deb13u1"},
    }
    return Passport.model_validate(values | changes)


class FakeImages:
    """Implements :class:`gpuspawner.ports.Images`.

    Attributes:
        images: By name, the id of what it means now.
        told: What a program that is run in any of them prints.
        answers: Whether the Engine does.
        asked: How often it was asked.
    """

    def __init__(self, *references: str) -> None:
        self.images = {reference: image_id(reference) for reference in references}
        self.told = ""
        self.answers = True
        self.asked = 0

    def inspect(self, reference: str) -> ImageFacts | None:
        self.asked += 1
        if not self.answers:
            raise EngineError("The Docker Engine did not describe an image: no answer within 3 s.")
        digest = reference if reference in self.images.values() else self.images.get(reference)
        return ImageFacts(digest, "2030-05-01T09:00:00Z", 7_500_000_000, {}) if digest else None

    def run_python(self, digest: str, source: str) -> str:
        if digest not in self.images.values() or not self.told:
            raise EngineError(f"There is no Python in the image {digest}.")
        compile(source, "inside", "exec")
        return self.told
