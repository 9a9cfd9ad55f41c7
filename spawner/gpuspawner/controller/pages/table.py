"""Every page, and every button."""

from __future__ import annotations

from . import queue, servers
from .page import Page, Press

START = "queue"
"""Where ``/services/gpu/`` leads."""
TICKET = r"(?P<ticket>[^/]{1,200})"

LEASE = r"(?P<lease>[^/]{1,200})"

PAGES: tuple[Page, ...] = (
    Page("servers", "servers", servers.load_servers),
    Page("queue", "queue", queue.load_queue),
)

PRESSES: tuple[Press, ...] = (
    Press(f"queue/{TICKET}/claim", queue.press_claim, queue.back_to_queue),
    Press(f"queue/{TICKET}/leave", queue.press_leave, queue.back_to_queue),
    Press(f"servers/{LEASE}/stop", servers.press_stop, servers.back_to_servers),
)
