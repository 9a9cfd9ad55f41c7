"""The images' own tests, in real containers, over the images that are built.

``test_lab.py`` is run for every image whose ``tests`` in images/images.toml have ``lab``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from gpuspawner.passport.shelf import Shelf
from gpuspawner.setup.images import ImageEntry, ImageStatus, load_catalogue
from support.sessions import ALARMING, Home, Session, engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--passports",
        type=Path,
        help="put the results into the passports of the images in this directory (make test-images)",
    )


def pytest_configure(config: pytest.Config) -> None:
    directory = config.getoption("--passports", default=None)
    if directory is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(Shelf(directory)))


class Results:
    """What became of the tests of each image, for its passport.

    Args:
        shelf: Where the passports are.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._found: dict[str, dict[str, str]] = {}
        """By image, by test."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended; each test has three, and the worst counts."""
        file, _, test = report.nodeid.rpartition("::")
        if not file.startswith("tests/images/") or "[" not in test:
            return
        name, _, case = test.removesuffix("]").partition("[")
        images = (one.name for one in load_catalogue() if f"{case}-".startswith(f"{one.name}-"))
        image = max(images, key=len, default="")
        known = self._found.setdefault(image, {})
        kind, about = Path(file).stem.removeprefix("test_"), case.removeprefix(image)
        key = f"{kind}: {name.removeprefix('test_').replace('_', ' ')}{about}"
        if report.failed or (report.when == "call" and known.get(key) != "failed"):
            known[key] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Put them into the passports; the results of files that were not run now stay."""
        for entry in load_catalogue():
            found = self._found.get(entry.name)
            if found and _is_built(entry):
                passport = self._shelf.find(str(engine().images.get(entry.reference).id))
                if passport is not None:
                    run = {test.partition(":")[0] for test in found}
                    kept = {k: v for k, v in passport.tests.items() if k.partition(":")[0] not in run}
                    self._shelf.put(passport.model_copy(update={"tests": {**kept, **found}}))


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
