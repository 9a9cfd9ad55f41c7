"""A registry, where one is named: what is fetched, by which name, and what is pushed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.setup import registry as module
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.registry import fetch_images, pull_images, push_images, read_digests, registry_prefix

PREFIX = "registry.example.org/lab"
DIGEST = f"sha256:{'5' * 64}"


class Engine:
    """An Engine and a registry that has some references; what it was told to do.

    Attributes:
        labels: Of whatever is fetched.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.has: set[str] = set()
        self.tags: dict[str, str] = {}
        self.pulled: list[str] = []
        self.labels: object = None
        patch.setattr(module, "run_step", self.run_step)
        patch.setattr(module, "capture", self.capture)

    def run_step(self, title: str, command: Sequence[str], **more: Any) -> None:
        if command[1] == "push":
            self.has.add(command[2])
            log: Path = more["log"]
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as output:
                print(f"1: digest: sha256:{'4' * 64} size: 7\n2: digest: {DIGEST} size: 7", file=output)
        else:
            self.pulled.append(command[2])
            if command[2] not in self.has:
                raise SetupError(f"{title}: failed (exit code 1).")

    def capture(self, command: Sequence[str], **more: Any) -> str | None:
        if command[1] == "tag":
            self.tags[command[3]] = command[2]
            return ""
        assert command[1:3] == ["image", "inspect"]
        if command[4] == "{{.Id}}":
            return "sha256:1" if command[-1] in self.tags else None
        return json.dumps(self.labels)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, entry: ImageEntry) -> Engine:
    monkeypatch.setenv("GPUSPAWNER_REGISTRY", PREFIX)
    engine = Engine(monkeypatch)
    engine.labels = {"gpuspawner.image": entry.name, "gpuspawner.lock_hash": entry.lock_hash, "more": ""}
    return engine


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    Paths(tmp_path).images.mkdir()
    return Paths(tmp_path)


@pytest.fixture
def entry() -> ImageEntry:
    return next(one for one in load_catalogue() if one.name == "minimal")


def test_without_a_registry_nobody_is_asked(
    engine: Engine, paths: Paths, entry: ImageEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPUSPAWNER_REGISTRY")
    fetch_images(paths, [entry])
    assert not engine.pulled
    with pytest.raises(SetupError, match=r"GPUSPAWNER_REGISTRY=registry\.example\.org/lab make push"):
        push_images(paths, [entry])


def test_what_the_registry_has_is_not_built(engine: Engine, paths: Paths, entry: ImageEntry) -> None:
    engine.has = {f"{PREFIX}/{entry.reference}"}
    fetch_images(paths, [entry])
    assert engine.tags == dict.fromkeys([entry.reference, entry.latest], f"{PREFIX}/{entry.reference}")


def test_what_it_does_not_have_is_left_to_be_built(engine: Engine, paths: Paths, entry: ImageEntry) -> None:
    fetch_images(paths, [entry])
    assert (engine.pulled, engine.tags) == ([f"{PREFIX}/{entry.reference}"], {})


def test_after_a_push_only_that_digest_is_fetched(engine: Engine, paths: Paths, entry: ImageEntry) -> None:
    push_images(paths, [entry])
    assert read_digests(paths.images / "digests.toml") == {entry.reference: DIGEST}
    by_digest = f"{PREFIX}/gpuspawner/minimal@{DIGEST}"
    with pytest.raises(SetupError, match="remove that line, and the image is built here"):
        fetch_images(paths, [entry])
    assert engine.pulled == [by_digest], "a tag that was moved must not stand in"
    engine.has.add(by_digest)
    fetch_images(paths, [entry])
    assert engine.tags[entry.reference] == by_digest


@pytest.mark.parametrize("label", ["gpuspawner.image", "gpuspawner.lock_hash", None])
@pytest.mark.parametrize("by_digest", [False, True])
def test_what_was_built_from_other_locks_is_not_taken(
    engine: Engine, paths: Paths, entry: ImageEntry, label: str | None, by_digest: bool
) -> None:
    engine.labels = {**engine.labels, label: "other"} if label and isinstance(engine.labels, dict) else None
    engine.has = {f"{PREFIX}/{entry.reference}", f"{PREFIX}/gpuspawner/minimal@{DIGEST}"}
    if by_digest:
        (paths.images / "digests.toml").write_text(f"{json.dumps(entry.reference)} = {json.dumps(DIGEST)}\n")
        with pytest.raises(SetupError, match=r"is not minimal from the lock files of this checkout"):
            fetch_images(paths, [entry])
    else:
        fetch_images(paths, [entry])
    assert engine.tags == {}


def test_a_push_that_names_no_digest_writes_none(
    engine: Engine, paths: Paths, entry: ImageEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "tail", lambda _: "pushed")
    with pytest.raises(SetupError, match="does not say under which digest"):
        push_images(paths, [entry])
    assert not (paths.images / "digests.toml").exists()


def test_a_second_push_keeps_what_is_written(engine: Engine, paths: Paths, entry: ImageEntry) -> None:
    other = next(one for one in load_catalogue() if one.name == "science")
    push_images(paths, [entry])
    push_images(paths, [other])
    assert set(read_digests(paths.images / "digests.toml")) == {entry.reference, other.reference}


@pytest.mark.parametrize("text", ["https://registry.example.org", "Registry/Lab", "a b", "x:y", "-"])
def test_what_is_no_registry_is_told(text: str) -> None:
    if text == "-":
        assert registry_prefix({"GPUSPAWNER_REGISTRY": " localhost:5000/ "}) == "localhost:5000"
        return
    with pytest.raises(SetupError, match=r"such as registry\.example\.org/lab, without https://"):
        registry_prefix({"GPUSPAWNER_REGISTRY": text})


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = ", "cannot be read"), ('"a:1" = "sha256:5"', "'a:1' must be sha256:"), ('"a:1" = 5', "not 5")],
)
def test_damaged_digests_are_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "digests.toml"
    file.write_text(text)
    with pytest.raises(SetupError, match=words):
        read_digests(file)


def test_a_server_pulls_by_digest_and_by_nothing_else(
    engine: Engine, paths: Paths, entry: ImageEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.has = {f"{PREFIX}/{entry.reference}"}  # the tag alone
    with pytest.raises(SetupError, match=rf"digests.toml has no digest of {entry.reference}.*make push"):
        pull_images(paths, [entry])
    assert engine.pulled == []
    (paths.images / "digests.toml").write_text(f'"{entry.reference}" = "{DIGEST}"\n')
    by_digest = f"{PREFIX}/gpuspawner/minimal@{DIGEST}"
    with pytest.raises(SetupError):
        pull_images(paths, [entry])
    assert engine.pulled == [by_digest]
    engine.has = {by_digest}
    pull_images(paths, [entry])
    assert engine.tags[entry.reference] == by_digest
    pull_images(paths, [entry])
    assert engine.pulled == [by_digest] * 2, "what is there is not pulled"
    monkeypatch.delenv("GPUSPAWNER_REGISTRY")
    with pytest.raises(SetupError, match="No registry is configured"):
        pull_images(paths, [entry])
