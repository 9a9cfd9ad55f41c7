"""What the demo says before it starts anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from gpuspawner.cli import main
from gpuspawner.demo import command


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    result = CliRunner().invoke(main, ["demo", "--state-dir", str(tmp_path / "state")])
    assert result.exit_code == 1
    assert "The demo needs a checkout of gpuspawner" in result.output
    assert "run `make demo` in it" in result.output
    assert not (tmp_path / "state").exists()


def test_say_to_a_closed_terminal() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from gpuspawner.demo.command import say; say('one'); say('two')"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=writer, stderr=subprocess.PIPE, env=buffered, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
