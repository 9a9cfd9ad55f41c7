"""Whether the playbooks are as they were when ``make test-ansible`` last passed.

``python3 tests/support/tested.py``: exit code 0 if so, 1 if not. ``--print``: what they are now, as one hash.
``--write HASH``: they have passed as that; kept in ``ansible/tested.json``, which is committed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTED = CHECKOUT / "ansible" / "tested.json"
INPUTS = (
    "ansible",
    "jupyterhub_config.py",
    "spawner/gpuspawner/hubconfig.py",
    "spawner/gpuspawner/deploy",
    "spawner/gpuspawner/setup",
    "spawner/gpuspawner/adapters/ledger/migrations",
    "spawner/requirements.lock",
    "tests/ansible",
    "tests/support/fake_packages.py",
    "tests/support/fresh_server.py",
    "tests/support/kernels.py",
    "tests/support/kills.py",
    "tests/support/playing.py",
    "tests/support/registry.py",
)
"""THE list of what a server is made from and tried with. What runs on it has tests of its own."""
PAGES = ("docs/install.md", "docs/maintenance.md")
"""Of these the commands and settings count, which the tests run, and not the words around them."""
BLOCKS = re.compile(r"^```(?:sh|yaml)\n.*?^```", re.DOTALL | re.MULTILINE)
MADE = {"__pycache__", "mine", "tested.json", "secrets", ".ansible", ".mypy_cache", ".ruff_cache"}
"""Not from the checkout."""


def list_inputs(checkout: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of all that counts, in order."""
    for name in INPUTS:
        top = checkout / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            below = path.relative_to(checkout)
            if path.is_file() and MADE.isdisjoint(below.parts):
                yield str(below), path.read_bytes()
    for name in PAGES:
        yield name, "\n".join(BLOCKS.findall((checkout / name).read_text())).encode()


def digest(checkout: Path) -> str:
    """All that counts, as one hash."""
    whole = sha256()
    for name, content in list_inputs(checkout):
        whole.update(sha256(name.encode()).digest() + sha256(content).digest())
    return whole.hexdigest()


def read(file: Path) -> str:
    """What has passed; empty if nothing has."""
    return str(json.loads(file.read_text())["inputs"]) if file.exists() else ""


def main() -> None:
    """Do what the arguments say."""
    now = digest(CHECKOUT)
    if sys.argv[1:] == ["--print"]:
        print(now)
    elif sys.argv[1:2] == ["--write"]:
        if sys.argv[2] != now:
            sys.exit("The playbooks have changed while they were tested, so that nothing is written down.")
        TESTED.write_text(json.dumps({"inputs": now}) + "\n")
        print(f"Commit {TESTED.relative_to(CHECKOUT)}: it says that the playbooks have passed as they are.")
    elif read(TESTED) != now:
        sys.exit("The playbooks, or what they install from, have changed since make test-ansible passed.")


if __name__ == "__main__":
    main()
