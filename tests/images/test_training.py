"""Every image with PyTorch computes what is recorded for its locks, on any processor with AVX2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpuspawner.core.images import CPU
from gpuspawner.core.reproduce import Key
from gpuspawner.passport.goldens import read_goldens
from gpuspawner.passport.reports import parse_report
from gpuspawner.setup.images import ImageEntry
from support.sessions import engine, run

pytestmark = pytest.mark.docker
GOLDENS = Path(__file__).parents[2] / "images" / "goldens.json"
OTHERWISE = {
    "ATEN_CPU_CAPABILITY": "avx512",
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
    "MKL_CBWR": "AVX512",
    "OMP_NUM_THREADS": "2",
    "PYTHONHASHSEED": "5",
}
"""Settings of somebody's own, each of which changes what a training comes to."""


def test_it_computes_what_is_recorded(image: ImageEntry) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["gpuspawner", "verify", image.reference, "--device", "cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_of_somebody_change_nothing(image: ImageEntry) -> None:
    ended = run(
        image,
        "gpuspawner-session",
        "verify",
        "--json",
        "--device",
        "cpu",
        environment=OTHERWISE,
        stderr=False,
    )
    report = parse_report(ended)
    recorded = read_goldens(GOLDENS)
    assert report.key in recorded, f"not recorded: {report.key}"
    assert report.runs[0] == recorded[report.key].outcome


def test_the_recorded_value_is_of_these_locks(image: ImageEntry) -> None:
    told = json.loads(run(image, "cat", "/opt/gpuspawner/image.json", stderr=False))
    golden = read_goldens(GOLDENS)[Key(told["lock_hash"], CPU, "train-1")]
    assert golden.image == image.name
    versions = dict(golden.versions)
    assert f"torch {str(versions['torch']).partition('+')[0]}" in image.inside


def test_it_says_that_there_is_no_gpu(image: ImageEntry) -> None:
    options = {"read_only": True, "tmpfs": {"/tmp": ""}, "network_mode": "none", "detach": True}
    container = engine().containers.run(
        image.reference, ["gpuspawner-session", "verify", "--device", "cuda"], **options
    )
    try:
        assert container.wait(timeout=120)["StatusCode"] == 2
        assert "no GPU" in container.logs().decode()
    finally:
        container.remove(force=True)
