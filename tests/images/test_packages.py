"""Python packages in every image: those of the locks and no others; a person's own lie in their home."""

from __future__ import annotations

import zipfile
from io import BytesIO
from tarfile import TarInfo
from tarfile import open as open_tar

import pytest
from gpuspawner.setup.images import ImageEntry, load_catalogue
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.sessions import HOME, Home, Session, engine, run

pytestmark = pytest.mark.docker
OURS = {"gpuspawner-session", "pip"}
"""Beside the locks: this project's own, and what came with Python."""
LINUX = {
    "python_version": "3.13",
    "python_full_version": "3.13.5",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def locked(image: ImageEntry) -> set[str]:
    """``name==version`` of all that the locks have for this platform."""
    lines = (line for lock in image.locks for line in lock.read_text().splitlines())
    wanted = (Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum())
    return {
        f"{canonicalize_name(one.name)}{one.specifier}"
        for one in wanted
        if one.marker is None or one.marker.evaluate(LINUX)
    }


def test_its_packages_are_those_of_its_locks_and_fit_together(session: Session, image: ImageEntry) -> None:
    frozen = session.exec("pip", "--disable-pip-version-check", "list", "--format=freeze").split()
    has = {
        f"{canonicalize_name(name)}=={version}"
        for name, _, version in (one.partition("==") for one in frozen)
    }
    assert {one for one in has if one.partition("==")[0] not in OURS} == locked(image)
    assert "No broken requirements" in session.exec("pip", "check")


def wheel(name: str, version: str = "1.0") -> bytes:
    """A package of one module, which prints hello, and one program."""
    files = {
        f"{name}.py": "def main():\n    print('hello from', __file__)\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{name}-hello = {name}:main\n",
        f"{name}-{version}.dist-info/RECORD": "",
    }
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return packed.getvalue()


def put(session: Session, path: str, content: bytes) -> None:
    """A file in the container's home."""
    packed = BytesIO()
    with open_tar(fileobj=packed, mode="w") as archive:
        entry = TarInfo(path)
        entry.size, entry.uid, entry.gid = len(content), 1000, 1000
        archive.addfile(entry, BytesIO(content))
    assert session.container.put_archive(HOME, packed.getvalue())


@pytest.fixture(scope="module")
def another(image: ImageEntry) -> ImageEntry:
    """Another image that is built."""
    built = {tag for one in engine().images.list() for tag in one.tags}
    return next(
        one for one in load_catalogue() if one.offered and one.name != image.name and one.reference in built
    )


@pytest.fixture
def furnished(image: ImageEntry, home: Home) -> Home:
    """A home into which its person installed a package from a cell of this image."""
    with Session(image, **home.mount()) as session:
        assert session.health() == "healthy", session.log
        put(session, "mine-1.0-py3-none-any.whl", wheel("mine"))
        session.run_cell(
            f"%pip install --no-index {HOME}/mine-1.0-py3-none-any.whl\nimport mine\nmine.main()"
        )
    return home


def test_what_a_person_installs_survives_and_is_seen_by_no_other_image(
    furnished: Home, image: ImageEntry, another: ImageEntry
) -> None:
    use = "mine-hello; python -c 'import mine; mine.main()'; true"
    place = f"{HOME}/.local/share/gpuspawner/{image.name}/"
    found = run(image, "bash", "-lc", use, **furnished.mount())
    assert found.count(f"hello from {place}") == 2, found
    elsewhere = run(another, "bash", "-lc", use, **furnished.mount())
    assert "hello" not in elsewhere.replace("mine-hello", "")
    assert "No module named 'mine'" in elsewhere
    # The server itself must not see it: a broken package of theirs would lock them out.
    server = "head -1 /opt/jupyter/bin/jupyter-lab | cut -c3- | sed 's/$/ -c \"import mine\"/' | sh; true"
    assert "No module named 'mine'" in run(image, "bash", "-lc", server, **furnished.mount())
