"""Every page, and every button."""

from __future__ import annotations

from gpuspawner.controller.identity import KEYS, MANAGE

from . import (
    board,
    boardactions,
    calendars,
    comparison,
    courses,
    images,
    queue,
    reports,
    reservations,
    reserve,
    roster,
    servers,
    ssh,
    timetable,
)
from .page import Download, Page, Press

START = "queue"
"""Where ``/services/gpu/`` leads."""
TICKET = r"(?P<ticket>[^/]{1,200})"
RESERVATION = r"reservations/(?P<reservation>[0-9a-f]{16})"
ADDRESSES = "reservations/addresses"
ACTION = r"board/do/(?P<action>[a-z-]{1,30})/(?P<what>[^/]{1,200})"
LEASE = r"(?P<lease>[^/]{1,200})"
COURSE = r"(?P<course>[^/]{1,200})"
IMAGE = r"images/(?P<image>[^/]{1,600})"
SEAT = f"courses/{COURSE}/seats/{LEASE}"

PAGES: tuple[Page, ...] = (
    Page("servers", "servers", servers.load_servers),
    Page("queue", "queue", queue.load_queue),
    Page("reservations", "reservations", reservations.load_calendar, rests_on=("reservation.", "calendar.")),
    Page("reservations/new", "reserve", reserve.load_reserve, menu="reservations", live=False),
    Page("reservations/import", "import", calendars.load_import, menu="reservations", live=False),
    Page(ADDRESSES, "addresses", calendars.load_addresses, MANAGE, menu="reservations", live=False),
    Page(RESERVATION, "reservation", reservations.load_reservation, menu="reservations", live=False),
    Page(f"{RESERVATION}/change", "reserve", reserve.load_change, menu="reservations", live=False),
    Page("courses", "courses", courses.load_courses),
    Page(f"courses/{COURSE}", "course", courses.load_course, menu="courses"),
    Page(f"courses/{COURSE}/message", "course_message", courses.load_message, menu="courses", live=False),
    Page(f"courses/{COURSE}/extend", "course_extend", courses.load_extend, menu="courses", live=False),
    Page(f"courses/{COURSE}/roster", "roster", roster.load_roster, menu="courses", live=False),
    Page(f"courses/{COURSE}/roster/undo", "roster_undo", roster.load_undo, menu="courses", live=False),
    Page(f"courses/{COURSE}/end", "course_end", roster.load_end, menu="courses", live=False),
    Page(f"courses/{COURSE}/timetable", "timetable", timetable.load_timetable, menu="courses", live=False),
    Page(SEAT, "seat", courses.load_seat, menu="courses", live=False),
    Page("images", "images", images.load_images, live=False),
    Page(IMAGE, "image", images.load_image, menu="images", live=False),
    Page(f"{IMAGE}/changes", "comparison", comparison.load_comparison, menu="images", live=False),
    Page("ssh", "ssh", ssh.load_ssh, live=False),
    Page("reports", "reports", reports.load_reports, live=False),
    Page("board", "board", board.load_board, MANAGE),
    Page(ACTION, "board_action", boardactions.load_action, MANAGE, menu="board", live=False),
    Page("audit", "audit", board.load_audit, MANAGE, menu="board", live=False),
)
DOWNLOADS: tuple[Download, ...] = (
    Download(rf"servers/{LEASE}/use\.csv", servers.make_use),
    Download(rf"{IMAGE}/sbom\.spdx\.json", images.make_spdx),
    Download(rf"courses/{COURSE}/roster\.csv", roster.make_file),
    Download(r"reports\.csv", reports.make_file),
    Download(r"audit\.csv", board.make_audit, MANAGE),
)

PRESSES: tuple[Press, ...] = (
    Press(f"queue/{TICKET}/claim", queue.press_claim, queue.back_to_queue),
    Press(f"queue/{TICKET}/leave", queue.press_leave, queue.back_to_queue),
    Press(f"{ACTION}/confirm", boardactions.press_action, boardactions.back_to_action, MANAGE),
    Press(f"servers/{LEASE}/extend", servers.press_extend, servers.back_to_servers),
    Press(f"servers/{LEASE}/keep", servers.press_keep, servers.back_to_servers),
    Press(f"servers/{LEASE}/finish", servers.press_finish, servers.back_to_servers),
    Press(f"servers/{LEASE}/stop", servers.press_stop, servers.back_to_servers),
    Press("ssh/add", ssh.press_add, ssh.back_to_ssh, KEYS),
    Press("ssh/remove", ssh.press_remove, ssh.back_to_ssh, KEYS),
    Press(f"courses/{COURSE}/message/send", courses.press_message_all, courses.back_to_course),
    Press(f"courses/{COURSE}/extend/send", courses.press_extend_all, courses.back_to_course),
    Press(f"courses/{COURSE}/roster/undo/do", roster.press_undo, roster.back_to_undo),
    Press(f"courses/{COURSE}/end/do", roster.press_end, roster.back_to_end),
    Press(f"{SEAT}/message", courses.press_message, courses.back_to_seat),
    Press(f"{SEAT}/extend", courses.press_extend, courses.back_to_seat),
    Press(f"{SEAT}/stop", courses.press_stop, courses.back_to_seat),
    Press(f"{RESERVATION}/cancel", reservations.press_cancel, reservations.back_to_reservation),
    Press(f"{RESERVATION}/skip", reservations.press_skip, reservations.back_to_reservation),
    Press("reservations/take", calendars.press_import, calendars.back_to_import, slow=True),
    Press("reservations/address/end", calendars.press_end, reservations.back_to_calendar),
    Press(f"{ADDRESSES}/end", calendars.press_end_other, calendars.back_to_addresses, MANAGE),
)
