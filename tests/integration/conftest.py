"""Integration tests: a real Hub, a real proxy, the real Engine, simulated cards."""

from support.reporting import invariants, pytest_runtest_makereport

__all__ = ["invariants", "pytest_runtest_makereport"]
