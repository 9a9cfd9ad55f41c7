"""Many people, few cards: who gets one, and what the others read."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import docker
import pytest
import requests
from support.client import text_of
from support.images import default_images
from support.installation import CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

CROWD = [f"person{n:02}" for n in range(30)]


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with Installation(users=CROWD, config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}") as installation:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(installation.client, CROWD))
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def all_at_once(ask: Callable[[str], requests.Response]) -> dict[str, requests.Response]:
    """Everybody's request, sent within one second."""
    barrier = threading.Barrier(len(CROWD))
    sent: list[float] = []

    def press(name: str) -> requests.Response:
        barrier.wait(30)
        sent.append(time.monotonic())
        return ask(name)

    with ThreadPoolExecutor(len(CROWD)) as pool:
        answers = dict(zip(CROWD, pool.map(press, CROWD), strict=True))
    assert max(sent) - min(sent) < 1
    return answers


def require_four_winners(site: Installation, refused: set[str]) -> None:
    winners = set(CROWD) - refused
    assert len(winners) == 4
    for name in winners:
        assert site.client(name).wait_ready().ready
    cards = [site.cards_seen(name) for name in sorted(winners)]
    assert sorted(cards) == sorted([uuid] for uuid in site.uuids), "each has one card, all different"
    assert {lease.owner for lease in site.leases()} == winners, "no card is held by nobody"
    assert len(site.containers()) == 4
    assert all(site.client(name).model() is None for name in refused), "nobody refused has a server"


def after_the_form(site: Installation, name: str, answer: requests.Response) -> requests.Response | None:
    """The page on which a refusal is told; None for a person whose server runs.

    It is the form again, or on a busy hub, which sends the browser on after a moment, the pending page.
    """
    if answer.status_code != 302:
        assert 'name="device" value="none"' in answer.text, "the way out is on the page"
        return answer
    if site.client(name).wait_ready().ready:
        return None
    return site.client(name).page(answer.headers["Location"])


def test_of_30_people_who_press_start_4_get_cards_and_26_read_what_to_do(site: Installation) -> None:
    answers = all_at_once(lambda name: site.client(name).post_form({"device": "any", "count": "1"}))

    pages = {name: after_the_form(site, name, answer) for name, answer in answers.items()}
    refused = {name for name, page in pages.items() if page is not None}
    for page in filter(None, pages.values()):
        assert page.status_code == 409
        text = text_of(page.text)
        assert "You asked for 1 GPU; 0 of 4 GPUs are free now (4 in use)." in text
        assert "You can start a server without a GPU now: choose “No GPU”." in text
    require_four_winners(site, refused)


def test_of_30_programs_that_ask_the_api_4_get_cards_and_26_a_sentence(site: Installation) -> None:
    answers = all_at_once(lambda name: site.client(name).ask({"gpus": 1}))

    refused = {name for name, answer in answers.items() if answer.status_code not in (201, 202)}
    for name in refused:
        assert answers[name].status_code == 409
        assert "0 of 4 GPUs are free now" in answers[name].json()["message"]
        assert "choose “No GPU”" in answers[name].json()["message"]
    require_four_winners(site, refused)


def test_who_was_refused_starts_without_a_gpu(site: Installation) -> None:
    for name in CROWD[:4]:
        assert site.client(name).spawn({"gpus": 1}).ready
    last = site.client(CROWD[4])
    assert not last.spawn({"gpus": 1}).ready

    assert last.post_form({"device": "none"}).status_code == 302
    assert last.wait_ready().ready
    assert site.cards_seen(CROWD[4]) == []


def test_a_card_goes_on_to_the_next_person_once_it_is_proved_free(site: Installation) -> None:
    for name in CROWD[:4]:
        assert site.client(name).spawn({"gpus": 1}).ready
    before = site.lease_of(CROWD[0])
    site.client(CROWD[0]).stop()
    wait_for(lambda: len(site.leases()) == 3, "the release")

    assert site.client(CROWD[5]).spawn({"gpus": 1}).ready
    assert site.lease_of(CROWD[5]).devices == before.devices
    with site.ledger.read() as unit:
        released = unit.lease(before.id)
    assert released is not None
    assert "no container" in released.evidence
    assert "no process and idle memory" in released.evidence


def test_a_chosen_model_is_what_one_gets(site: Installation) -> None:
    model = site.simulation.cards[3].name
    assert site.client(CROWD[0]).post_form({"device": model, "count": "1"}).status_code == 302
    assert site.client(CROWD[0]).wait_ready().ready
    assert model in site.exec(CROWD[0], "nvidia-smi -L")


@contextmanager
def stranger(site: Installation, card: int) -> Iterator[None]:
    """A container that somebody started by hand, with a card that nobody gave them."""
    engine = docker.APIClient(version="auto")
    request = {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={site.uuids[card]}"]}
    id_ = engine.create_container(
        next(iter(default_images().values())),
        ["sleep", "600"],
        name=f"stranger-{site.instance}",
        host_config=engine.create_host_config(device_requests=[request], network_mode="none"),
    )["Id"]
    try:
        engine.start(id_)
        yield
    finally:
        engine.remove_container(id_, force=True)
        engine.close()


def occupied(site: Installation) -> dict[int, str]:
    """Cards that the agent found in use without a lease, by index."""
    with site.ledger.read() as unit:
        records = unit.inventory("test-host")
    return {n: r.occupied_by for n, r in enumerate(records) if r.occupied_by}


def test_a_card_that_a_stranger_holds_is_in_use_and_never_granted(site: Installation) -> None:
    with stranger(site, 1):
        wait_for(lambda: occupied(site), "the agent's finding")
        assert f"stranger-{site.instance}" in occupied(site)[1]
        for name in CROWD[:3]:
            assert site.client(name).spawn({"gpus": 1}).ready
        last = site.client(CROWD[3]).spawn({"gpus": 1})
        assert (last.ready, last.status) == (False, 409)
        assert "3 in use, 1 out of service" in last.message
        assert site.uuids[1] not in [uuid for lease in site.leases() for uuid in lease.devices]
        assert any("stranger" in reason for reason in site.events("device.stranger"))
    wait_for(lambda: not occupied(site), "the stranger's leaving")
    assert site.client(CROWD[3]).spawn({"gpus": 1}).ready
    assert site.cards_seen(CROWD[3]) == [site.uuids[1]]


def test_a_process_of_the_host_on_a_card_makes_it_in_use(site: Installation) -> None:
    site.simulation.set_load(2, utilization=50, memory_mib=100, pid=os.getpid())
    wait_for(lambda: 2 in occupied(site), "the agent's finding")
    model = site.simulation.cards[2].name
    assert site.client(CROWD[0]).spawn({"gpus": 1, "model": model}).ready
    assert site.cards_seen(CROWD[0]) == [site.uuids[3]]
    refused = site.client(CROWD[1]).spawn({"gpus": 1, "model": model})
    site.simulation.idle(2)
    assert refused.status == 409
    wait_for(lambda: not occupied(site), "the process's leaving")
