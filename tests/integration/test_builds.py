"""Builds of images that go wrong, on the real Engine: what is told, what is left, and how it goes on."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuspawner.setup import diskspace
from gpuspawner.setup.diskspace import GIB
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.sif import export_images
from support.second_engine import SecondEngine
from support.yard import SMALL, Yard, python_yard, read_steps, tiny_yard

pytestmark = pytest.mark.docker
MIB = 2**20


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Yard]:
    with tiny_yard(tmp_path) as yard:
        yield yard


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Yard]:
    with python_yard(tmp_path) as yard:
        yield yard


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


def test_a_mirror_of_debian_that_is_down_is_told(python: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    step, _ = read_steps()
    mark = f"RUN echo {secrets.token_hex(4)} >/one\n"
    (python.child / "Dockerfile").write_text(f"ARG PARENT\nFROM ${{PARENT}}\n{mark}{step}")
    with monkeypatch.context() as patch:
        patch.setenv("GPUSPAWNER_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
        with pytest.raises(SetupError, match=r"failed \(exit code 1\)\. A mirror does not answer\."):
            python.build()
    assert "Unable to locate package" not in python.log(), "that would be no help"
    assert not [tag for tag in python.ids() if python.names["child"] in tag]
    python.build()
    assert "CACHED" in python.log().rpartition("## Building")[2]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_the_old_image_and_goes_on_where_it_stopped(
    tiny: Yard, how: signal.Signals
) -> None:
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
    children = Path(f"/proc/{building.pid}/task/{building.pid}/children").read_text().split()
    building.send_signal(how)
    assert building.wait(60) != 0
    if how is signal.SIGKILL:  # with a machine that loses its power, its child is gone too
        for child in children:
            os.killpg(int(child), signal.SIGKILL)
    assert tiny.ids() == before
    assert tiny.client.images.get(old.reference).id == tiny.client.images.get(old.latest).id
    if how is signal.SIGTERM:
        assert not list(tiny.paths.work.glob("*/secrets/*")), "what was lent to the build is cleared away"
    recipe.write_text(f"{lines}RUN echo first >/two\nRUN echo last >/three\n")
    new = tiny.build()
    assert tiny.client.images.get(new.latest).id != tiny.client.images.get(old.reference).id
    assert tiny.log().rpartition("## Building")[2].count("CACHED") == 2
    assert not list(tiny.paths.work.glob("*")), "also what a build that was killed has left"


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


def test_a_disk_that_fills_up_during_a_build_is_told_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an Engine of its own, whose whole disk has 64 MiB."""
    monkeypatch.setattr(diskspace, "SMALL", 1)  # what was expected to be enough
    with SecondEngine(live_restore=False, disk_bytes=64 * MIB) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        with tiny_yard(tmp_path) as yard:
            recipe = yard.child / "Dockerfile"
            lines = "ARG PARENT\nFROM ${PARENT}\nRUN echo first >/one\n"
            recipe.write_text(lines)
            old = yard.build()
            before, filler = yard.ids(), engine.root / "data" / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(filler.parent).free - 8 * MIB))
            recipe.write_text(f"{lines}RUN cat {' '.join(['/bin/busybox'] * 10)} >/two\n")
            with pytest.raises(SetupError, match=r"The disk is full.* No image was changed\. Run again"):
                yard.build()
            assert before.items() <= yard.ids().items()
            assert yard.client.images.get(old.latest).id == before[old.reference]
            filler.unlink()
            new = yard.build()
            assert yard.client.images.get(new.latest).id not in before.values()
            assert "CACHED" in yard.log().rpartition("## Building")[2]


def test_the_same_lock_gives_the_same_files(python: Yard) -> None:
    lock, found = python.child / "requirements.lock", []
    listing = "cd /opt/jupyter && find . -type f ! -name '*.pyc' | sort | xargs -d '\\n' sha256sum"
    for again in ("# once\n", "# twice\n"):
        lock.write_text(SMALL + again)
        entry = python.build()
        found.append(python.client.containers.run(entry.reference, ["sh", "-c", listing], remove=True))
    assert found[0] == found[1]
    assert b"iniconfig/__init__.py" in found[0]
