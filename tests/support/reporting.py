"""What a test with installations shows when it fails, and what is checked after each one.

A conftest that imports these two names has both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .installation import living


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        for installation in living:
            report.sections.append((f"logs of {installation.instance}", installation.tail()))
    return report


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """After each test: one owner per card, none without a lease, and no lease without a server."""
    yield
    for installation in living:
        installation.settle()
        installation.check()
