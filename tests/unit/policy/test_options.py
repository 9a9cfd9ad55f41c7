"""What a user sends is hostile: a valid request comes out, or one short sentence."""

from __future__ import annotations

import json

import pytest
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import SpawnRequest
from gpuspawner.policy.options import parse_options, shorten, split_turn, write_options
from hypothesis import example, given
from hypothesis import strategies as st

IMAGES = ("pytorch", "base")
LONGEST = 300


def parse(raw: object) -> SpawnRequest:
    return parse_options(raw, images=IMAGES, most_gpus=4)


def refusal(raw: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(raw)
    text = str(caught.value)
    assert len(text) <= LONGEST
    assert "\n" not in text
    text.encode()
    return text


@pytest.mark.parametrize(
    ("raw", "request_"),
    [
        ({}, SpawnRequest(0)),
        ({"gpus": 0}, SpawnRequest(0)),
        ({"gpus": 4, "model": "A100", "image": "base"}, SpawnRequest(4, "A100", "base")),
        ({"gpus": 1, "model": None, "image": None}, SpawnRequest(1)),
    ],
)
def test_valid(raw: object, request_: SpawnRequest) -> None:
    assert parse(raw) == request_


def test_a_turn_is_for_one_start_only() -> None:
    options = write_options(SpawnRequest(2, "A100"), turn="t1")
    assert options == {"gpus": 2, "model": "A100", "turn": "t1"}
    assert parse(options) == SpawnRequest(2, "A100")
    assert split_turn(options) == ({"gpus": 2, "model": "A100"}, "t1")
    assert split_turn({"gpus": 1}) == ({"gpus": 1}, None)
    assert refusal({"gpus": 1, "turn": 5}).startswith("turn must be a text")


GPUS = "gpus must be a whole number from 0 to 4; you sent "


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"gpus": 99}, GPUS + "99."),
        ({"gpus": 5}, GPUS + "5."),
        ({"gpus": -1}, GPUS + "-1."),
        ({"gpus": "1; rm"}, GPUS + "'1; rm'."),
        ({"gpus": "1"}, GPUS + "'1'."),
        ({"gpus": True}, GPUS + "True."),
        ({"gpus": 1.0}, GPUS + "1.0."),
        ({"gpus": None}, GPUS + "None."),
        ({"gpus": [1]}, GPUS + "[1]."),
        ({"gpus": float("inf")}, GPUS + "inf."),
        (
            {"device": "GPU-1"},
            "There is no option 'device'. The options are: gpus, model, image, slice, memory",
        ),
        (
            {"gpu": 1},
            "There is no option 'gpu'. Did you mean gpus? The options are: gpus, model, image, ",
        ),
        ({"extra_host_config": {"privileged": True}}, "There is no option 'extra_host_config'."),
        ({"image": "evil/miner"}, "There is no image 'evil/miner'. You can choose: base, pytorch."),
        ({"image": ""}, "image must be a text of 1 to 200 characters; you sent ''."),
        ({"image": 1}, "image must be a text"),
        ({"gpus": 1, "model": ["A100"]}, "model must be a text of 1 to 200 characters; you sent ['A100']."),
        ({"gpus": 1, "model": "x" * 201}, "model must be a text of 1 to 200 characters"),
        ({"gpus": 0, "model": "A100"}, "A GPU model was chosen together with 0 GPUs."),
        ([], "The options must be a JSON object"),
        (None, "The options must be a JSON object"),
        ("gpus", "The options must be a JSON object"),
    ],
    ids=str,
)
def test_hostile(raw: object, says: str) -> None:
    assert says in refusal(raw)


DEEP: object = 1
for _ in range(900):
    DEEP = [DEEP]
BIG = "a" * 1_000_000


MONSTERS = {
    "long": BIG,
    "deep": DEEP,
    "big": 10**4000,
    "bigger": 10**5000,
    "nested": [BIG],
    "keys": {BIG: BIG},
    "many": list(range(100_000)),
    "control": "\n\x1b[31m\u202e",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("key", ["gpus", "model", "image", "other"])
@pytest.mark.parametrize("monster", MONSTERS)
def test_monsters(key: str, monster: str) -> None:
    rest = {} if key == "gpus" else {"gpus": 1, "image": "none"}
    refusal(rest | {key: MONSTERS[monster]})


@pytest.mark.parametrize("monster", MONSTERS)
def test_shorten(monster: str) -> None:
    assert len(shorten(MONSTERS[monster])) <= 41


@pytest.mark.parametrize(
    "key", [BIG, "\ud800", "\n\x1b[31m", "", "gpus\0"], ids=["long", "surrogate", "control", "empty", "nul"]
)
def test_monstrous_keys(key: str) -> None:
    assert refusal({key: 1}).startswith(("There is no option", "The options must be"))


texts = st.text(st.characters(exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(IMAGES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
options = st.dictionaries(st.sampled_from(["gpus", "model", "image"]) | texts, values | st.integers(-1, 6))


@given(values | options)
@example({"gpus": 1})
def test_any_json(raw: object) -> None:
    try:
        request = parse(raw)
    except InvalidRequest:
        refusal(raw)
        return
    assert type(request.gpus) is int
    assert 0 <= request.gpus <= 4
    assert request.image in (None, *IMAGES)
    assert request.model is None or (1 <= len(request.model) <= 200 and request.gpus)
    assert isinstance(raw, dict)
    json.dumps(request.model).encode()
