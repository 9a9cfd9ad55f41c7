"""The table of routes."""

from __future__ import annotations

from gpuspawner.controller.identity import MANAGE, RESERVE

from . import accounts, cards, leases, queue, reservations
from . import models as m
from .openapi import build_document
from .routes import ICAL, Call, Route


def show_document(call: Call) -> dict[str, object]:
    """The OpenAPI document."""
    return build_document(ROUTES)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/openapi.json", "getDocument", "This API as an OpenAPI 3.1 document.", show_document, None),
    Route("GET", "/me", "getMe", "Who you are, and what you may do here.", accounts.show_me, m.Me),
    Route("GET", "/cards", "listCards", "All GPUs, and what each is doing.", cards.list_cards, m.Cards),
    Route(
        "POST", "/cards/{uuid}/drain", "drainCard", "Take a GPU out of use.", cards.drain, m.Done,
        MANAGE, m.DrainBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/undrain", "undrainCard", "Give a GPU back.", cards.undrain, m.Done,
        MANAGE, m.ReasonBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/assign", "assignCard", "Keep a GPU for somebody, or for nobody.", cards.assign,
        m.Done, MANAGE, m.AssignBody, conflicts=True,
    ),
    Route(
        "POST", "/cards/{uuid}/clear", "clearCard", "Say that a GPU's fault is mended.", cards.clear, m.Done,
        MANAGE, m.ReasonBody, conflicts=True,
    ),
    Route(
        "GET", "/queue", "showQueue", "The line: your places, and with custom:gpu:manage everybody's.",
        queue.show_queue, m.Queue, conflicts=True,
    ),
    Route(
        "POST", "/queue", "askForServer", "Take a place in line for one of your servers.", queue.ask, m.Place,
        body=m.AskBody, status=201, conflicts=True,
    ),
    Route(
        "GET", "/queue/{ticket_id}", "showPlace", "One place in line.", queue.show_place, m.Place,
        conflicts=True,
    ),
    Route(
        "PATCH", "/queue/{ticket_id}", "changePlace", "Ask for something else; less keeps the place.",
        queue.change, m.Place, body=m.ChangeBody, conflicts=True,
    ),
    Route(
        "DELETE", "/queue/{ticket_id}", "leaveQueue", "Give up a place in line.", queue.leave, m.Place,
        body=m.LeaveBody, body_needed=False, conflicts=True,
    ),
    Route(
        "POST", "/queue/{ticket_id}/claim", "claimTurn", "Take what is offered: Switch now.", queue.claim,
        m.Place, conflicts=True,
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
        "POST", "/leases/{lease_id}/stop", "stopSession", "End a session now.", leases.stop, m.Session,
        body=m.ReasonBody, conflicts=True,
    ),
    Route(
        "POST", "/leases/{lease_id}/message", "messageSession", "Tell the person of a session something.",
        leases.message, m.MessageInfo, body=m.MessageBody, conflicts=True,
    ),
    Route(
        "GET", "/reservations", "listReservations", "Reservations that stand.",
        reservations.list_reservations, m.Reservations, conflicts=True,
    ),
    Route(
        "POST", "/reservations", "reserve", "Reserve GPUs.", reservations.make, m.ReservationMade, RESERVE,
        m.ReservationBody, status=201, conflicts=True,
    ),
    Route(
        "POST", "/reservations/import", "importReservations", "Make the reservations of a calendar.",
        reservations.take_in, m.ReservationsMade, MANAGE, m.ImportBody, status=201, conflicts=True,
    ),
    Route(
        "PATCH", "/reservations/{reservation_id}", "changeReservation",
        "Change what is sent; null takes it away.", reservations.change, m.ReservationMade, RESERVE,
        m.ReservationFields, conflicts=True,
    ),
    Route(
        "DELETE", "/reservations/{reservation_id}", "cancelReservation", "Cancel a reservation.",
        reservations.cancel, m.ReservationInfo, RESERVE, m.ReasonBody, conflicts=True,
    ),
    Route(
        "GET", "/reservations.ics", "exportReservations", "All reservations as a calendar.",
        reservations.export, None, media=ICAL, conflicts=True,
    ),
    Route(
        "GET", "/usage", "showUsage", "What was used: by you, and with custom:gpu:manage by everybody.",
        accounts.show_usage, m.Usage, query=m.UsageQuery, conflicts=True,
    ),
    Route(
        "GET", "/events", "listEvents", "The audit trail.", accounts.list_events, m.Events, MANAGE,
        query=m.EventsQuery,
    ),
    Route("GET", "/messages", "listMessages", "Your messages.", accounts.list_messages, m.Messages),
)  # fmt: skip
"""Every operation, in the order of the document. A fixed path stands before one with a parameter."""
