"""From what there is to what is shown, and from what was filled in to options."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import OwnPlace, Stock
from gpuspawner.core.budget import Balance
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import Limit, allow
from gpuspawner.policy.options import parse_options
from gpuspawner.spawner.startform import render_page
from gpuspawner.spawner.startpage import StartPage, State, build_page, read_form
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyterhub.spawner import SpawnException
from support.build import GIB, NOW
from support.fake_docker import FakeDocker
from support.fake_images import TORCH, make_passport, run
from support.mock_hub import LedgerOutage, MockHub

IMAGES = ["base", "torch"]
HOSTILE = """"><script>alert('1')</script>&amp;{{ 7*7 }}{% raise %}"""


def offer(model: str = "A100", *, total: int = 2, free: int = 1, **changes: Any) -> Offer:
    waits = None if free else "all in use"
    return replace(Offer(model=model, memory_bytes=40 * GIB, total=total, free=free, waits=waits), **changes)


def page(*offers: Offer, **changes: Any) -> StartPage:
    """The page of somebody who may have four GPUs; what the stock has can be changed too."""
    stock = Stock(offers, any_of(offers))
    names = [name for name in changes if name in {part.name for part in fields(Stock)}]
    stock = replace(stock, **{name: changes.pop(name) for name in names})
    limits = {name: changes.pop(name) for name in ("longest_session", "images_allowed") if name in changes}
    if "images_allowed" in limits:
        limits["images"] = frozenset(limits.pop("images_allowed"))
    allowance = changes.pop("allowance", allow(4, 4, **limits))
    values: dict[str, Any] = {"now": NOW, "images": IMAGES, "last": {}}
    return build_page(stock, allowance, **values | changes)


def any_of(offers: Sequence[Offer]) -> Offer:
    """What the ledger's side says of any GPU, where every model may be used."""
    free = sum(one.free for one in offers)
    return Offer("", 40 * GIB, sum(one.total for one in offers), free, waits=None if free else "all in use")


def read(page: StartPage) -> str:
    return " ".join(Form(render_page(page)).text.split())


def states(page: StartPage) -> dict[str, str]:
    """By choice, what its card says of it now."""
    form = Form(render_page(page))
    return {choice.value: form.states[n] for n, choice in enumerate(page.choices)}


class Form(HTMLParser):
    """What a browser makes of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inputs: list[dict[str, str | None]] = []
        self.options: list[dict[str, str | None]] = []
        self.text = ""
        self.states: list[str] = []
        self._in_state = False
        self.feed(text)
        self.states = [" ".join(state.split()) for state in self.states]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "input":
            self.inputs.append(dict(attrs))
        if tag == "option":
            self.options.append(dict(attrs))
        if tag == "small":
            self._in_state = "gpu-state" in str(dict(attrs)["class"]) if "class" in dict(attrs) else False
            self.states += [""] if self._in_state and "gpu-state" in str(dict(attrs)["class"]) else []

    def handle_endtag(self, tag: str) -> None:
        if tag == "small":
            self._in_state = False

    def images(self) -> list[str | None]:
        return [one["value"] for one in self.options if one["value"] and not one["value"].endswith(" h")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1] not in ("style", "script"):
            self.text += data
            if self._in_state:
                self.states[-1] += data


def enabled(page: StartPage) -> dict[str, bool]:
    return {choice.value: choice.enabled for choice in page.choices}


def test_one_model() -> None:
    shown = page(offer())
    assert enabled(shown) == {"none": True, "A100": True}
    assert shown.selected == "none"
    assert "1 of 2 GPUs free" in read(shown)
    assert "40 GiB of GPU memory" in read(shown)


def test_two_models_can_be_left_open() -> None:
    shown = page(offer(free=0), offer("H100"))
    assert enabled(shown) == {"none": True, "any": True, "A100": False, "H100": True}
    assert "1 of 4 GPUs free" in read(shown)


def test_none_free() -> None:
    shown = page(offer(free=0), offer("H100", free=0))
    assert enabled(shown) == {"none": True, "any": False, "A100": False, "H100": False}


def test_no_server_without_a_gpu_while_those_are_drained() -> None:
    shown = page(offer(), stopped="drained by root: new disks")
    assert enabled(shown) == {"none": False, "A100": True}
    assert states(shown)["none"] == "Drained by root: new disks"


def test_with_a_line_what_is_not_free_can_be_asked_for() -> None:
    shown = page(offer(free=0, ahead=2), offer("H100", free=0), queue_url="/queue", waiting=3)
    assert enabled(shown) == {"none": True, "any": True, "A100": True, "H100": True}
    assert states(shown) == {
        "none": "Always available",
        "any": "None of 4 free now; you would be the first in line",
        "A100": "None of 2 free now; 2 ahead of you in line",
        "H100": "None of 2 free now; you would be the first in line",
    }
    assert "place in line" in read(shown)
    assert "3 waiting" in read(shown)
    assert "waiting" not in read(page(offer(free=0), waiting=3)), "where there is no line"


@pytest.mark.parametrize(
    ("soonest", "latest", "told"),
    [
        (12, 38, "expected in 10 min to 40 min"),
        (0, 38, "expected within 40 min"),
        (3, 38, "expected within 40 min"),
        (25, 25, "expected in about 25 min"),
        (90, 170, "expected in 1 h 30 min to 2 h 50 min"),
        (60, 3 * 24 * 60, "expected in 1 h to 3 d"),
        (25, None, "expected in 25 min at the earliest"),
        (0, None, None),
        (None, None, None),
    ],
)
def test_an_estimate_is_a_range_in_whole_steps(
    soonest: int | None, latest: int | None, told: str | None
) -> None:
    at = [None if n is None else NOW + timedelta(minutes=n) for n in (soonest, latest)]
    shown = page(offer(free=0, ahead=3, soonest=at[0], latest=at[1]), queue_url="/queue")
    before = f"{told}, " if told else ""
    assert states(shown)["A100"] == f"None of 2 free now; {before}3 ahead of you in line"


def test_what_is_kept_for_others_is_not_called_free() -> None:
    (_, choice) = page(offer(waits="kept", ahead=1)).choices
    assert (choice.state, choice.at_once, choice.enabled) == (State.KEPT, 0, False)
    shown = page(offer(waits="kept", reserved="CS231", until=NOW + timedelta(hours=4)), queue_url="/queue")
    assert states(shown)["A100"] == (
        "Reserved for “CS231” until Fri 16:00 UTC; you would be the first in line"
    )


def test_the_end_is_shown_before_the_start() -> None:
    shown = page(offer(until=NOW + timedelta(minutes=110), because="others have these GPUs then"))
    text = "1 of 2 free now, until Fri 13:50 UTC, because others have these GPUs then"
    assert states(shown)["A100"] == text


def test_a_slice_is_another_thing_than_a_card() -> None:
    shown = page(offer(), offer("A100 MIG 1g.5gb", sliced=True, total=7, free=7), offer("H100"))
    assert [(c.value, c.kind.value) for c in shown.choices] == [
        ("none", "cpu"),
        ("any", "any"),
        ("A100", "card"),
        ("H100", "card"),
        ("A100 MIG 1g.5gb", "slice"),
    ]
    assert "2 of 4 GPUs free, 7 of 7 slices free" in read(shown)
    assert "A slice of a GPU, 40 GiB of GPU memory" in read(shown)


def test_what_would_be_refused_is_shown_with_its_reason() -> None:
    shown = page(
        offer(barred="not allowed to you: group `lab` allows H100"), offer("H100"), queue_url="/queue"
    )
    assert enabled(shown) == {"none": True, "A100": False, "H100": True}
    assert states(shown)["A100"] == "Not allowed to you: group `lab` allows H100"
    shown = page(offer(), offer("H100", free=0), refused="You hold 4 GPUs.", queue_url="/queue")
    assert enabled(shown) == {"none": True, "any": False, "A100": False, "H100": False}
    assert "You hold 4 GPUs." in read(shown)
    shown = page(offer(), allowance=allow(0, 4))
    assert enabled(shown) == {"none": True, "A100": False}
    assert "No GPU is allowed to you" in read(shown)


@pytest.mark.parametrize(
    ("queue_url", "most", "at_once"),
    [("", [1, 2, 1, 2], [1, 2, 1, 2]), ("/queue", [1, 3, 3, 2], [1, 2, 1, 2])],
)
def test_no_more_can_be_asked_for_than_would_be_given(
    queue_url: str, most: list[int], at_once: list[int]
) -> None:
    """Several GPUs are of one model, and without a line what is not free cannot be had."""
    shown = page(offer(total=3), offer("H100", total=2, free=2), queue_url=queue_url)
    assert [choice.most for choice in shown.choices] == most
    assert [choice.at_once for choice in shown.choices] == at_once
    assert page(offer(total=3), holding=2).most_gpus == 2, "of four that one person may hold"


def test_how_one_stands() -> None:
    balance = Balance(Limit(20.0, ("group `lab`",)), 11 + 1 / 3, 9.0, None, None)
    places = (OwnPlace("", 1, None, 2), OwnPlace("second", 2, "H100", None, NOW + timedelta(minutes=5)))
    shown = page(offer(), balance=balance, places=places, queue_url="/queue", waiting=2)
    assert "your week: 11 h 20 min of 20 h" in read(shown)
    assert "You are number 2 in line for 1 GPU. See your place in line" in read(shown)
    turn = "It is your turn. Kept for you until Fri 12:05 UTC: 2 GPUs (server second). Take it"
    assert turn in read(shown)
    assert "your week" not in read(page(offer()))


@pytest.mark.parametrize(
    ("longest", "last", "hours", "selected"),
    [
        (None, None, [1, 2, 4, 8, 24], []),
        (timedelta(hours=8), "2 h", [1, 2, 4], ["2 h"]),
        (timedelta(hours=1), "2 h", [], []),
        (timedelta(hours=3), ["2 h"], [1, 2], []),
        (timedelta(hours=3), "7200 s", [1, 2], ["2 h"]),
    ],
)
def test_lengths_of_a_session(
    longest: timedelta | None, last: object, hours: list[int], selected: list[str]
) -> None:
    shown = page(offer(), longest_session=longest, last={"session": last}, queue_url="/services/gpu/queue")
    assert [one.hours for one in shown.lengths] == hours
    assert [one.value for one in shown.lengths if one.selected] == selected
    assert ("at most" in read(shown)) == (longest is not None)
    alone = page(offer(), longest_session=longest, last={"session": last})
    assert (alone.lengths, alone.longest) == ((), None), "nobody ends sessions without a controller"


def test_cards_that_an_image_does_not_run_on() -> None:
    pascal, hopper = offer("P100", capability=(6, 0)), offer("H100", capability=(9, 0))
    part = offer("H100 MIG", sliced=True, capability=(9, 0))
    known = {
        "base": make_passport(),
        "torch": make_passport(compute_capabilities=["7.0", "9.0"]),
        "gone": make_passport(compute_capabilities=["1.0"]),
    }
    assert [one.unfit for one in page(pascal, hopper, passports=known).images] == [(), ("P100",)]
    assert [one.unfit for one in page(pascal, part, offer("X"), passports=known).images] == [
        (),
        ("P100", "X", "any"),
    ], "what is not known does not suit, and a slice is no GPU"
    driver = {"base": make_passport(minimum_driver="580")}
    new, old = offer("A", driver="580.1"), offer("B", driver="570")
    assert page(new, old, offer("C"), passports=driver).images[0].unfit == ("B", "C")
    html = render_page(page(offer(HOSTILE), passports={"base": known["torch"]}))
    assert json.loads(str(Form(html).options[-2]["data-unfit"])) == [HOSTILE, "any"]


def test_what_is_known_of_an_image() -> None:
    known = {"torch": make_passport(**TORCH, runs={"sm_90": run(), "cpu-avx2": run()})}
    assert "torch · torch 2.9.1 · validated on CPU, sm_90" in read(page(offer(), passports=known))
    assert "validated" not in read(page(offer(), passports={"torch": make_passport()}))


def test_an_image_that_was_not_tried_on_all_that_is_here_is_not_chosen_by_itself() -> None:
    known = {
        "base": make_passport(**TORCH, runs={"cpu-avx2": run()}),
        "torch": make_passport(**TORCH, runs={"sm_90": run(), "cpu-avx2": run()}),
    }
    fleet = ("cpu-avx2", "sm_90")
    found = page(offer(), passports=known, fleet=fleet)
    assert [(one.selected, one.untried) for one in found.images] == [(False, ("sm_90",)), (True, ())]
    assert "base · torch 2.9.1 · validated on CPU · not yet validated on sm_90" in read(found)
    asked = page(offer(), passports=known, fleet=fleet, last={"image": "base"})
    assert [one.selected for one in asked.images] == [True, False]
    alone = page(offer(), passports=known, fleet=fleet, images_allowed=["base"])
    assert [one.selected for one in alone.images] == [True, False]


def test_no_cards() -> None:
    assert enabled(page()) == {"none": True}
    assert "device" in {field.get("name") for field in Form(render_page(page())).inputs}


def test_problem_closes_all_but_cpu() -> None:
    shown = page(offer(), problem="The ledger is away.")
    assert enabled(shown) == {"none": True, "A100": False}
    assert "The ledger is away." in read(shown)


def test_notice_is_shown() -> None:
    ended = LastEnd(NOW, "memory ran out", "le ase&1")
    html = render_page(page(problem="the policy is broken", ended=ended))
    assert "memory ran out" in Form(html).text
    assert "the policy is broken" in Form(html).text
    assert 'href="?opt-again=le%20ase%261"' in html
    assert "opt-again" not in render_page(page(ended=replace(ended, again=None)))


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


@pytest.mark.parametrize("most", [1, 2, 4])
def test_count_is_asked_only_where_there_is_a_choice(most: int) -> None:
    inputs = Form(render_page(page(offer(), allowance=allow(most, 4)))).inputs
    assert [(f["min"], f["max"]) for f in inputs if f["name"] == "count"] == (
        [] if most == 1 else [("1", "2")]
    )


def test_hostile_names_are_text() -> None:
    shown = page(
        offer(HOSTILE),
        images=[HOSTILE],
        problem=HOSTILE,
        ended=LastEnd(NOW, HOSTILE, HOSTILE),
        last={"model": HOSTILE, "gpus": 1},
    )
    form = Form(render_page(shown))
    assert form.tags.count("script") == 1
    assert HOSTILE in {field["value"] for field in form.inputs}
    assert form.images() == [HOSTILE]
    assert form.text.count(HOSTILE) >= 3
    reserved = offer(waits="kept", reserved=HOSTILE, until=NOW)
    places = (OwnPlace(HOSTILE, 1, HOSTILE, 1),)
    for hostile in (
        page(problem=HOSTILE),
        page(reserved, places=places, queue_url=HOSTILE),
        page(refused=HOSTILE),
    ):
        assert Form(render_page(hostile)).tags.count("script") == 1


async def test_page_of_a_hub(hub: MockHub, docker: FakeDocker) -> None:
    form = Form(await hub.spawner().get_options_form())
    assert {f["value"] for f in form.inputs} == {"none", "A100"}
    assert form.images() == IMAGES
    assert "2 of 2" in form.text


@pytest.mark.parametrize(("accepts", "language"), [(None, "en"), ("fr-CH, fr;q=0.9", "en"), ("en-GB", "en")])
async def test_language_of_a_hub_s_page(hub: MockHub, accepts: str | None, language: str) -> None:
    spawner = hub.spawner()
    if accepts is not None:
        spawner.handler = SimpleNamespace(request=SimpleNamespace(headers={"Accept-Language": accepts}))
    assert f'id="gpu-start" lang="{language}"' in await spawner.get_options_form()


async def test_page_without_ledger(hub: MockHub, outage: LedgerOutage) -> None:
    outage.everywhere()
    form = Form(await hub.spawner().get_options_form())
    assert "The ledger is away." in form.text
    assert "waiting" not in form.text, "how many wait is not known"
    assert {f["value"] for f in form.inputs} == {"none"}
    assert await hub.spawner().find_last_end() is None


async def test_the_same_again(hub: MockHub, ledger: Ledger) -> None:
    chosen = {"gpus": 1, "model": "A100", "session": "2 h", "shorten": True}
    await hub.start(chosen)
    (lease,) = hub.live_leases()
    await hub.stop()
    spawner = hub.spawner()
    assert await spawner.find_last_end() is None, "its person stopped it"
    with ledger.write() as unit:
        was = unit.lease(lease.id)
        assert was
        unit.update_lease(replace(was, warned=0, end_reason="Its GPUs were idle."))
    ended = await spawner.find_last_end()
    assert ended.text.startswith("Your last server was stopped: Its GPUs were idle. Files")
    form = await spawner.get_options_form()
    assert f'href="?opt-again={lease.id}"' in form
    assert "Start again with the same choices" in form
    again = await spawner.options_from_query({"again": [ended.again]})
    assert again == {**chosen, "session": "7200.000 s", "image": IMAGES[0], "course": ""}
    # Another start in between is another matter.
    spawner.orm_spawner.user_options = {"gpus": 2}
    assert await spawner.options_from_query({"again": [ended.again]}) == again
    assert (await hub.start(again)).lease.devices == ("GPU-1",)
    for who, odd in (("bob", lease.id), ("ada", "nonsense"), ("ada", "'; DROP TABLE leases")):
        with pytest.raises(SpawnException) as refused:
            await hub.spawner(who).options_from_query({"again": [odd]})
        assert "not known any more" in refused.value.jupyterhub_message


async def test_the_same_again_when_its_image_is_gone(hub: MockHub, ledger: Ledger) -> None:
    await hub.start({"image": IMAGES[1]})
    (lease,) = hub.live_leases()
    await hub.stop()
    spawner = hub.spawner()
    spawner.allowed_images = {IMAGES[0]: "demo/base:1"}
    again = await spawner.options_from_query({"again": [lease.id]})
    with pytest.raises(SpawnException) as refused:
        await spawner.check_options(again)
    assert f"There is no image '{IMAGES[1]}'. You can choose: {IMAGES[0]}." in str(refused.value)


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
        (
            {"device": ["any"], "count": ["1"], "session": ["2 h"], "image": ["base"]},
            {"gpus": 1, "session": "2 h", "image": "base", "shorten": True},
        ),
        ({"device": ["none"], "session": [""]}, {"gpus": 0}),
        ({"gpus": ["1"]}, {"gpus": 1}),
        (
            {"gpus": ["1"], "model": ["A100"], "image": ["base"]},
            {"gpus": 1, "model": "A100", "image": "base"},
        ),
        ({"device": ["none"], "for": ["none"]}, {"gpus": 0, "course": ""}),
        ({"device": ["none"], "for": ["course:cs: 1"]}, {"gpus": 0, "course": "cs: 1"}),
        ({"device": ["none"], "for": [""]}, {"gpus": 0}),
        ({"gpus": ["1"], "course": [""], "image": [""]}, {"gpus": 1, "course": ""}),
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
        {"device": ["any"], "session": ["for ever"]},
        {"device": ["any"], "session": ["2 h", "4 h"]},
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
        st.sampled_from(["device", "count", "gpus", "model", "session", "image", "_xsrf", "x"]),
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
    assert await spawner.options_from_query({"gpus": ["1"]}) == {"gpus": 1}
