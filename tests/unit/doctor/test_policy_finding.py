"""What the doctor says of the policy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gpuspawner.doctor.checks import CHECKS, check_policy
from gpuspawner.doctor.facts import Facts, PolicyFacts, read_policy
from gpuspawner.doctor.findings import Level

SETTINGS = "state_dir: /srv/g\nimages: {base: demo/base:1}\n"


def findings(policy: PolicyFacts | None) -> list[tuple[Level, str]]:
    facts = Facts(now=datetime(2030, 1, 1, tzinfo=UTC), policy=policy)
    return [(found.level, found.what) for found in check_policy(facts)]


def test_findings() -> None:
    assert check_policy in CHECKS
    assert findings(None) == []
    assert findings(PolicyFacts("p.yml")) == [(Level.OK, "The policy p.yml is right.")]
    assert findings(PolicyFacts("p.yml", "p.yml, line 3: no")) == [(Level.ERROR, "p.yml, line 3: no")]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "gpuspawner.yml"
    path.write_text(SETTINGS + f"policy: {tmp_path / 'policy.yml'}\n")
    return path


def test_read(settings: Path) -> None:
    policy = settings.with_name("policy.yml")
    policy.write_text("groups: {default: {images: [base]}}")
    assert read_policy(settings) == PolicyFacts(str(policy))
    policy.write_text("groups: {default: {images: [jax]}}")
    found = read_policy(settings)
    assert found is not None
    assert found.path == str(policy)
    assert "line 1: groups.default.images: there is no image 'jax'" in found.error


def test_no_policy(settings: Path) -> None:
    assert read_policy(None) is None
    settings.write_text(SETTINGS)
    assert read_policy(settings) is None


def test_broken_settings(settings: Path) -> None:
    settings.write_text("state: 1")
    found = read_policy(settings)
    assert found is not None
    assert found.path == str(settings)
    assert "state is not a setting" in found.error
