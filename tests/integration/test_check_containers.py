"""Containers of checks on the real Engine: what goes wrong in them, and what is left of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import pytest
from gpuspawner.adapters.docker_checks import DockerChecks
from gpuspawner.core.checkrun import LABEL_CHECK, CheckRun, Ended, explain_end
from gpuspawner.core.errors import CheckError, EngineError
from support.images import default_images

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def image() -> str:
    return next(iter(default_images().values()))


@pytest.fixture
def mine() -> Iterator[dict[str, str]]:
    """A label by which this test's containers are found; none may be left."""
    label = {"gpuspawner.test": str(time.monotonic_ns())}
    yield label
    assert find(label) == []


def find(label: dict[str, str]) -> list[str]:
    ((key, value),) = label.items()
    listed = docker.APIClient(version="auto").containers(all=True, filters={"label": f"{key}={value}"})
    return [one["Id"] for one in listed]


def run(image: str, label: dict[str, str], script: str, *, seconds: int = 60, memory: int = 2**28) -> Ended:
    shell = ("sh", "-c", script)
    return DockerChecks().run(
        CheckRun(image, shell, seconds=seconds, labels=label, memory_bytes=memory, cpus=1.0)
    )


def test_both_outputs_and_the_status_are_told(image: str, mine: dict[str, str]) -> None:
    ended = run(image, mine, "echo out; echo err >&2; exit 3")
    assert (ended.exit_code, ended.out) == (3, "out\n")
    assert ended.err.endswith("err\n")


def test_one_that_takes_too_long_is_ended(image: str, mine: dict[str, str]) -> None:
    ended = run(image, mine, "sleep 50", seconds=1)
    assert explain_end(ended, 1) == "It was not done within 1 s."


def test_one_that_eats_all_memory_says_so(image: str, mine: dict[str, str]) -> None:
    ended = run(image, mine, "exec python3 -c 'b = bytearray(2**30)'")
    assert explain_end(ended, 60) == "Its memory ran out."


def test_one_that_never_stops_talking_is_cut_off(image: str, mine: dict[str, str]) -> None:
    with pytest.raises(CheckError, match="more than 8 MiB"):
        run(image, mine, "yes")


def test_an_image_that_is_not_there_is_an_error(mine: dict[str, str]) -> None:
    with pytest.raises(EngineError, match=r"[Nn]o such image"):
        run("gpuspawner-test/none:1", mine, "true")


def test_only_what_is_over_is_swept_away(image: str, mine: dict[str, str]) -> None:
    client = docker.APIClient(version="auto")
    made = {
        until: client.create_container(image, labels={**mine, LABEL_CHECK: until})["Id"]
        for until in (str(int(time.time()) - 1), str(int(time.time()) + 600), "never")
    }
    try:
        DockerChecks().remove_leftovers()
        assert set(find(mine)) == set(list(made.values())[1:])
    finally:
        for one in find(mine):
            client.remove_container(one, force=True)
