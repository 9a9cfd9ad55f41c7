"""The table of routes."""

from __future__ import annotations

from gpuspawner.controller.identity import KEYS, MANAGE, SESSION
from gpuspawner.policy.reservations import ReservationBody

from . import (
    accounts,
    audit,
    calendars,
    cards,
    images,
    inside,
    keys,
    leases,
    queue,
    reservations,
    rosters,
    timetables,
)
from . import insidemodels as im
from . import linemodels as lm
from . import models as m
from . import rostermodels as rm
from . import timetablemodels as tm
from .basics import Done
from .openapi import build_document
from .routes import ICAL, Call, Route

MOST_UPLOAD = 3 * 1024 * 1024
"""Bytes of a request with a file: what is in JSON, or in a form, is longer than the file."""


def show_document(call: Call) -> dict[str, object]:
    """The OpenAPI document."""
    return build_document(ROUTES)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/openapi.json", "getDocument", "This API as an OpenAPI 3.1 document.", show_document, None),
    Route("GET", "/me", "getMe", "Who you are, what you may use, and what you have.", accounts.show_me, m.Me),
    Route("GET", "/cards", "listCards", "All GPUs, and what each is doing.", cards.list_cards, m.Cards),
    Route(
        "POST", "/cards/{uuid}/drain", "drainCard", "Take a GPU out of use.", cards.drain, Done,
        MANAGE, m.DrainBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/undrain", "undrainCard", "Give a GPU back.", cards.undrain, Done,
        MANAGE, m.ReasonBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/assign", "assignCard", "Keep a GPU for somebody, or for nobody.", cards.assign,
        Done, MANAGE, m.AssignBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/clear", "clearCard", "Say that a GPU's fault is mended.", cards.clear, Done,
        MANAGE, m.ReasonBody, conflicts=True,
    ),
    Route(
        "GET", "/images", "listImages", "The images that can be chosen, and what each needs.",
        images.list_images, m.Images,
    ),
    Route(
        "GET", "/images/{name}", "showImage", "One image with its passport: all that is known of it.",
        images.show_image, m.ImageInfo,
    ),
    Route(
        "GET", "/images/{name}/spdx", "showImageParts",
        "What is in an image, as a list of parts in SPDX 2.3.", images.show_parts, None,
    ),
    Route(
        "GET", "/queue", "showQueue", "The line: your places, and with custom:gpu:manage everybody's.",
        queue.show_queue, lm.Queue,
    ),
    Route(
        "POST", "/queue", "askForServer", "Take a place in line for one of your servers.", queue.ask,
        lm.Place, body=lm.AskBody, status=201, conflicts=True,
    ),
    Route("GET", "/queue/{ticket_id}", "showPlace", "One place in line.", queue.show_place, lm.Place),
    Route(
        "PATCH", "/queue/{ticket_id}", "changePlace", "Ask for something else; less keeps the place.",
        queue.change, lm.Place, body=lm.ChangeBody, conflicts=True,
    ),
    Route(
        "DELETE", "/queue/{ticket_id}", "leaveQueue", "Give up a place in line.", queue.leave, lm.Place,
        body=lm.LeaveBody, body_needed=False, conflicts=True,
    ),
    Route(
        "POST", "/queue/{ticket_id}/claim", "claimTurn", "Take what is offered: Switch now.", queue.claim,
        lm.Place, conflicts=True,
    ),
    Route(
        "GET", "/leases", "listSessions", "Your sessions, those of courses that you teach, or all.",
        leases.list_sessions, m.Sessions,
    ),
    Route("GET", "/leases/{lease_id}", "showSession", "One session.", leases.show_session, m.Session),
    Route(
        "POST", "/leases/{lease_id}/extend", "extendSession", "Let a session go on for longer.",
        leases.extend, m.Session, body=m.ExtendBody, conflicts=True,
    ),
    Route(
        "GET", "/leases/{lease_id}/extension", "showOwnExtension",
        "What extending your own session by one step would come to.", leases.show_own_extension,
        m.OwnExtension,
    ),
    Route(
        "POST", "/leases/{lease_id}/extension", "extendOwnSession",
        "Let your own session go on by one step, as far as the policy allows and nobody waits.",
        leases.extend_own, m.Session, body=m.OwnExtendBody, body_needed=False, conflicts=True,
    ),
    Route(
        "GET", "/leases/{lease_id}/idleness", "showIdleness",
        "Whether something is done in your own session, and what follows.", leases.show_idleness, m.Idleness,
    ),
    Route(
        "POST", "/leases/{lease_id}/keep", "keepOwnSession",
        "Keep your own session for 1 h, whatever is done in it.", leases.keep_own, m.Kept, conflicts=True,
    ),
    Route(
        "POST", "/leases/{lease_id}/finish", "finishOwnSession",
        "Let your own session end as soon as nothing runs in it any more, or not.",
        leases.finish_own, m.Idleness, body=m.FinishBody, conflicts=True,
    ),
    Route(
        "POST", "/leases/{lease_id}/stop", "stopSession", "End a session, at once or in a while.",
        leases.stop, m.Session, body=m.StopBody, conflicts=True,
    ),
    Route(
        "POST", "/leases/{lease_id}/message", "messageSession", "Tell the person of a session something.",
        leases.message, m.MessageInfo, body=m.MessageBody, conflicts=True,
    ),
    Route(
        "GET", "/session", "showInside", "The session of the server that asks, with its own token.",
        inside.show, im.InsideView, SESSION,
    ),
    Route(
        "POST", "/session/keep", "keepInside",
        "Let the session of the server that asks go on for 1 h, whatever stops it.", inside.keep,
        im.InsideView, SESSION, conflicts=True,
    ),
    Route(
        "POST", "/session/finish", "finishInside",
        "Let the session of the server that asks end as soon as nothing runs in it any more, or not.",
        inside.finish, im.InsideView, SESSION, m.FinishBody, conflicts=True,
    ),
    Route(
        "POST", "/session/stop", "stopInside", "End the session of the server that asks.", inside.stop, Done,
        SESSION, conflicts=True,
    ),
    Route(
        "GET", "/reservations", "listReservations", "Reservations that stand, and when they take place.",
        reservations.list_reservations, lm.Reservations, query=lm.ReservationsQuery,
    ),
    Route(
        "POST", "/reservations", "reserve",
        "Reserve GPUs: for a course that you teach; with custom:gpu:reserve for yourself; with "
        "custom:gpu:manage for everybody.",
        reservations.make, lm.ReservationInfo, body=ReservationBody, status=201, conflicts=True,
        slow=True,
    ),
    Route(
        "POST", "/reservations/import", "importReservations", "Make the reservations of a calendar, or none.",
        reservations.take_in, lm.Imported, body=lm.ImportBody, status=201, conflicts=True, slow=True,
    ),
    Route(
        "PUT", "/reservations/{reservation_id}", "changeReservation",
        "Put another reservation in the place of yours.", reservations.change, lm.ReservationInfo,
        body=ReservationBody, conflicts=True, slow=True,
    ),
    Route(
        "DELETE", "/reservations/{reservation_id}", "cancelReservation", "Cancel a reservation.",
        reservations.cancel, lm.ReservationInfo, body=m.ReasonBody,
    ),
    Route(
        "GET", "/reservations.ics", "exportReservations",
        "All reservations as a calendar; with custom:gpu:manage with names of people.",
        reservations.export, None, media=ICAL,
    ),
    Route(
        "GET", "/courses/{course}/roster", "showRoster",
        "Who is in a course by its roster; for its teachers and assistants.", rosters.show_roster,
        rm.RosterInfo,
    ),
    Route(
        "POST", "/courses/{course}/roster/preview", "previewRoster",
        "What a file would change of a roster; nothing is changed.", rosters.preview, rm.RosterChanges,
        body=rm.RosterFileBody, most_body=MOST_UPLOAD, slow=True,
    ),
    Route(
        "PUT", "/courses/{course}/roster", "replaceRoster",
        "Put the people of a file in the place of those of a course, as you were shown.", rosters.replace,
        rm.RosterChanges, body=rm.RosterBody, conflicts=True, most_body=MOST_UPLOAD, slow=True,
    ),
    Route(
        "POST", "/courses/{course}/roster/undo", "undoRoster", "Take the last change of a roster back.",
        rosters.undo, rm.RosterChanges, body=rm.UndoRosterBody, conflicts=True,
    ),
    Route(
        "PUT", "/courses/{course}/end", "endCourse", "Say on which day everybody leaves a course.",
        rosters.end, rm.RosterInfo, body=rm.EndCourseBody, conflicts=True,
    ),
    Route(
        "GET", "/courses/{course}/timetable", "showTimetable",
        "What is reserved by a course's timetable.", timetables.show, tm.Lessons,
    ),
    Route(
        "POST", "/courses/{course}/timetable/preview", "previewTimetable",
        "What a calendar would make, change and cancel; nothing is changed.", timetables.preview,
        tm.TimetableChanges, body=tm.TimetableFileBody, most_body=MOST_UPLOAD, slow=True,
    ),
    Route(
        "PUT", "/courses/{course}/timetable", "replaceTimetable",
        "Reserve the lessons of a calendar, as you were shown: all of them, or none.", timetables.replace,
        tm.TimetableChanges, body=tm.TimetableBody, conflicts=True, most_body=MOST_UPLOAD, slow=True,
    ),
    Route(
        "GET", "/calendars", "listCalendars", "Whose calendars have a secret address; never the address.",
        calendars.list_calendars, lm.Calendars, MANAGE,
    ),
    Route(
        "DELETE", "/calendars/{person}", "endCalendar", "End the secret address of somebody's calendar.",
        calendars.end_calendar, Done, MANAGE, body=m.ReasonBody,
    ),
    Route(
        "GET", "/usage", "showUsage", "What was used: by you, and with custom:gpu:manage by everybody.",
        accounts.show_usage, m.Usage, query=m.UsageQuery,
    ),
    Route(
        "GET", "/events", "listEvents", "The audit trail, newest first, and what is looked for in it.",
        audit.list_events, m.Events, MANAGE, query=m.EventsQuery,
    ),
    Route(
        "POST", "/events/{event_id}/undo", "undoEvent",
        "Take back what a line of the audit trail tells of, as long as it stands as it was decided.",
        audit.undo, Done, MANAGE, m.ReasonBody, conflicts=True,
    ),
    Route("GET", "/keys", "listKeys", "Your keys for SSH.", keys.list_keys, keys.Keys),
    Route(
        "POST", "/keys", "addKey", "Let whoever has the private part of a key into your servers by SSH.",
        keys.add_key, keys.KeyInfo, KEYS, keys.KeyBody, status=201, conflicts=True,
    ),
    Route(
        "DELETE", "/keys/{key_id}", "removeKey",
        "Remove a key; connections that are open by it end within a minute.", keys.remove_key, keys.KeyInfo,
        KEYS,
    ),
    Route("GET", "/messages", "listMessages", "Your messages.", accounts.list_messages, m.Messages),
)  # fmt: skip
"""Every operation, in the order of the document. A fixed path stands before one with a parameter."""
