"""An image with a passport, from the Engine to the container: real Hub, real agent, simulated cards."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.shell.passport import Named, look_inside
from support.images import default_images, derived_image
from support.installation import CHEAP_SERVER, HOST, Installation

pytestmark = pytest.mark.docker

TORCH = "Torch"
CONFIG = f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}\n"


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    with derived_image('LABEL gpuspawner.image="torch"') as made:
        yield made


@pytest.fixture(scope="module")
def site(reference: str) -> Iterator[Installation]:
    with Installation(images={**default_images(), TORCH: reference}, config=CONFIG) as installation:
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


@pytest.fixture
def shelf(site: Installation) -> Shelf:
    return Shelf(site.state_dir / "passports")


def put(shelf: Shelf, reference: str, **changes: object) -> str:
    """The passport of the image, as if torch were in it; its id."""
    made = look_inside(DockerImages(), shelf, Named("torch", reference))
    shelf.put(made.model_copy(update=changes))
    return made.digest


def test_the_id_that_was_checked_is_the_one_that_runs(
    site: Installation, shelf: Shelf, reference: str
) -> None:
    """The agent has written down the driver of the simulated cards, and their compute capability fits."""
    with site.ledger.read() as unit:
        (one, *_) = unit.inventory(HOST)
    capability = one.device.compute_capability
    assert one.device.driver
    assert capability
    code = ("{}.{}".format(*capability),)
    digest = put(shelf, reference, minimum_driver="525.60.13", compute_capabilities=code)
    assert site.client("ada").spawn({"gpus": 1, "image": TORCH}).ready
    found = site.container("ada")
    assert (found["Image"], found["Config"]["Image"]) == (digest, digest)
    assert f"GPUSPAWNER_IMAGE_DIGEST={digest}" in found["Config"]["Env"]
    assert f"JUPYTER_IMAGE_SPEC={reference}" in found["Config"]["Env"]
    assert (site.lease_of("ada").image, site.lease_of("ada").digest) == (reference, digest)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"compute_capabilities": ("5.0",)},
            "has code for GPUs of compute capability 5.0, and does not run on",
        ),
        ({"minimum_driver": "999.1"}, "The image Torch needs NVIDIA driver 999.1 or newer; this server has"),
    ],
)
def test_what_does_not_fit_is_not_started(
    site: Installation, shelf: Shelf, reference: str, changes: dict[str, object], says: str
) -> None:
    put(shelf, reference, **changes)
    answer = site.client("ada").spawn({"gpus": 1, "image": TORCH})
    assert not answer.ready
    assert says in str(answer)
    assert site.client("ada").spawn({"gpus": 0, "image": TORCH}).ready, "without a GPU it need not fit"


def test_a_name_that_is_moved_means_another_image_from_then_on(
    site: Installation, shelf: Shelf, reference: str
) -> None:
    client = docker.APIClient(version="auto")
    digest = put(shelf, reference, compute_capabilities=("5.0",))
    base = next(iter(default_images().values()))
    name, tag = reference.split(":")
    client.tag(base, name, tag)
    try:
        # The image that the name means now has no passport, so any card will do.
        assert site.client("ada").spawn({"gpus": 1, "image": TORCH}).ready
        assert site.container("ada")["Image"] != digest
        assert site.lease_of("ada").digest == site.container("ada")["Image"]
    finally:
        client.tag(digest, name, tag)
        client.close()
