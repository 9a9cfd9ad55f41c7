"""With what the modules of ``tests/ansible`` that need a server last passed.

``ansible/tested.json``, which is committed, has it. ``python3 tests/support/tested.py`` prints those that
have not passed with what is here, as CI says in its end. Pytest, run with ``tests/ansible``, writes the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest  # which is not there where CI only asks what has not passed

CHECKOUT = Path(__file__).resolve().parents[2]
TESTED = CHECKOUT / "ansible" / "tested.json"
RELEASE = "trixie"
"""What it is written for: CI tries this Debian."""
INPUTS = (
    "ansible",
    "jupyterhub_config.py",
    "spawner/gpuspawner/hubconfig.py",
    "spawner/gpuspawner/deploy",
    "spawner/gpuspawner/setup",
    "spawner/gpuspawner/adapters/ledger/migrations",
    "spawner/requirements.lock",
    "tests/ansible/conftest.py",
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


def list_modules(checkout: Path) -> list[str]:
    """Those of the tests that need a server."""
    found = sorted((checkout / "tests" / "ansible").glob("test_*.py"))
    return [str(path.relative_to(checkout)) for path in found if "pytest.mark.server" in path.read_text()]


def list_inputs(checkout: Path, module: str) -> Iterator[tuple[str, bytes]]:
    """Name and contents of all that counts for a module, in order."""
    for name in (*INPUTS, module):
        top = checkout / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            below = path.relative_to(checkout)
            if path.is_file() and MADE.isdisjoint(below.parts):
                yield str(below), path.read_bytes()
    for name in PAGES:
        yield name, "\n".join(BLOCKS.findall((checkout / name).read_text())).encode()


def digest(checkout: Path, module: str) -> str:
    """All that counts for a module, as one hash."""
    whole = sha256()
    for name, content in list_inputs(checkout, module):
        whole.update(sha256(name.encode()).digest() + sha256(content).digest())
    return whole.hexdigest()


def digests(checkout: Path) -> dict[str, str]:
    """The same of each module."""
    return {module: digest(checkout, module) for module in list_modules(checkout)}


def read(file: Path) -> dict[str, str]:
    """What has passed, by module."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def write(file: Path, passed: Mapping[str, str], modules: list[str]) -> None:
    """Write down what has passed too.

    Args:
        file: Where.
        passed: What each of some modules has passed with.
        modules: All that there are; others are forgotten.
    """
    known = {**read(file), **passed}
    file.write_text(json.dumps({name: known[name] for name in modules if name in known}, indent=1) + "\n")


class Passing:
    """Writes down what passes, as a plug-in of pytest: modules of which every test ran and passed.

    Args:
        tests: The names of all that will be run.
    """

    def __init__(self, tests: Collection[str]) -> None:
        self._before = digests(CHECKOUT)
        self._left = set(tests)
        self._modules = {name.partition("::")[0] for name in tests}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One that passed is not left; one that fails afterwards, in what puts things back, is."""
        if report.when == "call" and report.passed:
            self._left.discard(report.nodeid)
        elif report.failed:
            self._left.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write it."""
        whole = self._modules - {name.partition("::")[0] for name in self._left}
        now = digests(CHECKOUT)
        passed = {
            name: said for name, said in self._before.items() if name in whole and now.get(name) == said
        }
        if passed:
            write(TESTED, passed, list(now))


def main() -> None:
    """Print what has not passed."""
    passed = read(TESTED)
    for module, now in digests(CHECKOUT).items():
        if passed.get(module) != now:
            print(module)


if __name__ == "__main__":
    main()
