"""What a user sends is hostile, and so may be an image: nothing of it opens a card that was not leased."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from support.client import text_of
from support.images import default_images, derived_image
from support.installation import CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

GREEDY = "Greedy"

CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.GPUSpawner.environment = {{"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with (
        derived_image("ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all", "USER root") as greedy,
        Installation(images={**default_images(), GREEDY: greedy}, config=CONFIG) as installation,
    ):
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def _nest(depth: int) -> Any:
    return [_nest(depth - 1)] if depth else 1


HOSTILE: dict[str, tuple[Any, str]] = {
    "more GPUs than there are": ({"gpus": 99}, "gpus must be a whole number from 0 to 1"),
    "fewer than none": ({"gpus": -1}, "gpus must be a whole number from 0 to 1"),
    "a command": ({"gpus": "1; rm"}, "gpus must be a whole number"),
    "a truth": ({"gpus": True}, "gpus must be a whole number"),
    "a fraction": ({"gpus": 0.5}, "gpus must be a whole number"),
    "a very long number": ({"gpus": 10**4000}, "gpus must be a whole number"),
    "a UUID": ({"gpus": 1, "uuid": "GPU-0"}, "There is no option 'uuid'"),
    "somebody's UUID as a model": ({"gpus": 1, "model": "UUID"}, "There is no GPU of model"),
    "a device list": ({"gpus": 1, "devices": ["UUID"]}, "There is no option 'devices'"),
    "an image outside the catalogue": ({"image": "docker.io/evil:latest"}, "There is no image"),
    "an image's reference": ({"image": "REFERENCE"}, "There is no image"),
    "a host configuration": ({"extra_host_config": {"privileged": True}}, "There is no option"),
    "a profile": ({"profile": "x", "gpus": 1}, "There is no option 'profile'"),
    "environment": ({"environment": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "There is no option 'environment'"),
    "a megabyte as a value": ({"model": "x" * 1_000_000, "gpus": 1}, "model must be a text of 1 to 200"),
    "a megabyte as a name": ({"x" * 1_000_000: 1}, "There is no option"),
    "nothing in a text": ({"image": ""}, "image must be a text of 1 to 200 characters"),
    "a nested list": ({"gpus": [[[1]]]}, "gpus must be a whole number"),
    "a deep nest": ({"gpus": _nest(200)}, "gpus must be a whole number"),
    "a text that ends early": ({"gpus": 1, "model": "A100\0; rm"}, "There is no GPU of model"),
    "half a character": ({"gpus": 1, "model": "\ud800"}, "model"),
    "a script": ({"gpus": 1, "model": "<script>alert(1)</script>"}, "There is no GPU of model"),
    "an attribute": ({"__class__": "x"}, "There is no option '__class__'"),
    "a list": ([1, 2], "JSON object"),
    "a text": ("gpus", "JSON object"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_options_get_a_sentence_and_nothing_else(site: Installation, what: str) -> None:
    options, sentence = HOSTILE[what]
    replaced = {"UUID": site.uuids[0], "REFERENCE": next(iter(default_images().values()))}
    if isinstance(options, dict):
        options = {k: replaced.get(v, v) if isinstance(v, str) else v for k, v in options.items()}
    ada = site.client("ada")

    answer = ada.ask(options)

    assert answer.status_code == 400
    message = answer.json()["message"]
    assert sentence in message
    assert len(message) < 600
    assert site.containers() == []
    assert site.leases() == []
    # What was refused is not remembered: a start without options works.
    assert ada.spawn().ready
    assert site.cards_seen("ada") == []


def test_the_same_in_a_link_or_a_form_is_refused_on_the_page(site: Installation) -> None:
    ada = site.client("ada")
    page = ada.page("/hub/spawn/ada?gpus=99", allow_redirects=True)
    assert page.status_code == 400
    assert "gpus must be a whole number from 0 to 1" in text_of(page.text)
    answer = ada.post_form({"device": "any", "count": "1", "extra_host_config": "{}"})
    assert answer.status_code == 400
    assert "There is no option 'extra_host_config'" in text_of(answer.text)
    assert site.leases() == []


def device_nodes(site: Installation, user: str) -> set[str]:
    return set(site.exec(user, "ls /dev | grep -E '^nvidia[0-9]' || true").split())


@pytest.mark.parametrize("gpus", [0, 1])
def test_an_image_and_an_environment_that_want_all_cards_get_the_leased_one(
    site: Installation, gpus: int
) -> None:
    assert site.client("grace").spawn({"gpus": 1}).ready, "somebody else holds the first card"
    assert site.client("ada").spawn({"gpus": gpus, "image": GREEDY}).ready

    devices = list(site.lease_of("ada").devices)
    assert len(devices) == gpus
    assert site.cards_seen("ada") == devices
    assert device_nodes(site, "ada") == {f"nvidia{site.uuids.index(uuid)}" for uuid in devices}
    assert set(site.cards_seen("grace")).isdisjoint(devices)
    main_process = site.exec("ada", "tr '\\0' '\\n' < /proc/1/environ")
    assert "NVIDIA_VISIBLE_DEVICES=void" in main_process.splitlines()
    assert site.exec("ada", "id -u").strip() == "1000", "an image that wants root gets it"


def test_nobody_starts_or_stops_a_server_of_somebody_else(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    grace = site.client("grace")
    assert grace.api("DELETE", "/users/ada/server").status_code in (403, 404)
    assert grace.api("POST", "/users/edsger/server", json={"gpus": 1}).status_code in (403, 404)
    assert [lease.owner for lease in site.leases()] == ["ada"]


@pytest.mark.parametrize(
    "server", ["{username.__class__}", "{0}", "a b", "größe", "--", "x" * 200, "a;rm", "%2e%2e"]
)
def test_a_server_may_have_any_name(site: Installation, server: str) -> None:
    """JupyterHub lets people name their servers; a name is data wherever it turns up."""
    ada = site.client("ada")
    answer = ada.ask({"gpus": 1}, quote(server, safe=""))
    assert answer.status_code in (201, 202, 400), answer.text
    if answer.status_code == 400:
        assert site.leases() == []
        return
    wait_for(lambda: (ada.model(server) or {}).get("ready"), "the start of a server with an odd name")
    assert site.lease_of("ada", server).devices
    assert site.cards_seen("ada", server) == list(site.lease_of("ada", server).devices)
    assert ada.api("DELETE", ada.server_path(quote(server, safe=""))).status_code in (202, 204)
    wait_for(lambda: not site.containers() and not site.leases(), "the end of a server with an odd name")
