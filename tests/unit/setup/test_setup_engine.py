"""What is done about the Docker Engine of a host, and what its owner is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from gpuspawner.setup.engine import Action, EngineFacts, Verdict, judge_engine, merge_cdi
from gpuspawner.setup.versions import is_at_least, parse_version

ON = '{"features": {"cdi": true}}'
RUNNING = EngineFacts(
    installed=True, running=True, version="26.1.5+dfsg1", cdi=True, daemon_json=ON, systemd=True
)
NONE = EngineFacts(installed=False, running=False, version=None, cdi=None, daemon_json=None, systemd=False)
STOPPED = replace(RUNNING, running=False, version="Docker version 26.1.5+dfsg1, build 411e817", cdi=None)


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        (RUNNING, Action.NOTHING),
        (replace(RUNNING, version="29.0.0", daemon_json=None), Action.NOTHING),
        (NONE, Action.INSTALL),
        (replace(NONE, daemon_json=ON), Action.INSTALL),
        (STOPPED, Action.START),
        (replace(STOPPED, version="Docker version 28.2.2, build e6534b4", daemon_json=None), Action.START),
    ],
)
def test_a_good_engine_is_used_started_or_installed(facts: EngineFacts, action: Action) -> None:
    assert judge_engine(facts) == Verdict(action)


@pytest.mark.parametrize("found", [RUNNING, STOPPED])
@pytest.mark.parametrize(
    ("version", "told"), [("20.10.24+dfsg1", "version 20.10.24"), (None, "cannot be read")]
)
def test_an_engine_that_is_too_old_is_left_alone(found: EngineFacts, version: str | None, told: str) -> None:
    verdict = judge_engine(replace(found, version=version))
    assert verdict.action is Action.NOTHING
    assert verdict.problem is not None
    assert told in verdict.problem
    assert "26 or newer" in verdict.problem


@pytest.mark.parametrize(
    "facts",
    [
        replace(RUNNING, cdi=False, daemon_json=None),
        replace(STOPPED, daemon_json=None),
        replace(STOPPED, daemon_json='{"features": {"cdi": false}}', version="29.0.1"),
        replace(NONE, daemon_json='{"log-driver": "local"}'),
    ],
)
def test_cdi_off_is_told_with_file_lines_and_restart(facts: EngineFacts) -> None:
    problem = judge_engine(facts).problem
    assert problem is not None
    assert "/etc/docker/daemon.json" in problem
    assert '"cdi": true' in problem
    assert ("systemctl restart docker" if facts.systemd else "setsid dockerd") in problem


def test_the_lines_to_write_keep_what_is_there() -> None:
    merged = merge_cdi('{"log-driver": "local", "features": {"buildkit": true, "cdi": false}}')
    assert merged is not None
    assert json.loads(merged) == {"log-driver": "local", "features": {"buildkit": True, "cdi": True}}


@pytest.mark.parametrize("text", ["{", "[]", '{"features": []}', "not json"])
def test_a_damaged_configuration_is_told_as_such(text: str) -> None:
    problem = judge_engine(replace(STOPPED, daemon_json=text)).problem
    assert problem is not None
    assert "daemon.json" in problem


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("Docker version 28.2.2, build e6534b4", (28, 2, 2)),
        ("5:27.5.1-1~debian.12~bookworm", (27, 5, 1)),
        ("  Candidate: 20.10.24+dfsg1-1+deb12u1+b6", (20, 10, 24)),
        ("v22", (22,)),
        ("(none)", None),
        ("", None),
    ],
)
def test_versions_as_programs_print_them(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_an_unknown_version_is_never_new_enough() -> None:
    assert not is_at_least(None, (0,))
    assert is_at_least((26,), (26,))
    assert is_at_least((26, 1), (26,))
    assert not is_at_least((25, 9), (26,))
