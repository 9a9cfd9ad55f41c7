"""What the playbooks decide, without a server: their conditions, and the programs that they run there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.setup.paths import CHECKOUT

ANSIBLE = CHECKOUT / "ansible"


def task(file: str, name: str) -> dict[str, Any]:
    """A task of a playbook or of a role's file, by its name."""
    read = yaml.safe_load((ANSIBLE / file).read_text())
    found = [one for one in (read[0]["tasks"] if "hosts" in read[0] else read) if one["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def ask_for_ledger(path: Path) -> str:
    program = task("uninstall.yml", "Ask which ledger is this hub's")["vars"]["uninstall_program"]
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_uninstalling_takes_the_servers_of_this_hubs_ledger_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert ask_for_ledger(path) == ""
    path.touch()
    assert ask_for_ledger(path) == ""
    ledger = Ledger(path)
    with ledger.write() as unit:
        known = unit.ledger_id()
    ledger.close()
    assert ask_for_ledger(path) == known
    listing = task("uninstall.yml", "List the servers of its people")
    assert "label=gpuspawner.ledger={{ uninstall_ledger.stdout }}" in listing["ansible.builtin.command"]
    assert listing["when"] == "uninstall_ledger.stdout != ''"
