"""On which cards, and under which drivers, an image runs."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from gpuspawner.core.errors import Refused
from gpuspawner.core.fitting import suits
from gpuspawner.core.images import (
    asks_no_more_of_cards,
    find_fleet,
    fits,
    list_everybodys,
    list_offered,
    list_untried,
    order_for_default,
    require_code,
    why_unsuited,
)
from gpuspawner.core.model import DeviceRecord, ImageNeeds, SpawnRequest
from gpuspawner.core.placement import list_hopeless, why_never
from gpuspawner.core.policy import allow
from gpuspawner.core.quota import judge_devices
from support.build import device, record, ticket

TORCH_27 = ("5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0")
TORCH_29 = ("7.0", "7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
NEEDS = ImageNeeds("torch", "525.60.13", TORCH_29)


@pytest.mark.parametrize(
    ("code", "card", "runs"),
    [
        (("8.0",), (8, 0), True),
        (("8.0",), (8, 9), True),  # compiled code runs on later cards of its major version
        (("8.6",), (8, 0), False),  # and on no earlier one
        (("8.0",), (9, 0), False),  # nor on another major version
        (("9.0",), (8, 9), False),
        (("9.0a",), (9, 0), True),
        (("10.0a",), (10, 3), False),  # this one alone
        (("10.0f",), (10, 3), True),  # its family
        (("10.0f",), (12, 0), False),
        (("9.0+PTX",), (12, 0), True),  # the driver compiles it
        (("9.0+PTX",), (8, 9), False),  # for nothing that is older
        (TORCH_27, (12, 0), False),  # Blackwell
        (TORCH_29, (12, 0), True),
        (TORCH_29, (12, 1), True),
        (TORCH_29, (6, 1), False),  # Pascal
        (TORCH_27, (6, 1), True),
        (TORCH_27, None, False),  # what is not known does not suit
        ((), None, True),  # there is no code for GPUs in it
    ],
)
def test_for_which_cards_there_is_code(
    code: tuple[str, ...], card: tuple[int, int] | None, runs: bool
) -> None:
    assert fits(ImageNeeds("x", None, code), card, None) is runs
    request = SpawnRequest(1, needs=ImageNeeds("x", None, code))
    assert suits(device(compute_capability=card), request) is runs


@pytest.mark.parametrize(
    ("needed", "driver", "runs"),
    [
        (None, None, True),
        ("525", "525.60.13", True),
        ("525.60.13", "525.60.13", True),
        ("525.60.13", "525.60.2", False),  # by number, not by letter
        ("525.60.13", "1000.1", True),
        ("580", "575.99.99", False),
        ("580", None, False),
    ],
)
def test_under_which_drivers_it_runs(needed: str | None, driver: str | None, runs: bool) -> None:
    assert fits(ImageNeeds("x", needed), None, driver) is runs


@pytest.mark.parametrize("text", ["8", "sm_80", "8.0b", "8.0 ", "", "8.0+ptx"])
def test_what_is_no_compute_capability(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a compute capability, such as 8.0, 9.0a or 12.0"):
        require_code(text)


def card(
    name: str, model: str, capability: tuple[int, int] | None = (8, 0), driver: str | None = "580.1"
) -> DeviceRecord:
    return record(device=device(name, model=model, compute_capability=capability, driver=driver))


def test_why_an_image_does_not_run() -> None:
    old = [card("a", "P100", (6, 0)), card("b", "X", None)]
    assert why_unsuited(NEEDS, [one.device for one in old]) == (
        "The image torch has code for GPUs of compute capability 7.0, 7.5, 8.0, 8.6, 9.0, 10.0, 12.0, and "
        "does not run on P100 (of compute capability 6.0), X (of unknown compute capability). "
        "Choose another image or another GPU."
    )
    assert why_unsuited(NEEDS, [card("a", "A100", driver="515").device]) == (
        "The image torch needs NVIDIA driver 525.60.13 or newer; this server has 515. "
        "Choose another image, or ask the administrator to update the driver."
    )


@pytest.mark.parametrize(
    ("request_", "cards", "says"),
    [
        (SpawnRequest(1, needs=NEEDS), [card("a", "A100")], None),
        (SpawnRequest(1, needs=NEEDS), [card("a", "P100", (6, 0)), card("b", "A100")], None),
        (
            SpawnRequest(1, "P100", needs=NEEDS),
            [card("a", "P100", (6, 0)), card("b", "A100")],
            "not run on P100",
        ),
        (SpawnRequest(1, needs=NEEDS), [card("a", "A100", driver="515")], "needs NVIDIA driver"),
        (
            SpawnRequest(2, needs=NEEDS),
            [card("a", "A100"), card("b", "A100", driver="515")],
            "You asked for 2 GPUs of one model; the image runs on 1 GPU at most. The image torch needs",
        ),
        (SpawnRequest(3, needs=NEEDS), [card("a", "P100", (6, 0))], "3 GPUs of one model were asked for"),
        (SpawnRequest(0, needs=NEEDS), [], None),
    ],
)
def test_what_can_never_be_had_says_why(
    request_: SpawnRequest, cards: list[DeviceRecord], says: str | None
) -> None:
    found = why_never(request_, cards)
    assert (found is None) if says is None else (says in str(found))


def test_a_slice_is_judged_as_its_card() -> None:
    part = record(device=device("m", model="H100 MIG 1g.10gb", parent="G", compute_capability=(9, 0)))
    request = SpawnRequest(1, slice_bytes=1, needs=ImageNeeds("x", None, ("8.0",)))
    assert not suits(part.device, request)
    assert "does not run on H100 MIG 1g.10gb" in str(why_never(request, [part]))


def test_the_line_says_the_same() -> None:
    waits = ticket(request=SpawnRequest(1, needs=NEEDS))
    assert list_hopeless([waits], [card("a", "A100")]) == {}
    assert "does not run on P100" in list_hopeless([waits], [card("a", "P100", (6, 0))])[waits.id]


def test_of_what_somebody_may_use_the_image_rules_out() -> None:
    """The refusal names the image: the card that it would run on is not theirs, and they cannot help that."""
    cards = [card("a", "P100", (6, 0)), card("b", "A100")]
    allowance = allow(4, 4, cards=frozenset({"P100"}))
    usable = judge_devices(SpawnRequest(1, needs=NEEDS), cards, allowance)
    assert "does not run on P100" in str(why_never(SpawnRequest(1, needs=NEEDS), usable))
    with pytest.raises(Refused, match="not allowed to you"):
        judge_devices(SpawnRequest(1, "A100", needs=NEEDS), cards, allowance)


@pytest.mark.parametrize(
    ("new", "old", "no_more"),
    [
        (None, None, True),
        (None, NEEDS, True),
        (NEEDS, None, False),
        (NEEDS, NEEDS, True),
        (ImageNeeds("y", "525.60.13", (*TORCH_29, "5.0")), NEEDS, True),
        (ImageNeeds("y", "525.60.13", TORCH_27), NEEDS, False),
        (ImageNeeds("y", "580", TORCH_29), NEEDS, False),
        (ImageNeeds("y", None, TORCH_29), NEEDS, True),
        (ImageNeeds("y", "525", ()), ImageNeeds("x", None, ()), False),
        (ImageNeeds("y", None, ("8.0",)), ImageNeeds("x", "580", ()), False),
    ],
)
def test_a_change_that_costs_nobody_anything(
    new: ImageNeeds | None, old: ImageNeeds | None, no_more: bool
) -> None:
    assert asks_no_more_of_cards(new, old) is no_more


def test_on_what_a_new_image_must_have_been_tried() -> None:
    assert find_fleet([]) == ("cpu-avx2",)
    simulated = device(model="NVIDIA A100 (simulated)", compute_capability=(8, 0))
    assert find_fleet([simulated]) == ("cpu-avx2",)
    real = [device(compute_capability=(12, 0)), device(compute_capability=(8, 0)), device()]
    assert find_fleet(real) == ("cpu-avx2", "sm_120", "sm_80", "unknown")
    assert list_untried({"cpu-avx2", "sm_80"}, find_fleet(real)) == ("sm_120", "unknown")


@pytest.mark.parametrize(("today", "names"), [(30, ["a", "b"]), (31, ["a", "b"]), (32, ["a"])])
def test_a_frozen_image_is_offered_until_its_last_day(today: int, names: list[str]) -> None:
    day = date(2027, 7, 1) + timedelta(days=today - 1)
    images = {"a": "demo/a:1", "b": "demo/b:1"}
    assert list(list_offered(images, {"b": date(2027, 7, 31), "gone": date(2020, 1, 1)}, day)) == names


def test_all_images_are_those_that_are_no_candidates() -> None:
    assert list_everybodys(["a", "b"], []) is None
    assert order_for_default(["a", "b", "c"], ["a", "x"]) == ("b", "c", "a")
    assert order_for_default(["a", "b"], ["b", "a"]) == ("a", "b")
    assert list_everybodys(["a", "b"], ["b", "gone"]) == {"a"}
