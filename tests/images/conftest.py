"""The images' own tests, in real containers, over the images that are built.

``test_lab.py`` is run for every image whose ``tests`` in images/images.toml have ``lab``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from gpuspawner.setup.images import ImageEntry, ImageStatus, load_catalogue
from support.sessions import ALARMING, Home, Session, engine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "image" not in metafunc.fixturenames:
        return
    kind = metafunc.module.__name__.rpartition("test_")[2]
    entries = [one for one in load_catalogue() if kind in one.tests and one.status is not ImageStatus.LAYER]
    metafunc.parametrize("image", [_case(entry) for entry in entries], indirect=True, scope="session")


def _case(entry: ImageEntry) -> object:
    missing = [] if _is_built(entry) else [pytest.mark.skip(reason=f"needs {entry.reference}: make images")]
    return pytest.param(entry, id=entry.name, marks=missing)


def _is_built(entry: ImageEntry) -> bool:
    try:
        engine().images.get(entry.reference)
    except docker.errors.DockerException:
        return False
    return True


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> ImageEntry:
    """One image of the catalogue."""
    entry: ImageEntry = request.param
    return entry


@pytest.fixture(scope="session")
def home(image: ImageEntry) -> Iterator[Home]:
    """The home of the session of an image; it outlives containers."""
    with Home() as home:
        yield home


@pytest.fixture(scope="session")
def session(image: ImageEntry, home: Home) -> Iterator[Session]:
    """JupyterLab in a container of the image, as a session runs it, for all tests of that image.

    Whatever they do with it: nothing alarming may be in its log at the end.
    """
    with Session(image, **home.mount()) as session:
        assert session.health() == "healthy", session.log
        yield session
        assert not ALARMING.findall(session.log), session.log
