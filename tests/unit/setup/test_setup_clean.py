"""``make clean`` takes what this checkout made, and leaves what others have."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from gpuspawner.setup import clean as module
from gpuspawner.setup.clean import CACHES, clean, find_leftovers, remove_leftovers
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.paths import Paths


@dataclass
class FakeDocker:
    """The docker commands that ``clean`` runs, on three lists."""

    containers: dict[str, str] = field(default_factory=dict)
    """Name → image."""
    networks: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    answers: bool = True

    def __call__(self, command: list[str], *, seconds: float = 30) -> str | None:
        del seconds
        match command if self.answers else []:
            case []:
                return None
            case ["docker", "version"]:
                return "28"
            case ["docker", "ps", "-a", "--filter", wanted, *_, "--format", "{{.Names}}"]:
                return "\n".join(name for name in self.containers if self._matches(wanted, name))
            case ["docker", "network", "ls", "--filter", wanted, "--format", "{{.Name}}"]:
                return "\n".join(name for name in self.networks if self._matches(wanted, name))
            case ["docker", "image", "ls", pattern, "--format", "{{.Repository}}:{{.Tag}}"]:
                return "\n".join(fnmatch.filter(self.images, pattern))
            case ["docker", "container", "rm", "-f", name]:
                return self.containers.pop(name)
            case ["docker", "network", "rm", name]:
                self.networks.remove(name)
                return name
            case ["docker", "image", "rm", name]:
                if name in self.containers.values():
                    return None
                self.images.remove(name)
                return name
        raise AssertionError(command)

    def _matches(self, wanted: str, name: str) -> bool:
        key, _, value = wanted.partition("=")
        return self.containers[name] == value if key == "ancestor" else bool(re.search(value, name))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "checkout")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    fake = FakeDocker()
    monkeypatch.setattr(module, "capture", fake)
    return fake


def test_an_instance_is_named_as_the_demo_names_it(paths: Paths) -> None:
    assert paths.instance == f"demo-{sha256(str(paths.root / '.gpuspawner').encode()).hexdigest()[:8]}"


def test_servers_and_networks_of_another_checkout_stay(
    paths: Paths, engine: FakeDocker, tmp_path: Path
) -> None:
    other = Paths(tmp_path / "other").instance
    engine.containers = {f"{paths.instance}-ada": "gpuspawner/a:1", f"{other}-ada": "gpuspawner/b:1"}
    engine.networks = [f"gpuspawner-{paths.instance}", f"gpuspawner-{other}", "bridge"]
    remove_leftovers(find_leftovers(paths))
    assert list(engine.containers) == [f"{other}-ada"]
    assert engine.networks == [f"gpuspawner-{other}", "bridge"]


def test_an_image_that_a_container_uses_stays_and_is_named(
    paths: Paths, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.containers = {"theirs": "gpuspawner/b:1"}
    engine.images = ["gpuspawner/a:1", "gpuspawner/b:1", "debian:13"]
    remove_leftovers(find_leftovers(paths))
    assert engine.images == ["gpuspawner/b:1", "debian:13"]
    assert "image gpuspawner/b:1 stays: theirs uses it" in capsys.readouterr().out


def test_what_a_killed_demo_and_the_tools_leave_is_removed(
    paths: Paths, engine: FakeDocker, tmp_path: Path
) -> None:
    cdi, instance = tmp_path / "cdi", paths.instance
    cdi.mkdir()
    ours, theirs = cdi / f"gpuspawner-sim-{instance}.json", cdi / "gpuspawner-sim-demo-00000000.json"
    for file in (ours, theirs):
        file.write_text("{}")
    for name in (".gpuspawner", *CACHES):
        (paths.root / name).mkdir(parents=True)
    source = paths.root / "spawner" / "kept.py"
    source.touch()
    remove_leftovers(find_leftovers(paths, cdi))
    assert list(cdi.iterdir()) == [theirs]
    assert [path for path in paths.root.rglob("*") if not path.is_dir()] == [source]
    assert not engine.networks


def test_the_question_names_homes_containers_and_images(paths: Paths, engine: FakeDocker) -> None:
    (paths.state / "demo" / "homes" / "ada").mkdir(parents=True)
    engine.containers = {f"{paths.instance}-ada": "gpuspawner/a:1"}
    engine.images = ["gpuspawner/a:1"]
    assert list(find_leftovers(paths).lines()) == [
        "the demo's homes, with all files in them: ada",
        str(paths.state),
        f"1 container: {paths.instance}-ada",
        "1 image: gpuspawner/a:1",
    ]


@pytest.mark.usefixtures("engine")
def test_where_nothing_was_made_nothing_is_asked(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    clean(paths, force=False)
    assert "nothing to remove" in capsys.readouterr().out


def test_an_engine_that_does_not_answer_is_told(
    paths: Paths, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.state.mkdir(parents=True)
    engine.answers = False
    clean(paths, force=True)
    assert "does not answer" in capsys.readouterr().out
    assert not paths.state.exists()


@pytest.mark.usefixtures("engine")
def test_without_a_person_to_ask_nothing_is_removed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.state.mkdir(parents=True)
    monkeypatch.setattr("sys.stdin", (paths.root / "empty").open("w+"))
    with pytest.raises(SetupError, match="FORCE=1"):
        clean(paths, force=False)
    assert paths.state.exists()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("answer", "removed"), [("yes", True), ("y", True), ("no", False), ("", False)])
def test_the_answer_counts(paths: Paths, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool) -> None:
    paths.state.mkdir(parents=True)
    monkeypatch.setattr("sys.stdin", StringIO(f"{answer}\n"))
    clean(paths, force=False)
    assert paths.state.exists() is not removed
