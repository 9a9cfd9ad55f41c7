"""The policy in force while its file changes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import DEFAULT
from gpuspawner.policy import policyfile
from gpuspawner.policy.policyfile import PolicyFile

BROKEN = "groups: {default: {gpus: 1}}"


def text(gpus: int) -> str:
    return f"groups: {{default: {{gpus_per_person: {gpus}}}}}"


def gpus(file: PolicyFile) -> int:
    return int(file.current().groups[DEFAULT].limits["gpus_per_person"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text(text(1))
    return path


@pytest.fixture
def file(path: Path) -> PolicyFile:
    file = PolicyFile(path, images=None)
    assert gpus(file) == 1
    return file


def test_a_change_is_seen(path: Path, file: PolicyFile) -> None:
    path.write_text(text(22))
    assert gpus(file) == 22
    assert file.problem is None


def test_a_change_of_the_same_size_is_seen(path: Path, file: PolicyFile) -> None:
    seen = path.stat().st_mtime_ns
    path.write_text(text(2))
    os.utime(path, ns=(seen, seen + 10**6))
    assert gpus(file) == 2


def test_a_file_put_in_its_place_is_seen(path: Path, file: PolicyFile) -> None:
    """As editors and configuration management do, keeping size and time."""
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text(text(2))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert gpus(file) == 2


def test_what_has_not_changed_is_not_read_again(
    path: Path, file: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policyfile, "load_policy", lambda *args, **kwargs: pytest.fail("read again"))
    assert gpus(file) == 1


def test_a_broken_file_changes_nothing_and_says_so_once(
    path: Path, file: PolicyFile, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(BROKEN)
    for _ in range(3):
        assert gpus(file) == 1
    assert file.problem is not None
    assert "groups.default.gpus is not a key of the policy" in file.problem
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.message == f"{file.problem} The policy read before stays in force."
    path.write_text(text(3))
    assert gpus(file) == 3
    assert file.problem is None


def test_a_missing_file_changes_nothing(
    path: Path, file: PolicyFile, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    for _ in range(3):
        assert gpus(file) == 1
    assert "cannot be read: No such file" in (file.problem or "")
    assert len(caplog.records) == 1
    path.write_text(text(4))
    assert gpus(file) == 4


def test_a_file_that_was_never_good(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(BROKEN)
    file = PolicyFile(path, images=None)
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"groups.default.gpus is not a key"):
            file.current()
    assert len(caplog.records) == 1
    path.write_text(text(5))
    assert gpus(file) == 5


def test_images_and_home_are_checked(path: Path) -> None:
    path.write_text("groups: {default: {images: [jax]}}")
    with pytest.raises(SettingsError, match="there is no image 'jax'"):
        PolicyFile(path, images=["base"]).current()
