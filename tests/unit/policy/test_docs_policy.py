"""The page on the policy: its example is a policy, and its table has every key."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.core.policy import Policy, resolve_allowance
from gpuspawner.policy.notes import find_notes
from gpuspawner.policy.policy import GroupEntry, load_policy
from gpuspawner.policy.settings import Limits

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "policy.yml"
    path.write_text(example)
    return replace(load_policy(path, images=["minimal", "science"]), base=Limits().as_rule())


def test_the_example(policy: Policy) -> None:
    assert find_notes(policy) == ()
    ada = resolve_allowance(policy, "ada", ())
    assert (ada.gpus_per_server.value, ada.gpus_per_server.because) == (2, " (group `vision-lab`)")
    assert resolve_allowance(policy, "bob", ["vision-lab"]).gpus_per_person.value == 0
    student = resolve_allowance(policy, "zoe", ["cs231-2026"])
    assert student.images.value == {"minimal", "science"}
    assert student.longest_session.value == timedelta(hours=10)


def rows() -> dict[str, str]:
    found = re.findall(r"^\| (`[^|]*) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    return {key: holds for keys, holds in found for key in re.findall(r"`(\w+)`", keys)}


def test_every_key_is_in_the_table() -> None:
    assert set(rows()) == set(GroupEntry.model_fields) - {"data"}  # no limit; it has a section of its own
