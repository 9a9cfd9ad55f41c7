"""``gpuspawner verify`` on the real Engine, with a card by a lease of a real agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.allocator import Allocator
from gpuspawner.allocator.checks import OWNER
from gpuspawner.core.checkrun import LABEL_CHECK
from gpuspawner.core.model import LeaseState, SpawnRequest
from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.policy import allow
from gpuspawner.passport.goldens import read_goldens
from gpuspawner.passport.model import Passport, Run
from gpuspawner.passport.shelf import Shelf
from support.images import default_images
from support.installation import HOST, Installation, wait_for
from support.session_answers import LOCK, answering_image, make_answer

pytestmark = pytest.mark.docker

SLEEPS = "sleep 6"


@pytest.fixture
def one_card() -> Iterator[Installation]:
    """An agent that keeps one card."""
    with Installation(layout="1xa100-40gb", start=False) as found:
        found.start("agent")

        def known() -> bool:
            assert found.alive("agent"), found.processes["agent"].last_words
            if not found.ledger_path.exists():
                return False
            with found.ledger.read() as unit:
                return bool(unit.inventory(HOST)) and unit.inventory(HOST)[0].baseline_bytes is not None

        wait_for(known, "the first inventory")
        yield found


def begin(one: Installation, image: str, goldens: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        *("gpuspawner", "verify", image, "--json", "--goldens", str(goldens), "--host", HOST),
        *("--ledger", str(one.ledger_path), "--passports", str(goldens.parent / "passports"), *more),
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def verify(one: Installation, image: str, goldens: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    process = begin(one, image, goldens, *more)
    out, err = process.communicate(timeout=180)
    return process.returncode, json.loads(out) if out else {}, err


def checks(one: Installation) -> list[str]:
    """Containers of checks on this installation's card, and those without one."""
    listed = one.engine.containers(all=True, filters={"label": LABEL_CHECK})
    mine = {"", *one.uuids}
    return [c["Names"][0] for c in listed if c["Labels"].get("gpuspawner.devices", "") in mine]


def give_passport(shelf: Shelf, image: str, tried: dict[str, Run] | None = None) -> str:
    """Put a passport of an image on the shelf; the image's id."""
    digest = str(docker.from_env().images.get(image).id)
    told: dict[str, Any] = {"image": "x", "digest": digest, "lock_hash": LOCK, "size_bytes": 1}
    told |= {"built": "2030-05-17T00:00:00Z", "packages": {}, "debian_packages": {}, "runs": tried or {}}
    shelf.put(Passport.model_validate(told | {"versions": {"python": "3.13.5"}}))
    return digest


def runs(shelf: Shelf, digest: str) -> dict[str, Run]:
    found = Shelf(shelf.directory).find(digest)
    assert found is not None
    return found.runs


def wait_free(one: Installation) -> None:
    wait_for(lambda: not one.leases(), "the release of the card", 60)
    assert one.leases(live=False)[-1].state is LeaseState.RELEASED


def test_a_free_card_is_held_and_given_back(one_card: Installation, tmp_path: Path) -> None:
    goldens = tmp_path / "goldens.json"
    (uuid,) = one_card.uuids
    shelf = Shelf(tmp_path / "passports")
    with answering_image(make_answer()) as image:
        digest = give_passport(shelf, image)
        status, told, err = verify(one_card, image, goldens, "--device", "cuda")
        assert (status, told.get("result")) == (3, "not recorded"), err
        assert told["card_uuid"] == uuid, "the container saw another card than the one that was held"
        assert not goldens.exists()
        assert runs(shelf, digest) == {}, "what has no golden value was kept as tried"
        assert checks(one_card) == []
        wait_free(one_card)
        (lease,) = one_card.leases(live=False)
        assert (lease.owner, lease.devices, lease.reason) == (
            OWNER,
            (uuid,),
            "the check of the image is over",
        )

        status, told, err = verify(one_card, image, goldens, "--device", "cuda", "--record")
        assert (status, told.get("recorded")) == (0, True), err
        (golden,) = read_goldens(goldens).values()
        assert (golden.device, golden.driver, golden.image) == ("NVIDIA A100", "570.1", image)
        assert runs(shelf, digest)["sm_80"].card == "NVIDIA A100"
        wait_free(one_card)

        status, told, err = verify(one_card, image, goldens, "--card", "0")
        assert (status, told.get("result")) == (0, "same"), err
        wait_free(one_card)
    other = make_answer()["runs"][0] | {"weights": "9" * 64}
    with answering_image(make_answer(runs=[other, other])) as image:
        digest = give_passport(shelf, image, {"sm_80": runs(shelf, digest)["sm_80"]})
        status, told, err = verify(one_card, image, goldens, "--device", "cuda", "--record")
        assert status == 1
        assert "Nothing was recorded" in err
        wait_free(one_card)
        status, told, err = verify(one_card, image, goldens, "--device", "cuda")
        assert (status, told.get("result")) == (4, "different"), err
        assert runs(shelf, digest) == {}, "it still counts as tried"


def test_a_card_that_somebody_holds_is_not_taken(one_card: Installation, tmp_path: Path) -> None:
    hub = RunLock(Path(f"{one_card.ledger_path}.hub.lock"), "hub")
    allocator = Allocator(one_card.ledger, HOST, allow(), STALE_AFTER)
    lease = allocator.reserve(SpawnRequest(1), owner="ada", server="", claimant=hub.run_id, image="x")
    image = next(iter(default_images().values()))
    status, told, err = verify(one_card, image, tmp_path / "g.json", "--device", "cuda")
    assert (status, told) == (1, {})
    assert "held" in err or "in use" in err, err
    assert checks(one_card) == []
    assert [one.id for one in one_card.leases()] == [lease.id]
    allocator.request_release(lease.id, reason="over", actor="ada")
    hub.release()


def test_an_image_without_torch_is_refused_and_the_card_given_back(
    one_card: Installation, tmp_path: Path
) -> None:
    with answering_image({"schema": 1, "error": "There is no torch in this image."}) as image:
        status, told, err = verify(one_card, image, tmp_path / "g.json", "--device", "cuda")
    assert (status, told) == (1, {})
    assert "no torch" in err
    assert checks(one_card) == []
    wait_free(one_card)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_the_command_leaves_nothing(
    one_card: Installation, tmp_path: Path, ending: signal.Signals
) -> None:
    with answering_image(make_answer(), before=SLEEPS) as image:
        process = begin(one_card, image, tmp_path / "g.json", "--device", "cuda")
        wait_for(
            lambda: len(checks(one_card)) == 2, "the two containers: the one that holds, and the first check"
        )
        wait_for(lambda: one_card.leases()[0].state is LeaseState.ACTIVE, "the lease")
        process.send_signal(ending)
        process.communicate(timeout=30)
        assert process.returncode != 0
        if ending is not signal.SIGKILL:
            assert checks(one_card) == []
        wait_free(one_card)
        # What was killed leaves its containers to the agent, which removes each once it has ended.
        wait_for(lambda: not checks(one_card), "the removal of what was left", 60)


def test_on_the_processor_no_ledger_is_needed(one_card: Installation, tmp_path: Path) -> None:
    answer = make_answer(architecture="cpu-avx2", device="Some CPU", card_uuid=None, driver=None)
    with answering_image(answer, device="cpu") as image:
        status, told, err = verify(one_card, image, tmp_path / "g.json")
        assert (status, told.get("architecture")) == (3, "cpu-avx2"), err
    assert one_card.leases(live=False) == []
    assert checks(one_card) == []
