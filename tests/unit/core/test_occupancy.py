from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.core.model import ContainerState
from gpuspawner.core.occupancy import name_stranger
from support.build import busy, container, device, lease, sample

CARD = device()
OURS = container()
FOREIGN = container(id="f" * 64, name="training", lease_id=None)


def test_nobody() -> None:
    assert name_stranger(CARD, sample(), [], []) is None
    assert name_stranger(CARD, None, [], []) is None


def test_the_lease_holder_and_their_processes() -> None:
    assert name_stranger(CARD, busy(7, container_id=OURS.id), [lease()], [OURS]) is None


@pytest.mark.parametrize("devices", [("GPU-0",), ("all",), ("GPU-9", "GPU-0")])
def test_a_foreign_container(devices: tuple[str, ...]) -> None:
    stranger = replace(FOREIGN, devices=devices)
    expected = "container 'training', which has no lease for it"
    assert name_stranger(CARD, sample(), [], [stranger]) == expected
    assert name_stranger(CARD, sample(), [lease()], [OURS, stranger]) == expected


def test_a_foreign_container_elsewhere_or_not_running() -> None:
    elsewhere = replace(FOREIGN, devices=("GPU-9",))
    assert name_stranger(CARD, sample(), [], [elsewhere]) is None
    for state in (ContainerState.CREATED, ContainerState.EXITED):
        assert name_stranger(CARD, sample(), [], [replace(FOREIGN, state=state)]) is None


def test_our_container_on_a_card_that_is_not_in_its_lease() -> None:
    assert "jupyter-ada" in (name_stranger(CARD, sample(), [lease(devices=("GPU-9",))], [OURS]) or "")
    assert "jupyter-ada" in (name_stranger(CARD, sample(), [], [OURS]) or "")


def test_a_process_on_the_host() -> None:
    assert name_stranger(CARD, busy(7), [], []) == "process 7 on the host"
    assert name_stranger(CARD, busy(7), [lease()], [OURS]) == "process 7 on the host"


def test_a_process_in_another_container() -> None:
    found = name_stranger(CARD, busy(7, container_id="e" * 64), [lease()], [OURS])
    assert found == "process 7 in container eeeeeeeeeeee"


def test_a_lease_of_the_whole_card_explains_its_slice() -> None:
    piece = device("MIG-1", parent="GPU-0")
    assert name_stranger(piece, busy(7, container_id=OURS.id), [lease()], [OURS]) is None
