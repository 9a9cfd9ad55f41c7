"""A course's own packages on top of an image, by a Dockerfile of three lines."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from gpuspawner.setup.images import ImageEntry
from gpuspawner.setup.paths import Paths
from support.sessions import Home, engine, run
from support.wheels import wheel

pytestmark = pytest.mark.docker


def read_recipe() -> str:
    """The Dockerfile in the docs."""
    return re.findall(r"```dockerfile\n(.*?)```", (Paths().root / "docs/images.md").read_text(), re.S)[0]


class Course:
    """A folder with the Dockerfile of the docs and the lock of one package, which lies beside it."""

    def __init__(self, folder: Path, image: ImageEntry) -> None:
        self.folder, self.reference = folder, f"gpuspawner-test/course:{secrets.token_hex(4)}"
        self.file = folder / "vision-1.0-py3-none-any.whl"
        self.file.write_bytes(wheel("vision"))
        (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /tmp\n")
        lines = read_recipe().splitlines()
        assert [line.split()[0] for line in lines] == ["FROM", "COPY", "RUN"]
        lines[0] = f"FROM {image.reference}"
        # No network is needed: the package is fetched from where the lock lies.
        lines[1] = lines[1].replace("requirements.lock", f"requirements.lock {self.file.name}")
        lines[2] = lines[2].replace("RUN ", "RUN --mount=type=secret,id=pip,uid=1000 ")
        (folder / "Dockerfile").write_text("\n".join(lines))
        self.lock("vision==1.0", hashlib.sha256(self.file.read_bytes()).hexdigest())

    def lock(self, pin: str, digest: str) -> None:
        (self.folder / "requirements.lock").write_text(f"{pin} --hash=sha256:{digest}\n")

    def build(self) -> str:
        """What the build prints. Raises: AssertionError: It failed; with what it printed."""
        command = ["docker", "build", "--progress=plain", "--secret", f"id=pip,src={self.folder}/pip.conf"]
        built = subprocess.run(
            [*command, "-t", self.reference, str(self.folder)], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
        return built.stderr


@pytest.fixture
def course(tmp_path: Path, image: ImageEntry) -> Iterator[Course]:
    """A course on the image."""
    course = Course(tmp_path, image)
    yield course
    with suppress(docker.errors.ImageNotFound):
        engine().images.remove(course.reference, force=True)


def test_three_lines_make_an_image_of_its_own(course: Course, image: ImageEntry) -> None:
    course.build()
    use = "python -c 'import vision; vision.main()'; vision-hello; pip check; cat /opt/gpuspawner/image.json"
    found = run(course.reference, "bash", "-lc", use)
    assert found.count("hello from /opt/gpuspawner/course/lib/") == 2
    assert "No broken requirements" in found
    inside = json.loads(found[found.index("{") :])
    locks = [*image.locks, course.folder / "requirements.lock"]
    assert inside == {
        "name": "vision",
        "title": "Computer vision",
        "chain": [*image.chain, "vision"],
        "lock_hash": hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest(),
    }
    with Home() as home:
        where = run(course.reference, "python", "-m", "site", "--user-base", **home.mount())
        assert where.strip().endswith("/gpuspawner/vision")
    assert engine().images.get(course.reference).attrs["Config"]["User"] == "1000:1000"


def test_a_wrong_hash_ends_the_build_and_says_so(course: Course) -> None:
    course.lock("vision==1.0", "0" * 64)
    with pytest.raises(AssertionError, match="the package is not the one that was locked"):
        course.build()


def test_a_version_that_the_image_has_cannot_be_changed(course: Course) -> None:
    course.lock("tornado==5.0", "0" * 64)
    with pytest.raises(AssertionError, match="asks for another one than the image has"):
        course.build()
