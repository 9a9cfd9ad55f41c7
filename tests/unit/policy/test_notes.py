"""What a policy says in vain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.policy.notes import find_notes
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import Limits


def notes(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "policy.yml"
    path.write_text(text)
    base = Limits(gpus_per_person=2, gpus_per_server=2).as_rule()
    return find_notes(replace(load_policy(path, images=None), base=base))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "groups: {lab: {gpus_per_person: 1}}",
            "group `lab`: gpus_per_person 1 changes nothing: everybody has 2 (settings), and the best of all "
            "rules counts.",
        ),
        (
            "groups: {default: {images: [a, b]}, lab: {images: [a]}}",
            "group `lab`: images a changes nothing: everybody has a, b (default), and the best of all rules "
            "counts.",
        ),
        (
            "groups: {lab: {models: [T4]}}",
            "group `lab`: models and pools T4 changes nothing: everybody has all (settings), and the best of "
            "all rules counts.",
        ),
        (
            "people: {Bob: {gpus_per_person: 0}}",
            "person `Bob`: nobody is called so, since names are in small letters at the hub. Write bob.",
        ),
        (
            "groups: {lab: {gpus_per_server: 3}}",
            "group `lab`: gpus_per_server 3 (group `lab`) is out of reach: gpus_per_person is 2 (settings).",
        ),
        (
            "{groups: {lab: }, courses: {cs: {group: lab, image: a, longest_session: 8 h}}}",
            "course `cs`: longest_session 8 h changes nothing: everybody has unlimited (settings), and the "
            "best of all rules counts.",
        ),
        (
            "{groups: {lab: }, courses: {a: {group: lab, image: x}, b: {group: lab, image: x}}}",
            "courses a, b: all have the group `lab` and the image x, so that its people must say at each "
            "start for which course it is. Give each course a group, or an image, of its own.",
        ),
    ],
)
def test_in_vain(tmp_path: Path, text: str, found: str) -> None:
    assert notes(tmp_path, text) == (found,)


@pytest.mark.parametrize(
    "text",
    [
        "groups: {default: {gpus_per_person: 0, longest_session: 1 h}, lab: {longest_session: 2 h}}",
        "groups: {lab: {gpus_per_person: 2}}",
        "groups: {lab: {gpus_per_person: 4, gpus_per_server: 3}}",
        "people: {ada: {gpus_per_person: 0}}",
        "{groups: {lab: }, courses: {a: {group: lab, image: x}, b: {group: lab, image: y}}}",
        "{groups: {lab: , phd: }, courses: {a: {group: lab, image: x}, b: {group: phd, image: x}}}",
    ],
)
def test_nothing_in_vain(tmp_path: Path, text: str) -> None:
    assert notes(tmp_path, text) == ()
