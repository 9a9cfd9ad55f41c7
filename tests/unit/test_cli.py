"""The command itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from click.testing import CliRunner
from gpuspawner.cli import COMMANDS, main


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from gpuspawner.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'docker', 'sqlalchemy', 'pynvml', 'jupyterhub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there(name: str) -> None:
    assert importlib.util.find_spec(COMMANDS[name][0].partition(":")[0])


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["lunch"]).exit_code == 2
