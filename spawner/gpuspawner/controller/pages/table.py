"""Every page, and every button."""

from __future__ import annotations

from . import queue, reports
from .page import Download, Page, Press

START = "queue"
"""Where ``/services/gpu/`` leads."""
TICKET = r"(?P<ticket>[^/]{1,200})"

PAGES: tuple[Page, ...] = (
    Page("queue", "queue", queue.load_queue),
    Page("reports", "reports", reports.load_reports, live=False),
)

DOWNLOADS: tuple[Download, ...] = (Download(r"reports\.csv", reports.make_file),)

PRESSES: tuple[Press, ...] = (
    Press(f"queue/{TICKET}/claim", queue.press_claim, queue.back_to_queue),
    Press(f"queue/{TICKET}/leave", queue.press_leave, queue.back_to_queue),
)
