"""A secret that two processes share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from gpuspawner.adapters.secret import ensure_secret
from gpuspawner.core.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_it_is_made_once_and_is_private(file: Path) -> None:
    secret = ensure_secret(file)
    assert ensure_secret(file) == secret
    assert len(secret) == 64
    assert file.stat().st_mode & 0o077 == 0
    assert list(file.parent.iterdir()) == [file]


def test_who_comes_first_makes_it_for_all(file: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_secret(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("a" * 64, 0o644, "run: chmod 600"),
        ("a" * 64, 0o620, "run: chmod 600"),
        ("a" * 65, 0o600, "must hold 32 to 64 characters"),
        ("a" * 31, 0o600, "must hold 32 to 64 characters"),
        ("ä" * 40, 0o600, "must hold 32 to 64 characters"),
        ("", 0o600, "must hold 32 to 64 characters"),
    ],
)
def test_what_is_no_secret_is_refused(file: Path, text: str, mode: int, says: str) -> None:
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SettingsError, match=says) as caught:
        ensure_secret(file)
    assert str(file) in str(caught.value)
    assert text == "" or text not in str(caught.value)


def test_a_directory_that_is_missing(file: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        ensure_secret(file.parent / "no" / "secret")
