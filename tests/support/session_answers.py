"""What ``gpuspawner-session verify --json`` says, and an image that says it without a training."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from .images import derived_image

LOCK = "b" * 64


def make_answer(**others: Any) -> dict[str, Any]:
    """An answer of an image that computes the same twice on a simulated A100."""
    run = {
        "weights": "1" * 64,
        "losses_hash": "2" * 64,
        "data": "3" * 64,
        "rng": {"python": "4" * 64, "torch": "5" * 64},
        "step_seconds": 0.02,
    }
    answer = {
        "schema": 1,
        "test": "train-1",
        "architecture": "sm_80",
        "device": "NVIDIA A100",
        "card_uuid": "GPU-1",
        "driver": "570.1",
        "image": {"name": "x", "title": "X", "digest": None, "lock_hash": LOCK, "chain": []},
        "versions": {"python": "3.13.5", "torch": "2.9.1", "cuda": "12.8", "cudnn": None},
        "runs": [run, run],
        "losses": [2.5, 1.5],
        "torch_of_image": True,
        "at": datetime(2030, 5, 17, tzinfo=UTC).isoformat(),
    }
    return answer | others


SCRIPT = """#!/bin/sh
[ "$*" = "verify --json --device {device}" ] || {{ echo "called with $*" >&2; exit 9; }}
touch /written 2>/dev/null && {{ echo "the root can be written" >&2; exit 9; }}
[ "$(ls /sys/class/net)" = lo ] || {{ echo "there is a network" >&2; exit 9; }}
{before}
card=$(nvidia-smi -L 2>/dev/null | sed -n 's/.*UUID: \\(GPU-[0-9a-f-]*\\).*/\\1/p')
cat <<'END' | sed "s/GPU-1/$card/"
{answer}
END
"""


@contextmanager
def answering_image(answer: dict[str, Any], *, device: str = "cuda", before: str = "") -> Iterator[str]:
    """An image in which ``gpuspawner-session`` gives this answer, about the card that it sees.

    Args:
        answer: What it says.
        device: What it must be asked for.
        before: Shell commands that it runs first.
    """
    script = SCRIPT.format(device=device, before=before, answer=json.dumps(answer))
    packed = base64.b64encode(script.encode()).decode()
    target = "/opt/jupyter/bin/gpuspawner-session"
    lines = ["USER 0:0", f"RUN echo {packed} | base64 -d >{target} && chmod 755 {target}", "USER 1000:1000"]
    with derived_image(*lines) as reference:
        yield reference
