"""What the log says of those on this host who are not sshd: seldom, for it is there for who connected."""

from __future__ import annotations

import logging
import math
import time

log = logging.getLogger("gpuspawner.gateway")
WARN_SECONDS = 60.0
"""From one warning to the next."""


class Strangers:
    """Those of one kind; however many come, they do not push anything out of the log."""

    def __init__(self) -> None:
        self._warned_at = -math.inf

    def warn(self, text: str, *parts: object) -> None:
        """One came; said in the log unless another was lately."""
        now = time.monotonic()
        if now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            log.warning(text, *parts)
