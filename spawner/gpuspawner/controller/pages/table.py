"""Every page, and every button."""

from __future__ import annotations

from gpuspawner.controller.identity import MANAGE

from . import board, boardactions, queue
from .page import Page, Press

START = "queue"
"""Where ``/services/gpu/`` leads."""
TICKET = r"(?P<ticket>[^/]{1,200})"

ACTION = r"board/do/(?P<action>[a-z-]{1,30})/(?P<what>[^/]{1,200})"

PAGES: tuple[Page, ...] = (
    Page("queue", "queue", queue.load_queue),
    Page("board", "board", board.load_board, MANAGE),
    Page(ACTION, "board_action", boardactions.load_action, MANAGE, live=False),
    Page("audit", "audit", board.load_audit, MANAGE, live=False),
)

PRESSES: tuple[Press, ...] = (
    Press(f"queue/{TICKET}/claim", queue.press_claim, queue.back_to_queue),
    Press(f"queue/{TICKET}/leave", queue.press_leave, queue.back_to_queue),
    Press(f"{ACTION}/confirm", boardactions.press_action, boardactions.back_to_action, MANAGE),
)
