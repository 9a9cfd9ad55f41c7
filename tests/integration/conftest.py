"""Integration tests: a real Hub, a real proxy, the real Engine, simulated cards."""

from support.reporting import invariants, pytest_runtest_makereport
from support.ssh_site import ada, grace, site

__all__ = ["ada", "grace", "invariants", "pytest_runtest_makereport", "site"]
