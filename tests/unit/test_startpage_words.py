"""What the start page says, and which choice it offers first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from gpuspawner.allocator import Stock
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import allow
from gpuspawner.spawner.imagechoices import ANY_MODEL
from gpuspawner.spawner.startform import render_page
from gpuspawner.spawner.startpage import NO_GPU, Advice, StartPage, build_page
from support.build import GIB, NOW

A100, L40S = Offer("A100", 40 * GIB, 2, 1), Offer("L40S", 48 * GIB, 1, 0, waits="in use")


def page(*offers: Offer, most: int = 2, problem: str | None = None, **changes: Any) -> StartPage:
    any_gpu = Offer("", 40 * GIB, sum(o.total for o in offers), sum(o.free for o in offers))
    usual: dict[str, Any] = {"now": NOW, "images": ["base", "torch"], "last": {}}
    return build_page(Stock(offers, any_gpu, problem), allow(most, most), **usual | changes)


def test_each_model_says_what_is_free_and_only_that_can_be_chosen() -> None:
    html = render_page(page(A100, L40S))
    cards = re.findall(r'(?s)<input [^>]*type="radio".*?</label>', html)
    shown = [
        (" ".join(re.sub("<[^>]+ hidden>[^<]+|<[^>]+>", " ", card).split()), "disabled>" in card)
        for card in cards
    ]
    assert shown == [
        ("No GPU Processor and memory only Always available", False),
        ("Any GPU Whichever model is free, at least 40 GiB of GPU memory 1 of 3 free now", False),
        ("A100 40 GiB of GPU memory 1 of 2 free now", False),
        ("L40S 48 GiB of GPU memory Not free now", True),
    ]


@pytest.mark.parametrize(
    ("offers", "summary"),
    [
        ((A100, L40S), "1 of 3 GPUs free"),
        ((), "No GPU is known here"),
        ((L40S,), "The GPU is not free now"),
        ((Offer("A100", GIB, 4, 0),), "None of the 4 GPUs is free now"),
        ((Offer("A100", GIB, 1, 1),), "1 of 1 GPU free"),
    ],
)
def test_summary(offers: tuple[Offer, ...], summary: str) -> None:
    assert f'id="gpu-summary">{summary}</span>' in render_page(page(*offers))


def test_whoever_finds_none_free_reads_how_to_start_without() -> None:
    assert page(A100).advice is Advice.NONE
    for shown in (page(L40S), page(L40S, problem="The ledger is silent.")):
        assert render_page(shown).count("You can start a server without a GPU now.") == 1


@pytest.mark.parametrize(
    ("last", "selected", "count"),
    [
        ({}, NO_GPU, 1),
        ({"gpus": 1}, ANY_MODEL, 1),
        ({"gpus": 2, "model": "A100"}, "A100", 2),
        ({"gpus": 1, "model": "L40S"}, NO_GPU, 1),  # not free now
        ({"gpus": 9, "model": "H100"}, NO_GPU, 1),  # gone, and too many
        ({"gpus": True, "model": ["A100"]}, NO_GPU, 1),  # anything can be in the database
    ],
)
def test_the_last_choice_is_offered_again_if_it_can_be_had(
    last: dict[str, object], selected: str, count: int
) -> None:
    shown = page(A100, L40S, last=last)
    assert (shown.selected, shown.count) == (selected, count)


def test_after_a_refusal_no_gpu_is_selected_and_the_image_kept() -> None:
    shown = page(A100, last={"gpus": 2, "model": "A100", "image": "torch"}, refused=True)
    assert shown.selected == NO_GPU
    assert [image.name for image in shown.images if image.selected] == ["torch"]
