"""What the gateway asks the controller: one line of JSON there and one back, over a local socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gpuspawner.core.errors import GpuSpawnerError

SECONDS = 8.0
"""How long an answer may take; sshd's program waits a little longer."""
MOST_REPORT_SECONDS = 60.0
"""How long it may take with a report, for which the Hub is asked of everybody who is in."""
MOST_BYTES = 4 * 1024 * 1024


class Away(GpuSpawnerError):
    """The controller gives no answer: nobody new comes in."""


class ControllerDesk:
    """Asks the controller.

    Args:
        path: Where it listens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, what: str, *, seconds: float = SECONDS, **said: Any) -> dict[str, Any]:
        """Ask one thing. Raises: Away."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=MOST_BYTES)
                try:
                    writer.write(json.dumps({"ask": what, **said}).encode() + b"\n")
                    await writer.drain()
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise Away(f"The controller does not answer: {error or type(error).__name__}") from error
        if not isinstance(answer, dict) or "error" in answer:
            raise Away(f"The controller does not answer: {answer}")
        return answer
