"""Python packages in every image: those of the locks and no others; a person's own lie in their home."""

from __future__ import annotations

from io import BytesIO
from tarfile import TarInfo
from tarfile import open as open_tar

import pytest
from gpuspawner.setup.images import ImageEntry, load_catalogue
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.sessions import HOME, Home, Session, engine, run
from support.wheels import wheel

pytestmark = pytest.mark.docker
OURS = {"gpuspawner-session", "pip"}
"""Beside the locks: this project's own, and what came with Python."""
NOBODYS = ("/opt/jupyter/bin/python", "-s", "-m", "pip", "--disable-pip-version-check")
"""pip that does not look into the home."""
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
    frozen = session.exec(*NOBODYS, "list", "--format=freeze").split()
    has = {
        f"{canonicalize_name(name)}=={version}"
        for name, _, version in (one.partition("==") for one in frozen)
    }
    assert {one for one in has if one.partition("==")[0] not in OURS} == locked(image)
    assert "No broken requirements" in session.exec(*NOBODYS, "check")


def put(session: Session, path: str, content: bytes) -> None:
    """A file in the container's home."""
    packed = BytesIO()
    with open_tar(fileobj=packed, mode="w") as archive:
        entry = TarInfo(path)
        entry.size, entry.uid, entry.gid = len(content), 1000, 1000
        archive.addfile(entry, BytesIO(content))
    assert session.container.put_archive(HOME, packed.getvalue())


def test_what_a_person_installs_survives_and_is_seen_by_no_other_image(
    session: Session, home: Home, image: ImageEntry
) -> None:
    put(session, "mine-1.0-py3-none-any.whl", wheel("mine"))
    install = f"%pip install --no-index {HOME}/mine-1.0-py3-none-any.whl\nimport mine\nmine.main()"
    place = f"hello from {HOME}/.local/share/gpuspawner/{image.name}/"
    assert place in session.run_cell(install)
    use = "mine-hello; python -c 'import mine; mine.main()'; true"
    assert run(image, "bash", "-lc", use, **home.mount()).count(place) == 2
    elsewhere = run(another(image), "bash", "-lc", use, **home.mount())
    assert "hello from" not in elsewhere
    assert "No module named 'mine'" in elsewhere
    # The server itself must not see it: a broken package of theirs would lock them out.
    server = session.exec("sh", "-c", "head -1 /opt/jupyter/bin/jupyter-lab").removeprefix("#!").split()
    find = "from importlib.util import find_spec; print(find_spec('json') and not find_spec('mine'))"
    assert session.exec(*server, "-c", find).strip() == "True"
    session.exec("pip", "uninstall", "--yes", "mine")


def another(image: ImageEntry) -> ImageEntry:
    """Another image that is built."""
    built = {tag for one in engine().images.list() for tag in one.tags}
    others = (one for one in load_catalogue() if one.offered and one.name != image.name)
    return next(one for one in others if one.reference in built)
