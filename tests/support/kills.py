"""Runs of a playbook that are killed on the way."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

from .fresh_server import FreshServer
from .playing import ANSIBLE

TASK = re.compile(r"^TASK \[(?:[a-z_]+ : )?(.*?)\] \*", re.MULTILINE)
UNIT = "killed.scope"


def list_tasks(printed: str) -> list[str]:
    """The tasks that a run of site.yml came to behind its checks, which touch nothing, in order."""
    return TASK.findall(printed.partition("PLAY [Bring the server to a hub]")[2])


def choose(tasks: Sequence[str], count: int, seed: int) -> list[str]:
    """As many of the tasks that a run comes to once, one from each part of the run, in order."""
    once = [name for name in tasks if tasks.count(name) == 1]
    cuts = [len(once) * number // count for number in range(count + 1)]
    dice = random.Random(seed)
    return [dice.choice(once[start:end]) for start, end in pairwise(cuts)]


def kill_at(server: FreshServer, task: str, playbook: str = "site") -> None:
    """Run a playbook, and kill it with all that it runs as soon as it has come to a task."""
    # A unit of its own: Ansible's helpers leave the session and the group of the process that began them.
    command = f"../.gpuspawner/ansible/bin/ansible-playbook -i inventory/mine {playbook}.yml"
    come = f"grep -qF {shlex.quote(f'{task}] **')} /tmp/killed"
    script = (
        f"cd {ANSIBLE}; systemctl reset-failed {UNIT} 2>/dev/null;"
        f" systemd-run --scope --quiet --unit {UNIT} {command} >/tmp/killed 2>&1 & run=$!;"
        f" until {come}; do kill -0 $run || exit 7; sleep 0.05; done;"
        f" systemctl kill --signal=KILL {UNIT}; wait $run; true"
    )
    done = server.run("bash", "-c", script, minutes=30)
    printed = server.must("cat", "/tmp/killed")
    assert done.returncode == 0, f"the run ended before it came to {task!r}:\n{printed[-4000:]}"
    assert "PLAY RECAP" not in printed
    print(f"\n{playbook}.yml was killed at: {task}")
