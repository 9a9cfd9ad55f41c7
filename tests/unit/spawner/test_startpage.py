"""From what there is to what is shown, and from what was filled in to options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.core.placement import Offer
from gpuspawner.policy.options import parse_options
from gpuspawner.spawner.startpage import StartPage, build_page, read_form, render_page
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import GIB, NOW
from support.fake_docker import FakeDocker
from support.mock_hub import LedgerOutage, MockHub

IMAGES = ["base", "torch"]
HOSTILE = """"><script>alert('1')</script>&amp;{{ 7*7 }}{% raise %}"""


def offer(model: str = "A100", *, total: int = 2, free: int = 1) -> Offer:
    waits = None if free else "all in use"
    return Offer(model=model, memory_bytes=40 * GIB, total=total, free=free, waits=waits)


def page(*offers: Offer, **changes: Any) -> StartPage:
    values: dict[str, Any] = {
        "problem": None,
        "notice": None,
        "images": IMAGES,
        "last": {},
        "most_gpus": 1,
    }
    return build_page(offers, any_of(offers), **values | changes)


def any_of(offers: Sequence[Offer]) -> Offer:
    """What the ledger's side says of any GPU, where every model may be used."""
    free = sum(one.free for one in offers)
    return Offer("", 40 * GIB, sum(one.total for one in offers), free, waits=None if free else "all in use")


class Form(HTMLParser):
    """What a browser makes of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inputs: list[dict[str, str | None]] = []
        self.options: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "input":
            self.inputs.append(dict(attrs))
        if tag == "option":
            self.options.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self.tags[-1] not in ("style", "script"):
            self.text += data


def enabled(page: StartPage) -> dict[str, bool]:
    return {choice.value: choice.enabled for choice in page.choices}


def test_one_model() -> None:
    shown = page(offer())
    assert enabled(shown) == {"none": True, "A100": True}
    assert shown.selected == "none"
    assert "1 of 2" in shown.summary
    assert "40 GiB" in shown.choices[1].detail


def test_two_models_can_be_left_open() -> None:
    shown = page(offer(free=0), offer("H100"))
    assert enabled(shown) == {"none": True, "any": True, "A100": False, "H100": True}
    assert "1 of 4" in shown.summary


def test_none_free() -> None:
    assert enabled(page(offer(free=0), offer("H100", free=0))) == {
        "none": True,
        "any": False,
        "A100": False,
        "H100": False,
    }


def test_with_a_line_what_is_not_free_can_be_asked_for() -> None:
    shown = page(replace(offer(free=0), ahead=2), offer("H100", free=0), queue=True)
    assert enabled(shown) == {"none": True, "any": True, "A100": True, "H100": True}
    states = {choice.value: choice.state for choice in shown.choices}
    assert states["A100"] == "None of 2 free now; 2 requests ahead of you in line"
    assert states["H100"] == "None of 2 free now; you would be the first in line"
    assert "place in line" in str(shown.advice)


def test_what_is_kept_for_others_is_not_called_free() -> None:
    (_, choice) = page(replace(offer(), waits="kept", ahead=1)).choices
    assert (choice.state, choice.free, choice.enabled) == ("Free, but kept for others", False, False)


def test_the_end_is_shown_before_the_start() -> None:
    until = NOW + timedelta(minutes=110)
    shown = page(replace(offer(), until=until))
    text = " ".join(Form(render_page(shown)).text.split())
    assert "1 of 2 free now, until Fri 13:50 UTC" in text


def test_no_cards() -> None:
    assert enabled(page()) == {"none": True}
    assert "device" in {field.get("name") for field in Form(render_page(page())).inputs}


def test_problem_closes_all_but_cpu() -> None:
    shown = page(offer(), problem="The ledger is away.")
    assert enabled(shown) == {"none": True, "A100": False}
    assert "The ledger is away." in Form(render_page(shown)).text


def test_notice_is_shown() -> None:
    assert "memory ran out" in Form(render_page(page(notice="memory ran out"))).text


@pytest.mark.parametrize(
    ("last", "selected", "image"),
    [
        ({}, "none", "base"),
        ({"gpus": 1, "model": "A100", "image": "torch"}, "A100", "torch"),
        ({"gpus": 1}, "any", "base"),
        ({"gpus": 1, "model": "H100"}, "none", "base"),
        ({"gpus": 1, "model": "gone"}, "none", "base"),
        ({"gpus": 0, "image": "gone"}, "none", None),
        ({"gpus": HOSTILE, "model": [HOSTILE], "image": {"a": 1}}, "none", None),
    ],
)
def test_last_choice_is_offered_again(last: dict[str, object], selected: str, image: str | None) -> None:
    shown = page(offer(), offer("H100", free=0), last=last)
    assert shown.selected == selected
    assert next((i.name for i in shown.images if i.selected), None) == image
    checked = [field["value"] for field in Form(render_page(shown)).inputs if "checked" in field]
    assert checked == [selected]


def test_many_models() -> None:
    shown = page(*(offer(f"Model {n}") for n in range(64)))
    form = Form(render_page(shown))
    assert len([field for field in form.inputs if field["name"] == "device"]) == 66


@pytest.mark.parametrize("most", [1, 4])
def test_count_is_asked_only_where_there_is_a_choice(most: int) -> None:
    inputs = Form(render_page(page(offer(), most_gpus=most))).inputs
    assert [(f["min"], f["max"]) for f in inputs if f["name"] == "count"] == (
        [] if most == 1 else [("1", "4")]
    )


def test_hostile_names_are_text() -> None:
    shown = page(offer(HOSTILE), images=[HOSTILE], notice=HOSTILE, last={"model": HOSTILE, "gpus": 1})
    form = Form(render_page(shown))
    assert form.tags.count("script") == 1
    assert HOSTILE in {field["value"] for field in form.inputs}
    assert [option["value"] for option in form.options] == [HOSTILE]
    assert form.text.count(HOSTILE) >= 3
    assert Form(render_page(page(problem=HOSTILE))).tags.count("script") == 1


async def test_page_of_a_hub(hub: MockHub, docker: FakeDocker) -> None:
    form = Form(await hub.spawner().get_options_form())
    assert {f["value"] for f in form.inputs} == {"none", "A100"}
    assert [option["value"] for option in form.options] == IMAGES
    assert "2 of 2" in form.text


async def test_page_without_ledger(hub: MockHub, outage: LedgerOutage) -> None:
    outage.everywhere()
    form = Form(await hub.spawner().get_options_form())
    assert "The ledger is away." in form.text
    assert {f["value"] for f in form.inputs} == {"none"}
    assert await hub.spawner().describe_last_end() is None


async def test_page_after_odd_options(hub: MockHub) -> None:
    spawner = hub.spawner()
    for odd in (None, {}, {"gpus": 1, "model": 7}):
        spawner.orm_spawner.user_options = odd
        assert "A100" in await spawner.get_options_form()


# -- the way back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ({"device": ["none"], "image": ["base"]}, {"gpus": 0, "image": "base"}),
        ({"device": ["none"], "count": ["2"], "image": ["base"]}, {"gpus": 0, "image": "base"}),
        ({"device": ["any"], "count": ["2"]}, {"gpus": 2, "shorten": True}),
        (
            {"device": ["A100"], "image": ["torch"]},
            {"gpus": 1, "model": "A100", "image": "torch", "shorten": True},
        ),
        ({"device": ["A100"], "count": [""]}, {"gpus": 1, "model": "A100", "shorten": True}),
        ({"gpus": ["1"]}, {"gpus": 1}),
        (
            {"gpus": ["1"], "model": ["A100"], "image": ["base"]},
            {"gpus": 1, "model": "A100", "image": "base"},
        ),
        ({"_xsrf": ["x"]}, {}),
        ({}, {}),
    ],
)
def test_read_form(form: dict[str, list[str]], options: dict[str, object]) -> None:
    assert read_form(form) == options
    parse_options(options, images=IMAGES, most_gpus=2)


@pytest.mark.parametrize(
    "form",
    [
        {"device": ["any"], "count": ["99"]},
        {"device": ["any"], "count": ["-1"]},
        {"device": ["any"], "count": ["1; rm"]},
        {"device": ["any"], "count": ["\u0661"]},
        {"device": ["any"], "count": ["1" * 5000]},
        {"device": ["any"], "count": ["1", "1"]},
        {"device": ["A100", "H100"]},
        {"device": ["A100"], "privileged": ["1"]},
        {"count": ["1"]},
        {"gpus": ["1", "1"]},
        {"gpus": ["1.0"]},
        {"gpus": ["true"]},
        {"image": ["evil/miner"]},
        {"image": ["base", "base"]},
        {"upload_file": [{"filename": "x", "body": b"x"}]},
    ],
    ids=lambda form: re.sub(r"(.{60}).*", r"\1", str(form)),
)
def test_hostile_forms(form: Any) -> None:
    with pytest.raises(GpuSpawnerError):
        parse_options(read_form(form), images=IMAGES, most_gpus=2)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.dictionaries(
        st.sampled_from(["device", "count", "gpus", "model", "image", "_xsrf", "x"]),
        st.lists(st.sampled_from(["", "none", "any", "A100", "1", "base", "\ud800"]), max_size=2),
    )
)
def test_any_form(form: dict[str, list[str]]) -> None:
    try:
        request = parse_options(read_form(form), images=IMAGES, most_gpus=2)
    except GpuSpawnerError:
        return
    assert 0 <= request.gpus <= 2
    assert (request.model is None) or request.gpus


async def test_form_and_query_are_read_alike(hub: MockHub) -> None:
    spawner = hub.spawner()
    assert spawner.run_options_from_form({"device": ["A100"]}) == {
        "gpus": 1,
        "model": "A100",
        "shorten": True,
    }
    assert spawner.options_from_query({"gpus": ["1"]}) == {"gpus": 1}
