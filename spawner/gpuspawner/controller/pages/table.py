"""Every page, and every button."""

from __future__ import annotations

from . import calendars, queue, reservations, reserve
from .page import Page, Press

START = "queue"
"""Where ``/services/gpu/`` leads."""
TICKET = r"(?P<ticket>[^/]{1,200})"
RESERVATION = r"reservations/(?P<reservation>[0-9a-f]{16})"

PAGES: tuple[Page, ...] = (
    Page("queue", "queue", queue.load_queue),
    Page("reservations", "reservations", reservations.load_calendar, live=False),
    Page("reservations/new", "reserve", reserve.load_reserve, live=False),
    Page("reservations/import", "import", calendars.load_import, live=False),
    Page(RESERVATION, "reservation", reservations.load_reservation, live=False),
    Page(f"{RESERVATION}/change", "reserve", reserve.load_change, live=False),
)

PRESSES: tuple[Press, ...] = (
    Press(f"queue/{TICKET}/claim", queue.press_claim, queue.back_to_queue),
    Press(f"queue/{TICKET}/leave", queue.press_leave, queue.back_to_queue),
    Press(f"{RESERVATION}/cancel", reservations.press_cancel, reservations.back_to_reservation),
    Press(f"{RESERVATION}/skip", reservations.press_skip, reservations.back_to_reservation),
    Press("reservations/take", calendars.press_import, calendars.back_to_import),
    Press("reservations/address/end", calendars.press_end, reservations.back_to_calendar),
)
