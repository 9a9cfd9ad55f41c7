"""The same demands on the fake images and on those of a real Engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import pytest
from gpuspawner.adapters import docker_images
from gpuspawner.adapters.docker_images import LABEL, MOST_BYTES, DockerImages
from gpuspawner.core.errors import EngineError
from gpuspawner.passport.shelf import Shelf
from gpuspawner.ports import Images
from gpuspawner.setup.images import load_catalogue
from gpuspawner.shell.passport import Named, look_inside
from support.fake_images import FakeImages
from support.images import default_images, derived_image, import_tiny_image

LABELS = {"gpuspawner.image": "small", "gpuspawner.lock_hash": "12" * 32}


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    found = docker.APIClient(version="auto", timeout=120)
    yield found
    found.close()


@pytest.fixture(scope="module")
def python_image() -> Iterator[str]:
    """A small image with a Python, as `make images` labels them."""
    with derived_image(*(f'LABEL {name}="{value}"' for name, value in LABELS.items())) as reference:
        yield reference


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def images(request: pytest.FixtureRequest) -> tuple[Images, str]:
    """Images, and a reference of one of them."""
    if request.param == "fake":
        return FakeImages("demo/torch:1"), "demo/torch:1"
    return DockerImages(), request.getfixturevalue("python_image")


def test_what_a_reference_means(images: tuple[Images, str]) -> None:
    engine, reference = images
    found = engine.inspect(reference)
    assert found is not None
    assert found.digest.startswith("sha256:")
    assert len(found.digest) == len("sha256:") + 64
    assert found.size_bytes > 0
    again = engine.inspect(found.digest)
    assert again is not None
    assert again.digest == found.digest


def test_there_is_none_of_that_name(images: tuple[Images, str]) -> None:
    engine, _ = images
    assert engine.inspect("gpuspawner-test/nothing:1") is None
    assert engine.inspect("sha256:" + "0" * 64) is None


@pytest.mark.parametrize("name", ["", "a b", "Upper/Case", "x:", "../x", "x@sha256:12", "x" * 300])
def test_a_name_that_no_image_can_have(images: tuple[Images, str], name: str) -> None:
    """One in the settings must not hide what is known of all others."""
    assert images[0].inspect(name) is None


def test_no_image_no_program(images: tuple[Images, str]) -> None:
    engine, _ = images
    with pytest.raises(EngineError):
        engine.run_python("sha256:" + "0" * 64, "print(1)")


# -- a real Engine alone ------------------------------------------------------------------------------------


@pytest.fixture
def digest(python_image: str) -> str:
    found = DockerImages().inspect(python_image)
    assert found is not None
    return found.digest


@pytest.mark.docker
def test_a_program_is_walled_off(digest: str) -> None:
    source = """
import os, socket
def can(what):
    try:
        what()
    except OSError:
        return False
    return True
print(os.getuid(), can(lambda: open("/etc/x", "w")), can(lambda: open("/tmp/x", "w")),
      can(lambda: socket.create_connection(("1.1.1.1", 53), 2)), os.listdir("/sys/class/net"))
"""
    assert DockerImages().run_python(digest, source).strip() == "65534 False True False ['lo']"


@pytest.mark.docker
def test_nothing_is_left(client: docker.APIClient, digest: str) -> None:
    DockerImages().run_python(digest, "print(1)")
    with pytest.raises(EngineError, match="could not be looked into: ZeroDivisionError"):
        DockerImages().run_python(digest, "1 / 0")
    with pytest.raises(EngineError, match="it printed nothing"):
        DockerImages().run_python(digest, "pass")
    assert client.containers(all=True, filters={"label": f"{LABEL}={digest}"}) == []


@pytest.mark.docker
def test_what_a_killed_process_left_is_removed(
    client: docker.APIClient, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once: somebody else may be looking into the image at this moment."""
    left = client.create_container(digest, entrypoint=["sleep", "60"], command=[], labels={LABEL: digest})
    client.start(left)
    ours = {"label": f"{LABEL}={digest}"}
    DockerImages().run_python(digest, "print(1)")
    assert len(client.containers(filters=ours)) == 1
    later = time.time() + 600
    monkeypatch.setattr(docker_images.time, "time", lambda: later)
    DockerImages().run_python(digest, "print(1)")
    assert client.containers(all=True, filters=ours) == []


@pytest.mark.docker
def test_a_program_that_hangs_or_floods(client: docker.APIClient, digest: str) -> None:
    with pytest.raises(EngineError, match="no answer within 3 s"):
        DockerImages(timeout_seconds=3).run_python(digest, "import time; time.sleep(600)")
    flood = f"import sys\nfor _ in range(3 * {MOST_BYTES} // 1000): sys.stdout.write('x' * 1000)"
    with pytest.raises(EngineError, match="prints more than"):
        DockerImages().run_python(digest, flood)
    assert client.containers(all=True, filters={"label": f"{LABEL}={digest}"}) == []


@pytest.mark.docker
def test_an_image_without_python(client: docker.APIClient) -> None:
    found = DockerImages().inspect(import_tiny_image(client))
    assert found is not None
    with pytest.raises(EngineError, match="There is no Python in the image"):
        DockerImages().run_python(found.digest, "print(1)")


@pytest.mark.docker
def test_a_whole_passport(python_image: str, tmp_path) -> None:
    found = look_inside(DockerImages(), Shelf(tmp_path), Named("x", python_image))
    # What lies in it, and not the label that was put onto it.
    (own,) = (one for one in load_catalogue() if one.reference == next(iter(default_images().values())))
    assert (found.image, found.lock_hash) == (own.name, own.lock_hash)
    assert found.packages["jupyterlab"]
    assert found.debian_packages["git"]
    assert found.versions.python.startswith("3.")
    torch = found.packages.get("torch")
    assert found.versions.torch == (torch and torch.partition("+")[0])
    assert (found.needs("x") is None) == (torch is None)


@pytest.mark.docker
def test_no_engine_at_all() -> None:
    with pytest.raises(EngineError, match="it cannot be reached"):
        DockerImages("unix:///nowhere/docker.sock").inspect("x")
