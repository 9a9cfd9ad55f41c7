"""Builds of images that go wrong, on the real Engine: what is told, what is left, and how it goes on."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import docker
import pytest
from gpuspawner.setup.builds import ensure_images
from gpuspawner.setup.diskspace import GIB
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.sif import export_images
from support.images import import_tiny_image

pytestmark = pytest.mark.docker
BASE = '[[image]]\nname = "{base}"\ntitle = "Base"\ndescription = "Made elsewhere."\nstatus = "layer"\n'
CHILD = (
    '[[image]]\nname = "{child}"\nparent = "{base}"\ntitle = "Child"\ndescription = "Built here."\n'
    'status = "layer"\n'
)
LOCK = Path(__file__).parents[1] / "requirements.lock"
SMALL = re.search(r"^iniconfig==.*?(?=^[a-z])", LOCK.read_text(), re.M | re.S)[0]  # type: ignore[index]
"""A locked package of one module, which no image has."""


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


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Yard]:
    """On an image of 2 MB, without Python."""
    yard = Yard(tmp_path, import_tiny_image(docker.APIClient(version="auto")))
    yield yard
    yard.clear()


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Yard]:
    """On the smallest image, with the Dockerfile of images that have none of their own."""
    client, parent = docker.from_env(timeout=60), f"gpuspawner-test/parent:{secrets.token_hex(4)}"
    minimal = next(one for one in load_catalogue() if one.name == "minimal")
    # As its packages alone are, on which other images stand.
    recipe = BytesIO(f"FROM {minimal.reference}\nUSER 0:0\nENTRYPOINT []\n".encode())
    client.images.build(fileobj=recipe, tag=parent)
    yard = Yard(tmp_path, parent)
    yield yard
    yard.clear()
    client.images.remove(parent)


def test_a_wrong_hash_is_told_and_leaves_the_old_image(python: Yard) -> None:
    lock = python.child / "requirements.lock"
    lock.write_text(SMALL)
    python.build()
    before = python.ids()
    assert any(tag.endswith(":latest") for tag in before)
    lock.write_text(re.sub(r"sha256:[0-9a-f]{4}", "sha256:0000", SMALL))
    with pytest.raises(SetupError) as told:
        python.build()
    for words in ("DO NOT MATCH THE HASHES", "is not the one that was locked", "No image was changed."):
        assert words in str(told.value)
    assert {tag: before[tag] for tag in before} == {tag: python.ids().get(tag) for tag in before}
    lock.write_text(SMALL)
    python.build()
    assert python.ids() | before == python.ids()


def test_a_lock_that_contradicts_the_image_is_refused(python: Yard) -> None:
    lock = python.child / "requirements.lock"
    lock.write_text("jupyterlab==4.0.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SetupError, match="asks for another one than the image has"):
        python.build()


def test_a_mirror_that_is_down_is_told_and_the_next_run_goes_on(
    python: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Engine keeps finished steps: this one must not be one of them.
    (python.child / "requirements.lock").write_text(f"{SMALL}# {secrets.token_hex(4)}\n")
    with monkeypatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        patch.setenv("PIP_RETRIES", "1")
        with pytest.raises(SetupError, match="No connection: build again"):
            python.build()
    assert "Connection refused" in python.log()
    assert not [tag for tag in python.ids() if python.names["child"] in tag]
    python.build()


def test_an_interrupted_build_leaves_the_old_image_and_goes_on_where_it_stopped(tiny: Yard) -> None:
    recipe = tiny.child / "Dockerfile"
    lines = f"ARG PARENT\nFROM ${{PARENT}}\nRUN echo {secrets.token_hex(4)} >/one\n"
    recipe.write_text(lines)
    old = tiny.build()
    recipe.write_text(f"{lines}RUN echo first >/two\nRUN sleep 60\n")
    entry, before = tiny.entry(), tiny.ids()
    code = (
        "import sys; from pathlib import Path; from gpuspawner.setup.builds import ensure_images; "
        "from gpuspawner.setup.cli import handle_signals; from gpuspawner.setup.paths import Paths; "
        "handle_signals(); ensure_images(Paths(Path(sys.argv[1])), lambda one: one.name == sys.argv[2])"
    )
    building = subprocess.Popen([sys.executable, "-c", code, str(tiny.paths.root), entry.name])
    deadline = time.monotonic() + 60
    while "sleep 60" not in tiny.log():
        assert building.poll() is None
        assert time.monotonic() < deadline, tiny.log()
        time.sleep(0.1)
    building.send_signal(signal.SIGTERM)
    assert building.wait(60) != 0
    assert tiny.ids() == before
    assert tiny.client.images.get(old.reference).id == tiny.client.images.get(old.latest).id
    assert not list(tiny.paths.work.glob("*/secrets/*")), "what was lent to the build is cleared away"
    recipe.write_text(f"{lines}RUN echo first >/two\nRUN echo last >/three\n")
    new = tiny.build()
    assert tiny.client.images.get(new.latest).id != tiny.client.images.get(old.reference).id
    assert tiny.log().rpartition("## Building")[2].count("CACHED") == 2


def test_what_is_exported_can_be_loaded_elsewhere(tiny: Yard) -> None:
    (tiny.child / "Dockerfile").write_text(
        f"ARG PARENT\nFROM ${{PARENT}}\nLABEL test={secrets.token_hex(4)}\n"
    )
    entry = tiny.build()
    export_images(tiny.paths, [entry])
    folder = tiny.paths.state / "sif"
    assert sorted(path.suffix for path in folder.iterdir()) == [".def", ".tar"]
    name = next(
        line.removeprefix("From: ")
        for line in (folder / f"{entry.name}.def").read_text().splitlines()
        if line.startswith("From: ")
    )
    before = tiny.ids()[entry.reference]
    tiny.client.images.remove(entry.reference)
    tiny.client.images.load((folder / name).read_bytes())
    assert tiny.ids()[entry.reference] == before
    tiny.client.images.remove(entry.reference)
    with pytest.raises(SetupError, match=f"is not built. Run: make images IMAGE={entry.name}"):
        export_images(tiny.paths, [entry])


def test_a_full_disk_is_told_before_anything_begins(tiny: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny.child / "Dockerfile").write_text("ARG PARENT\nFROM ${PARENT}\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9 * GIB, 8 * GIB, GIB))
    with pytest.raises(SetupError, match=r"needs 2 GiB in /.*1\.0 GiB are free\. Nothing was changed"):
        tiny.build()
    assert not tiny.paths.logs.exists()


def test_the_same_lock_gives_the_same_files(python: Yard) -> None:
    lock, found = python.child / "requirements.lock", []
    listing = "cd /opt/jupyter && find . -type f ! -name '*.pyc' | sort | xargs -d '\\n' sha256sum"
    for again in ("# once\n", "# twice\n"):
        lock.write_text(SMALL + again)
        entry = python.build()
        found.append(python.client.containers.run(entry.reference, ["sh", "-c", listing], remove=True))
    assert found[0] == found[1]
    assert b"iniconfig/__init__.py" in found[0]
