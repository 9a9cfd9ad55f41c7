"""Where an error is, in any shape of file."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.yamlfile import YamlFile, read_yaml, suggest
from pydantic import BaseModel, ConfigDict


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1


class Box(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: list[Item] = []
    named: dict[str, Item] = {}
    maybe: Item | None = None


TEXT = """\
items:
  - size: 1
  - size: 2
named:
  big:
    size: 3
"""


def read(folder: Path, text: str) -> YamlFile:
    path = folder / "box.yml"
    path.write_text(text)
    return read_yaml(path, kind="box", word="a key")


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(folder, text).check(Box)
    return str(caught.value).replace(str(folder), "")


def test_good(tmp_path: Path) -> None:
    box = read(tmp_path, TEXT).check(Box)
    assert [item.size for item in box.items] == [1, 2]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("items",), 1),
        (("items", 1), 3),
        (("items", 1, "size"), 3),
        (("items", 7), 1),
        (("named", "big", "size"), 6),
        (("named", "small"), 4),
        (("named", "big", "size", "more"), 6),
    ],
)
def test_lines(tmp_path: Path, keys: tuple[str | int, ...], line: int) -> None:
    assert read(tmp_path, TEXT).line(keys) == line


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("size: 2", "sizes: 2", "/box.yml, line 3: items.1.sizes is not a key; did you mean 'size'?"),
        ("size: 3", "sizes: 3", "/box.yml, line 6: named.big.sizes is not a key; did you mean 'size'?"),
        ("named:", "maybe: {seize: 2}\nnamed:", "line 4: maybe.seize is not a key; did you mean 'size'?"),
        ("size: 2", "size: x", "/box.yml, line 3: items.1.size: Input should be a valid integer"),
        ("size: 2", "size: 2\n    size: 3", "/box.yml, line 4: size is there twice. Remove one."),
        (
            "big:",
            "7:",
            "/box.yml, line 5: YAML takes the key 7 for something else than text. Write it in quotes: '7'.",
        ),
        ("big:", "on:", "/box.yml, line 5: YAML takes the key on for something else than text."),
        (
            "big:",
            "2026-01-01:",
            "/box.yml, line 5: YAML takes the key 2026-01-01 for something else than text.",
        ),
        ("big:", "? [a, b]\n  :", "/box.yml, line 5: a list or a mapping is no key. Write a name."),
        ("big:", "'big ':", "/box.yml, line 5: the key 'big ' has characters in it that nobody sees."),
        (
            "big:",
            "bi\u200bg:",
            r"/box.yml, line 5: the key 'bi\u200bg' has characters in it that nobody sees.",
        ),
        ("size: 3", "<<: {size: 1}\n    <<: {size: 2}", "/box.yml, line 7: << is there twice. Remove one."),
        ("size: 3", "big: &it {again: *it}", "line 6: named.big.big is not a key; known keys are: size."),
    ],
)
def test_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert TEXT.count(old) == 1
    assert says in refusal(tmp_path, TEXT.replace(old, new))


def test_what_is_merged_may_be_replaced(tmp_path: Path) -> None:
    text = "named:\n  small: &it {size: 1}\n  same: *it\n  big:\n    <<: *it\n    size: 3\n"
    box = read(tmp_path, text).check(Box)
    assert {name: item.size for name, item in box.named.items()} == {"small": 1, "same": 1, "big": 3}


def test_what_is_merged_is_checked_where_it_stands(tmp_path: Path) -> None:
    text = "named:\n  small: &it\n    seize: 1\n  big:\n    <<: *it\n"
    assert "/box.yml, line 3: named.small.seize is not a key; did you mean 'size'?" in refusal(tmp_path, text)


@pytest.mark.parametrize("levels", ["[", "{a: ", "- "])
def test_too_many_levels_are_an_error_and_no_crash(tmp_path: Path, levels: str) -> None:
    assert "/box.yml, line 1: nothing has so many levels" in refusal(
        tmp_path, "items: " * (levels != "- ") + levels * 200_000
    )


def test_suggestions() -> None:
    assert suggest("visionlab", ["vision-lab", "robotics"], "groups are") == "did you mean 'vision-lab'?"
    assert suggest("x", ["vision-lab", "robotics"], "groups are") == "groups are: vision-lab, robotics."
    assert suggest("x", [], "groups are") == "groups are: none."
