"""An image runs on the cards that its passport fits, and what was checked is what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator
from gpuspawner.core.errors import LedgerError
from gpuspawner.passport.shelf import Shelf
from jupyterhub.spawner import SpawnException
from support.build import HOST
from support.fake_docker import FakeDocker, api_error, image_id
from support.fake_images import TORCH, make_passport, run
from support.mock_hub import MockHub, reached

Make = Callable[..., MockHub]
GPU = {"gpus": 1, "image": "torch"}
CPU, BOTH = {"cpu-avx2": run()}, {"cpu-avx2": run(), "sm_80": run()}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "passports")


@pytest.fixture
def hub(make: Make, shelf: Shelf) -> MockHub:
    return make(passports=str(shelf.directory))


def describe_cards(ledger: Ledger, *cards: tuple[tuple[int, int] | None, str | None]) -> None:
    """The cards of the tests, each with its compute capability and driver."""
    with ledger.write() as unit:
        for record, (capability, driver) in zip(unit.inventory(HOST), cards, strict=True):
            device = replace(record.device, compute_capability=capability, driver=driver)
            unit.put_device(replace(record, device=device))


async def refused(hub: MockHub, options: dict[str, object] = GPU) -> SpawnException:
    with pytest.raises(SpawnException) as caught:
        await hub.start(options)
    return caught.value


async def test_a_card_without_code_for_it_is_avoided(hub: MockHub, shelf: Shelf, ledger: Ledger) -> None:
    shelf.put(make_passport(**TORCH))
    describe_cards(ledger, ((6, 0), "580.82"), ((8, 9), "580.82"))
    spawner = await hub.start(GPU)
    assert spawner.lease.devices == ("GPU-1",)


async def test_no_card_fits(hub: MockHub, shelf: Shelf, ledger: Ledger, docker: FakeDocker) -> None:
    shelf.put(make_passport(**TORCH))
    describe_cards(ledger, ((6, 0), "580.82"), ((6, 0), "580.82"))
    error = await refused(hub)
    assert error.reason == "never_possible"
    assert error.jupyterhub_message == (
        "The image torch has code for GPUs of compute capability 7.0, 7.5, 8.0, 8.6, 9.0, 10.0, 12.0, and "
        "does not run on A100 (of compute capability 6.0). Choose another image or another GPU. "
        "You can start a server without a GPU now: choose “No GPU”."
    )
    assert docker.containers == {}
    assert hub.leases() == []


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ("470.57.02", "needs NVIDIA driver 525.60.13 or newer; this server has 470.57.02."),
        (None, "this server has one of an unknown version."),
    ],
)
async def test_the_driver_is_too_old(
    hub: MockHub, shelf: Shelf, ledger: Ledger, driver: str | None, says: str
) -> None:
    shelf.put(make_passport(**TORCH))
    describe_cards(ledger, ((8, 0), driver), ((8, 0), driver))
    error = await refused(hub)
    assert error.reason == "never_possible"
    assert says in error.jupyterhub_message
    assert "ask the administrator to update the driver" in error.jupyterhub_message


async def test_a_server_without_gpu_needs_no_fit(hub: MockHub, shelf: Shelf, ledger: Ledger) -> None:
    shelf.put(make_passport(**TORCH))
    describe_cards(ledger, ((6, 0), "470"), ((6, 0), "470"))
    await hub.start({"image": "torch"})


async def test_without_a_passport_any_card_will_do(make: Make, hub: MockHub, shelf: Shelf) -> None:
    """The cards of the tests say neither driver nor compute capability."""
    shelf.put(make_passport("demo/other:1", **TORCH))
    await hub.start(GPU)
    await make().start({"gpus": 1, "image": "torch"}, name="bob")


async def test_a_damaged_passport_gives_no_gpu(hub: MockHub, shelf: Shelf) -> None:
    shelf.directory.mkdir()
    shelf.path_of(image_id("demo/torch:1")).write_text('{"schema_version": 1}')
    error = await refused(hub)
    assert "is damaged, at image" in error.jupyterhub_message
    assert "gpuspawner passport make" in error.jupyterhub_message
    assert hub.leases() == []
    await hub.start({"image": "torch"})


async def test_what_was_checked_runs(hub: MockHub, docker: FakeDocker) -> None:
    """The name is moved to another image while the start is under way."""
    gate = docker.hang("create_container")
    task = hub.begin(GPU)
    await reached(gate.reached)
    docker.move("demo/torch:1", "another")
    gate.open()
    await asyncio.wait([task])
    settings = docker.named("jupyter-ada").settings
    assert settings["image"] == image_id("demo/torch:1")
    assert settings["environment"]["GPUSPAWNER_IMAGE_DIGEST"] == image_id("demo/torch:1")
    assert settings["environment"]["JUPYTER_IMAGE_SPEC"] == "demo/torch:1"
    assert [(one.image, one.digest) for one in hub.live_leases()] == [
        ("demo/torch:1", image_id("demo/torch:1"))
    ]
    assert ("inspect_image", settings["image"]) in docker.calls, "also its command is asked by the id"
    assert hub.spawner().image == "demo/torch:1"


async def test_the_next_start_takes_what_the_name_means_then(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start({})
    docker.move("demo/base:1", "another")
    await hub.start({}, name="bob")
    assert [one.digest for one in hub.live_leases()] == [image_id("demo/base:1"), image_id("another")]


async def test_the_image_is_not_here(hub: MockHub, docker: FakeDocker) -> None:
    del docker.images["demo/torch:1"]
    assert (await refused(hub)).reason == "image_missing"
    assert hub.leases() == []


@pytest.mark.parametrize("point", ["inspect_image", "after inspect_image"])
async def test_the_engine_fails_before_anything_is_held(hub: MockHub, docker: FakeDocker, point: str) -> None:
    docker.fail(point, api_error(500, "oops"))
    assert (await refused(hub)).reason == "engine_failed"
    assert hub.leases() == []
    docker.recover()
    await hub.start(GPU)


async def test_the_start_page_says_what_is_known(
    hub: MockHub, shelf: Shelf, ledger: Ledger, docker: FakeDocker
) -> None:
    shelf.put(make_passport(**TORCH, runs={"sm_80": run(), "cpu-avx2": run()}))
    describe_cards(ledger, ((6, 0), "580.82"), ((6, 0), "580.82"))
    html = await hub.spawner().get_options_form()
    assert "torch · torch 2.9.1 · validated on CPU, sm_80 · not yet validated on sm_60</option>" in html
    assert '<option value="base" selected>base</option>' in html
    assert 'data-unfit="[&#34;A100&#34;, &#34;any&#34;]"' in html
    docker.fail("inspect_image")
    assert ">torch</option>" in await hub.spawner().get_options_form()


# -- what a start takes that names no image -----------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        ({"runs": CPU}, {"runs": BOTH}, "torch"),
        ({"runs": BOTH}, {"runs": BOTH}, "base"),
        ({"runs": CPU}, {"runs": CPU}, "base"),
        ({"runs": BOTH, "tests": {"x": "failed"}}, {"runs": BOTH}, "torch"),
        ({"runs": {}, "lock_hash": None}, {"runs": BOTH}, "base"),
    ],
    ids=["not tried", "tried", "none was tried", "failed a test", "cannot be tried"],
)
async def test_what_was_not_tried_here_is_not_the_default(
    hub: MockHub, shelf: Shelf, ledger: Ledger, case: tuple[dict, dict, str]
) -> None:
    """Whatever somebody wrote into a file: the one before it stays, and the new one can be asked for."""
    first, second, taken = case
    describe_cards(ledger, ((8, 0), "580.82"), ((8, 0), "580.82"))
    shelf.put(make_passport("demo/base:1", **TORCH, **first))
    shelf.put(make_passport(**TORCH, **second))
    spawner = await hub.start({"gpus": 1})
    assert spawner.image == f"demo/{taken}:1"
    html = await hub.spawner(name="bob").get_options_form()
    assert f'<option value="{taken}" selected' in html
    named = await hub.start({"gpus": 1, "image": "base"}, name="bob")
    assert named.image == "demo/base:1"


async def test_simulated_cards_keep_nothing_back(hub: MockHub, shelf: Shelf, ledger: Ledger) -> None:
    with ledger.write() as unit:
        for record in unit.inventory(HOST):
            device = replace(record.device, model="A100 (simulated)", compute_capability=(8, 0), driver="580")
            unit.put_device(replace(record, device=device))
    shelf.put(make_passport("demo/base:1", **TORCH, runs=CPU))
    shelf.put(make_passport(**TORCH, runs=BOTH))
    assert (await hub.start({"gpus": 1})).image == "demo/base:1"


async def test_where_nobody_knows_the_cards_the_processor_is_what_is_here(
    hub: MockHub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Allocator) -> tuple[str, ...]:
        raise LedgerError("The ledger cannot be read.")

    monkeypatch.setattr(Allocator, "fleet", fail)
    shelf.put(make_passport("demo/base:1", **TORCH))
    shelf.put(make_passport(**TORCH, runs=CPU))
    assert (await hub.start({})).image == "demo/torch:1"
