"""What is prepared for whom, and what may be missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gpuspawner.setup import prepare as module
from gpuspawner.setup.cli import COMMANDS, IMAGE_COMMANDS
from gpuspawner.setup.engine import Action, Verdict
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.paths import Paths


class Host:
    """A host on which each step only leaves its name, and some of them fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.failing: set[str] = set()
        self.programs: set[str] = set()
        self.verdict = Verdict(Action.NOTHING)
        patch.setattr(module, "look_at_engine", lambda: None)
        patch.setattr(module, "judge_engine", lambda facts: self.verdict)
        patch.setattr(module.shutil, "which", lambda name: name if name in self.programs else None)
        patch.setattr(module, "find_python", lambda: "python3")
        patch.setattr(module, "missing_images", lambda entries: [])
        patch.setattr(module, "missing_packages", list)
        patch.setattr(module, "require_root", lambda: self.take("root"))
        patch.setattr(module, "update_lists", lambda paths: None)
        patch.setattr(module, "install_packages", lambda names, paths: [self.take(name) for name in names])
        patch.setattr(module, "ensure_environment", lambda paths, tests: self.take("environment"))
        patch.setattr(module, "ensure_proxy", lambda paths: self.take("proxy"))
        patch.setattr(module, "ensure_packages", lambda *_: self.take("login provider"))
        patch.setattr(module, "unpack_package", lambda *_: self.take("registry"))
        patch.setattr(module, "start_engine", lambda paths: self.take("start"))
        patch.setattr(module, "ensure_images", lambda paths, chosen: self.take("images"))

    def take(self, step: str) -> None:
        if step in self.failing:
            raise SetupError(f"{step} failed.")
        self.steps.append(step)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def run(command: str, paths: Paths) -> None:
    COMMANDS[command][1](paths)


def test_the_linters_take_neither_root_nor_proxy_nor_compiler(host: Host, paths: Paths) -> None:
    run("environment", paths)
    assert host.steps == ["environment"]


def test_the_tests_without_docker_take_a_compiler_and_no_proxy(host: Host, paths: Paths) -> None:
    run("test-unit", paths)
    assert host.steps == ["root", "gcc", "libc6-dev", "environment"]


def test_the_tests_take_all_there_is(host: Host, paths: Paths) -> None:
    host.programs = {"gcc", *module.TEST_PROGRAMS}
    run("test", paths)
    assert host.steps == ["environment", "proxy", "login provider", "root", "chromium", "registry", "images"]


UNUSABLE = Verdict(Action.NOTHING, "CDI is off.")


@pytest.mark.parametrize("found", [UNUSABLE, Verdict(Action.START)])
def test_without_a_usable_engine_the_other_tests_run(
    host: Host, paths: Paths, found: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    host.programs = {"gcc", *module.PACKAGES}
    host.verdict, host.failing = found, {"start"}
    run("test", paths)
    assert host.steps == ["environment", "proxy", "login provider", "registry"]
    told = capsys.readouterr().out
    assert "warning: the tests with Docker cannot run here. " + (found.problem or "start failed.") in told


def test_without_a_browser_the_other_tests_run(
    host: Host, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    host.programs, host.failing = {"gcc", *module.TEST_PROGRAMS}, {"chromium"}
    run("test", paths)
    assert host.steps == ["environment", "proxy", "login provider", "root", "registry", "images"]
    assert "warning: the browser tests cannot run here. chromium failed." in capsys.readouterr().out


def test_without_the_tests_registry_the_other_tests_run(
    host: Host, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    host.programs, host.failing = set(module.PACKAGES) | {"gcc"}, {"registry"}
    run("test", paths)
    assert host.steps == ["environment", "proxy", "login provider", "images"]
    assert "warning: the tests of a registry cannot run here. registry failed." in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["environment", "proxy", "login provider", "images"])
def test_what_every_test_needs_must_be_had(host: Host, paths: Paths, failing: str) -> None:
    host.programs, host.failing = set(module.PACKAGES) | {"gcc"}, {failing}
    with pytest.raises(SetupError, match=failing):
        run("test", paths)


@pytest.mark.parametrize("failing", ["chromium", "registry", "start"])
def test_a_strict_run_ends_where_anything_is_missing(host: Host, paths: Paths, failing: str) -> None:
    host.verdict, host.failing = Verdict(Action.START), {failing}
    with pytest.raises(SetupError, match=failing):
        run("test-strict", paths)


def test_the_makefile_calls_only_commands_that_exist() -> None:
    makefile = (Paths().root / "Makefile").read_text()
    called = {
        name
        for line in re.findall(r"\$\(PREPARE\) (.+)", makefile)
        for name in re.findall(r"(?:^|,)([a-z][a-z-]*)", line)
    }
    assert called <= {*COMMANDS, *IMAGE_COMMANDS}
    of_playbooks = {"pull-images"}
    assert {"demo", "test", "test-strict", "clean-force", *IMAGE_COMMANDS} - of_playbooks <= called
