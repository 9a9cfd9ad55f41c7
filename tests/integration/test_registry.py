"""Images in a real registry: pushed, their digests written down, and fetched by these elsewhere."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import docker
import pytest
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.registry import fetch_images, push_images, read_digests
from support.fake_images import make_passport
from support.images import import_tiny_image
from support.registry import run_registry

pytestmark = [pytest.mark.docker, pytest.mark.registry]


class Shop:
    """An image of a catalogue, a registry, and a checkout that knows both."""

    def __init__(self, folder: Path, address: str) -> None:
        self.client = docker.from_env(timeout=60)
        self.address, self.prefix = address, f"{address}/lab"
        self.paths = Paths(folder / "checkout")
        self.paths.images.mkdir(parents=True)
        self.digests = self.paths.images / "digests.toml"
        mark = secrets.token_hex(6)
        minimal = next(one for one in load_catalogue() if one.name == "minimal")
        name = f"test-{mark}"
        self.entry: ImageEntry = replace(minimal, name=name, reference=f"gpuspawner/{name}:{mark}")
        self.tiny = import_tiny_image(docker.APIClient(version="auto"))

    def build(self, **labels: str) -> str:
        """The image as a build leaves it; its id."""
        wanted = {"gpuspawner.image": self.entry.name, "gpuspawner.lock_hash": self.entry.lock_hash, **labels}
        lines = [f"FROM {self.tiny}", *(f"LABEL {key}={value}" for key, value in wanted.items())]
        recipe = BytesIO("\n".join(lines).encode())
        image, _ = self.client.images.build(fileobj=recipe, tag=self.entry.reference, rm=True)
        assert image.tag(self.entry.latest)
        return str(image.id)

    def forget(self) -> None:
        """As on a host that never had it."""
        for image in self.client.images.list(all=True):
            ours = [one for one in image.tags if self.entry.name in one]
            ours += [one for one in image.attrs["RepoDigests"] if self.entry.name in one]
            for reference in ours:
                # With the last name of a repository its digests go too.
                with suppress(docker.errors.ImageNotFound):
                    self.client.images.remove(reference, force=True)

    def find(self) -> str | None:
        """The id of what the name means here; None where there is none."""
        found = DockerImages().inspect(self.entry.reference)
        return found.digest if found else None


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with run_registry(tmp_path) as address:
        shop = Shop(tmp_path, address)
        monkeypatch.setenv("GPUSPAWNER_REGISTRY", shop.prefix)
        yield shop
        shop.forget()


def test_what_is_pushed_is_fetched_by_its_digest_and_keeps_its_passport(shop: Shop, tmp_path: Path) -> None:
    built = shop.build()
    shelf = Shelf(tmp_path / "passports")
    shelf.put(make_passport(digest=built, image=shop.entry.name, lock_hash=shop.entry.lock_hash))
    push_images(shop.paths, [shop.entry])
    (digest,) = read_digests(shop.digests).values()
    shop.forget()
    assert shop.find() is None
    fetch_images(shop.paths, [shop.entry])
    assert shop.find() == built
    assert shelf.find(built) is not None, "a passport belongs to the id, which is the same everywhere"
    fetched = shop.client.images.get(shop.entry.reference)
    assert f"{shop.prefix}/gpuspawner/{shop.entry.name}@{digest}" in fetched.attrs["RepoDigests"]
    assert shop.client.images.get(shop.entry.latest).id == built


def test_a_tag_that_was_moved_in_the_registry_is_not_what_is_fetched(shop: Shop) -> None:
    built = shop.build()
    push_images(shop.paths, [shop.entry])
    before = shop.digests.read_text()
    assert shop.build(later="1") != built
    push_images(shop.paths, [shop.entry])
    assert shop.digests.read_text() != before, "the digest is that of the last push"
    shop.digests.write_text(before)
    shop.forget()
    fetch_images(shop.paths, [shop.entry])
    assert shop.find() == built


def test_without_a_digest_the_tag_is_fetched(shop: Shop) -> None:
    built = shop.build()
    push_images(shop.paths, [shop.entry])
    shop.digests.unlink()
    shop.forget()
    fetch_images(shop.paths, [shop.entry])
    assert shop.find() == built


def test_what_the_registry_has_not_is_told_and_nothing_takes_its_name(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_images(shop.paths, [shop.entry])
    assert "is not taken, it is built here" in capsys.readouterr().out
    shop.digests.write_text(f"{json.dumps(shop.entry.reference)} = {json.dumps('sha256:' + '5' * 64)}\n")
    with pytest.raises(SetupError, match=r"(?s)not found.*remove that line, and the image is built here"):
        fetch_images(shop.paths, [shop.entry])
    assert shop.find() is None


def test_what_was_built_from_other_locks_is_not_taken(shop: Shop) -> None:
    shop.build(**{"gpuspawner.lock_hash": "0" * 64})
    push_images(shop.paths, [shop.entry])
    shop.forget()
    with pytest.raises(SetupError, match="from the lock files of this checkout"):
        fetch_images(shop.paths, [shop.entry])
    assert shop.find() is None


def test_a_registry_that_is_down_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.build()
    monkeypatch.setenv("GPUSPAWNER_REGISTRY", "127.0.0.1:9/lab")
    with pytest.raises(SetupError, match=re.escape("Is `docker login` needed, does it answer?")):
        push_images(shop.paths, [shop.entry])
    assert not shop.digests.exists()
