from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.model import SpawnRequest
from gpuspawner.core.policy import Allowance, Limit, allow
from gpuspawner.core.quota import choose_image, judge_devices, judge_quota, why_not_device
from support.build import device, lease, record

LIMITS = allow(gpus_per_server=2, gpus_per_person=3)
LAB = ("group `lab`",)


def judge(gpus: int, *leases, limits: Allowance = LIMITS) -> str | None:
    try:
        judge_quota(SpawnRequest(gpus), "ada", leases, limits)
    except Refused as error:
        return str(error) if error.kind is RefusalKind.NOT_ALLOWED else repr(error.kind)
    return None


def test_up_to_the_limits() -> None:
    assert judge(2) is None
    assert judge(2, lease(S.ACTIVE, "GPU-0")) is None


def test_one_server() -> None:
    assert judge(3) == "You asked for 3 GPUs; a server may have at most 2."
    lab = replace(LIMITS, gpus_per_server=Limit(2, LAB))
    assert judge(3, limits=lab) == "You asked for 3 GPUs; a server may have at most 2 (group `lab`)."


def test_one_person() -> None:
    held = lease(S.ACTIVE, "GPU-0", "GPU-1")
    assert judge(2, held) == (
        "You hold 2 GPUs already and asked for 2 more; one person may hold at most 3. "
        "Stop another server of yours first."
    )
    assert "You hold 1 GPU already" in (judge(1, lease(S.RESERVED, "GPU-0"), limits=allow(1, 1)) or "")
    assert "You hold 3 GPUs" in (judge(1, held, lease(S.RESERVED, "GPU-2", id="b")) or "")


def test_one_person_by_a_rule() -> None:
    lab = replace(LIMITS, gpus_per_person=Limit(1, LAB))
    assert judge(1, lease(S.ACTIVE, "GPU-0"), limits=lab) == (
        "You hold 1 GPU already and asked for 1 more; one person may hold at most 1 (group `lab`). "
        "Stop another server of yours first."
    )
    assert judge(2, limits=lab) == (
        "You hold 0 GPUs already and asked for 2 more; one person may hold at most 1 (group `lab`)."
    )


def test_no_limit() -> None:
    assert judge(900, lease(S.ACTIVE, "GPU-0"), limits=allow(None, None)) is None


def test_without_a_gpu_there_is_no_limit() -> None:
    assert judge(0, lease(S.ACTIVE, "GPU-0", "GPU-1", "GPU-2", "GPU-3")) is None


@pytest.mark.parametrize("state", [S.RELEASING, S.QUARANTINED])
def test_what_is_being_released_does_not_count(state: S) -> None:
    assert judge(2, lease(state, "GPU-0", "GPU-1")) is None


def test_others_do_not_count() -> None:
    assert judge(2, lease(S.ACTIVE, "GPU-0", "GPU-1", owner="bob")) is None


# -- images -------------------------------------------------------------------------------------------------


def image(wanted: str | None, *allowed: str) -> str:
    allowance = replace(LIMITS, images=Limit(frozenset(allowed) if allowed else None, LAB))
    try:
        return choose_image(SpawnRequest(0, image=wanted), ["base", "torch"], allowance)
    except Refused as error:
        return str(error) if error.kind is RefusalKind.NOT_ALLOWED else repr(error.kind)


def test_images() -> None:
    assert image(None) == "base"
    assert image("torch") == "torch"
    assert image("torch", "torch") == "torch"
    assert image(None, "torch") == "torch"
    assert image("base", "torch", "jax") == (
        "The image 'base' is not allowed to you: group `lab` allows jax, torch."
    )
    assert image(None, "jax") == "No image is allowed to you (group `lab`)."


# -- models, pools and slices -------------------------------------------------------------------------------

FLEET = [record("A0"), record("A1"), record("B0", model="T4")]


def cards(*allowed: str) -> Allowance:
    return replace(LIMITS, cards=Limit(frozenset(allowed), LAB))


def among(gpus: int, model: str | None, allowance: Allowance, fleet=FLEET) -> list[str] | str:
    try:
        found = judge_devices(SpawnRequest(gpus, model), fleet, allowance)
    except Refused as error:
        return str(error) if error.kind is RefusalKind.NOT_ALLOWED else repr(error.kind)
    return [one.device.uuid for one in found]


@pytest.mark.parametrize(
    ("gpus", "model", "allowed", "found"),
    [
        (1, None, ("A100",), ["A0", "A1"]),
        (1, None, ("A1", "T4"), ["A1", "B0"]),
        (2, None, ("A100", "T4"), ["A0", "A1", "B0"]),
        (1, "A100", ("A1", "T4"), ["A1"]),
        (
            1,
            "T4",
            ("A100",),
            "The GPUs of model T4 that are here are not allowed to you: group `lab` allows A100.",
        ),
        (1, None, (), "The GPUs that are here are not allowed to you: group `lab` allows nothing."),
        (
            2,
            None,
            ("A1", "T4"),
            "You asked for 2 GPUs; of one model you may use 1 at most, the others are "
            "not allowed to you: group `lab` allows A1, T4.",
        ),
        (0, None, (), ["A0", "A1", "B0"]),
        (3, None, (), ["A0", "A1", "B0"]),
        (1, "H100", (), ["A0", "A1", "B0"]),
    ],
)
def test_cards(gpus: int, model: str | None, allowed: tuple[str, ...], found: list[str] | str) -> None:
    """What nobody could be given passes: *never possible* is the better reason."""
    assert among(gpus, model, cards(*allowed)) == found


def test_all_cards() -> None:
    assert among(1, None, LIMITS) == ["A0", "A1", "B0"]
    assert among(1, None, LIMITS, []) == []


@pytest.mark.parametrize(
    ("cards", "slices", "allowed"),
    [
        (None, None, True),
        (None, {"1g.5gb"}, True),
        (None, {"2g.10gb"}, False),
        (None, set(), False),
        ({"A100"}, None, True),
        ({"A100 MIG 1g.5gb"}, None, True),
        ({"GPU-0"}, None, True),
        ({"MIG-0"}, None, True),
        ({"A100 MIG 2g.10gb"}, None, False),
        ({"GPU-1"}, None, False),
        ({"A100"}, set(), False),
    ],
)
def test_slices(cards: set[str] | None, slices: set[str] | None, allowed: bool) -> None:
    one = device("MIG-0", model="A100 MIG 1g.5gb", parent="GPU-0")
    allowance = replace(
        LIMITS,
        cards=Limit(None if cards is None else frozenset(cards), LAB),
        slices=Limit(None if slices is None else frozenset(slices), LAB),
    )
    assert (why_not_device(one, allowance) is None) == allowed


def test_slices_say_nothing_of_whole_cards() -> None:
    assert why_not_device(device("GPU-0"), replace(LIMITS, slices=Limit(frozenset(), LAB))) is None
