"""A checkout of a test's own with a catalogue of two images, of which the real Engine builds the second."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import docker
from gpuspawner.setup.builds import ensure_images
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths

from .images import import_tiny_image

BASE = '[[image]]\nname = "{base}"\ntitle = "Base"\ndescription = "Made elsewhere."\nstatus = "layer"\n'
CHILD = (
    '[[image]]\nname = "{child}"\nparent = "{base}"\ntitle = "Child"\ndescription = "Built here."\n'
    'status = "layer"\n'
)
LOCK = Path(__file__).parents[1] / "requirements.lock"
SMALL = re.search(r"^iniconfig==.*?(?=^[a-z])", LOCK.read_text(), re.M | re.S)[0]  # type: ignore[index]
"""A locked package of one module, which no image has."""


def read_steps() -> tuple[str, str]:
    """The steps of the images that reach mirrors: for Debian packages, one small one here, and for Python."""
    recipe = (Paths().images / "workbench" / "Dockerfile").read_text()
    debian, python = re.findall(r"^RUN .*?(?=^RUN |\Z)", recipe, re.M | re.S)
    one = re.sub(r"apt-get install -y -q .* \\\n", "apt-get install -y -q hello \\\\\n", debian)
    assert "-q hello" in one
    return one, python


class Yard:
    """A checkout with a catalogue of two images, whose parent the Engine has."""

    def __init__(self, root: Path, parent: str) -> None:
        mark = secrets.token_hex(4)
        self.names = {"base": f"test-base-{mark}", "child": f"test-child-{mark}"}
        self.paths, self.parent = Paths(root), parent
        self.child = self.paths.images / self.names["child"]
        self.child.mkdir(parents=True)
        (self.paths.images / self.names["base"]).mkdir()
        shutil.copy(Paths().images / "layer.Dockerfile", self.paths.images)
        self.client = docker.from_env(timeout=60)

    def entry(self) -> ImageEntry:
        """The child, with its parent in the Engine."""
        lock = 'lock = "requirements.lock"\n' if (self.child / "requirements.lock").exists() else ""
        text = BASE.format(**self.names) + CHILD.format(**self.names) + lock
        (self.paths.images / "images.toml").write_text(text)
        base, child = load_catalogue(self.paths.images / "images.toml")
        assert self.client.images.get(self.parent).tag(base.reference)
        return child

    def build(self) -> ImageEntry:
        """Build the child. Raises: SetupError."""
        entry = self.entry()
        ensure_images(self.paths, lambda one: one.name == entry.name)
        return entry

    def ids(self) -> dict[str, str]:
        """Reference → id of every image of this yard."""
        ours = [one for name in self.names.values() for one in self.client.images.list(f"gpuspawner/{name}")]
        mine = tuple(f"gpuspawner/{name}:" for name in self.names.values())
        return {tag: str(one.id) for one in ours for tag in one.tags if tag.startswith(mine)}

    def log(self) -> str:
        """What the Engine printed in all builds of the child."""
        return (self.paths.logs / f"image-{self.names['child']}.log").read_text()

    def clear(self) -> None:
        """Remove what was built."""
        for reference in self.ids():
            self.client.images.remove(reference)


@contextmanager
def tiny_yard(root: Path) -> Iterator[Yard]:
    """On an image of 2 MB, without Python."""
    yard = Yard(root, import_tiny_image(docker.APIClient(version="auto", **docker.utils.kwargs_from_env())))
    try:
        yield yard
    finally:
        yard.clear()


@contextmanager
def python_yard(root: Path) -> Iterator[Yard]:
    """On the smallest image, with the Dockerfile of images that have none of their own."""
    client, parent = docker.from_env(timeout=60), f"gpuspawner-test/parent:{secrets.token_hex(4)}"
    minimal = next(one for one in load_catalogue() if one.name == "minimal")
    # As its packages alone are, on which other images stand.
    recipe = BytesIO(f"FROM {minimal.reference}\nUSER 0:0\nENTRYPOINT []\n".encode())
    client.images.build(fileobj=recipe, tag=parent, rm=True)
    yard = Yard(root, parent)
    try:
        yield yard
    finally:
        yard.clear()
        client.images.remove(parent)
