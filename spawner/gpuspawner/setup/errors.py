"""What goes wrong while a host is prepared."""

from __future__ import annotations

from gpuspawner.core.errors import GpuSpawnerError


class SetupError(GpuSpawnerError):
    """Something is missing or wrong on this host; the text names it and the fix."""
