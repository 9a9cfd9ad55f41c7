"""Playbooks on a fresh server, and what they print."""

from __future__ import annotations

import re
import time

from .fresh_server import HOME, FreshServer

SETTINGS = f"{HOME}/ansible/inventory/mine/gpuspawner.yml"


def play(server: FreshServer, name: str, *more: str) -> tuple[int, str]:
    """Run a playbook; its exit code, and what it printed."""
    command = ["../.gpuspawner/ansible/bin/ansible-playbook", "-i", "inventory/mine", f"{name}.yml", *more]
    begun = time.monotonic()
    done = server.run(*command, minutes=40, folder=f"{HOME}/ansible")
    print(f"\n{name}.yml {' '.join(more)}: {time.monotonic() - begun:.0f} s, exit code {done.returncode}")
    return done.returncode, done.stdout


def must_play(server: FreshServer, name: str, *more: str) -> dict[str, int]:
    """Run a playbook that must succeed; its recap."""
    code, printed = play(server, name, *more)
    assert code == 0, printed[-6000:]
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", printed.rpartition("PLAY RECAP")[2])}


def must_refuse(server: FreshServer, says: str, before: dict[str, str] | None = None) -> None:
    """Bring the server to a hub, which must stop with these words before it has changed anything.

    Args:
        server: The server.
        says: What it must say.
        before: The server's state as it was; asked for unless given.
    """
    before = before or server.state()
    code, printed = play(server, "site")
    assert code != 0
    # Ansible breaks lines, and shows some texts as YAML would write them.
    words = re.sub(r"\s+", " ", printed.replace("''", "'"))
    assert says in words, printed[-3000:]
    after = server.state()
    assert {what for what in before if before[what] != after[what]} == set()
