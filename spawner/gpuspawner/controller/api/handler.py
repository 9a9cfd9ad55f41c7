"""From a request to a call of a route, and from what comes of it to an answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from tornado.web import HTTPError

from gpuspawner.controller.base import OurHandler
from gpuspawner.controller.denials import note_denied
from gpuspawner.controller.gate import Crowded
from gpuspawner.core.errors import (
    Conflict,
    GpuSpawnerError,
    HubError,
    InvalidRequest,
    LedgerError,
    NotFound,
    RefusalKind,
    Refused,
    ReservationConflict,
    SettingsError,
)
from gpuspawner.core.words import mark, read_text
from gpuspawner.policy.options import shorten

from .basics import ConflictInfo, Error, ErrorDetail
from .routes import Call, Forbidden, Route
from .table import ROUTES

log = logging.getLogger("gpuspawner.controller")

_XSRF = "_xsrf"
_REFUSALS = {
    RefusalKind.NEVER: 400,
    RefusalKind.NOT_ALLOWED: 403,
    RefusalKind.NOT_NOW: 409,
    RefusalKind.NO_INVENTORY: 503,
}
_KINDS = {
    400: "invalid",
    401: "not_logged_in",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    503: "away",
}


class ApiHandler(OurHandler):
    """Every request below ``api/``."""

    routes: Sequence[Route] = ROUTES

    async def prepare(self) -> None:
        """Find out who asks, before anything else is looked at."""
        self.set_header("Content-Type", "application/json")
        await self.find_caller()
        if self.caller is None:
            raise HTTPError(401, "Log in, or send a token of the hub: Authorization: Bearer …")

    async def get(self, path: str) -> None:
        """Look."""
        await self.answer(path)

    async def post(self, path: str) -> None:
        """Make or do."""
        await self.answer(path)

    async def put(self, path: str) -> None:
        """Put something in the place of something."""
        await self.answer(path)

    async def patch(self, path: str) -> None:
        """Change."""
        await self.answer(path)

    async def delete(self, path: str) -> None:
        """End."""
        await self.answer(path)

    async def answer(self, path: str) -> None:
        """Find the route, judge the scope, check what was sent, call, answer."""
        assert self.caller is not None  # noqa: S101 - prepare() has seen to it
        route, parameters = self._find_route(f"/{path}")
        caller, services = self.caller, self.house.services
        if not caller.may(route.scope):
            await self.off_loop(lambda: self._note_denied(route))
            raise Forbidden(f"This needs the scope {route.scope}, which you do not have.")
        call = Call(services, caller, parameters, self._read_query(route), self._read_body(route))
        try:
            work = partial(route.call, call)
            found = await (self.in_turn("press", work) if route.slow else self.off_loop(work))
        except Forbidden as error:
            reason = str(error)
            await self.off_loop(lambda: self._note_denied(route, reason))
            raise
        self.set_status(route.status)
        self.set_header("Content-Type", route.media)
        if isinstance(found, BaseModel):
            self.finish(found.model_dump_json())
        else:
            self.finish(json.dumps(found) if isinstance(found, Mapping) else found)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Every error is JSON with a fixed word and a sentence."""
        error = kwargs.get("exc_info", (None, None))[1]
        kind = _KINDS.get(status_code, "failed")
        if isinstance(error, GpuSpawnerError):
            status_code, kind = judge_error(error)
            self.set_status(status_code)
        message = self.explain(status_code, kwargs)
        self.set_header("Content-Type", "application/json")
        conflicts = describe_conflicts(error) if isinstance(error, ReservationConflict) else []
        detail = ErrorDetail(kind=kind, message=message, conflicts=conflicts)
        self.finish(Error(error=detail).model_dump_json())

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """What is ours is an answer and no fault; it has its own place in the log where it is one."""
        if isinstance(value, LedgerError | SettingsError | HubError):
            log.warning("%s %s: %s", self.request.method, self.request.path, value)
        elif not isinstance(value, GpuSpawnerError) and getattr(value, "status_code", 500) >= 500:
            super().log_exception(kind, value, trace)

    def _find_route(self, path: str) -> tuple[Route, dict[str, str]]:
        there = [(route, found) for route in self.routes if (found := route.pattern.fullmatch(path))]
        for route, found in there:
            if route.method == self.request.method:
                return route, found.groupdict()
        if there:
            raise HTTPError(405, f"This can be asked with {', '.join(r.method for r, _ in there)} only.")
        raise NotFound("There is nothing here; api/openapi.json lists what there is.")

    def _read_query(self, route: Route) -> Any:
        sent = {
            name: self.get_query_arguments(name) for name in self.request.query_arguments if name != _XSRF
        }
        repeated = next((name for name, values in sent.items() if len(values) > 1), None)
        if repeated is not None:
            raise InvalidRequest(f"The parameter {shorten(repeated)} is there twice; send it once.")
        if route.query is None:
            if sent:
                raise InvalidRequest(f"There is no parameter {shorten(next(iter(sent)))} here; leave it out.")
            return None
        return check(route.query, {name: values[0] for name, values in sent.items()}, "parameter")

    def _read_body(self, route: Route) -> Any:
        body = self.request.body
        if route.body is None:
            if body.strip() not in (b"", b"{}"):
                raise InvalidRequest("This takes no body; leave it out.")
            return None
        if not body.strip() and not route.body_needed:
            return None
        if len(body) > route.most_body:
            raise InvalidRequest(f"The body is larger than {route.most_body // 1024} KiB.")
        try:
            sent = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidRequest("The body must be JSON; this is not.") from None
        return check(route.body, sent, "key")

    def _note_denied(self, route: Route, reason: str = "") -> None:
        assert self.caller is not None  # noqa: S101 - prepare() has seen to it
        why = reason or mark(f"the scope {route.scope} is missing")
        note_denied(self.house.services, self.caller, route.operation, why)


def judge_error(error: GpuSpawnerError) -> tuple[int, str]:
    """The HTTP status of one of our errors, and its fixed word."""
    match error:
        case Refused():
            return _REFUSALS[error.kind], error.kind.value
        case InvalidRequest():
            return 400, "invalid"
        case Forbidden():
            return 403, "forbidden"
        case NotFound():
            return 404, "not_found"
        case Conflict():
            return 409, "conflict"
        case Crowded():
            return 429, "crowded"
        case LedgerError():
            return 503, "ledger_away"
        case SettingsError():
            return 503, "policy_broken"
        case HubError():
            return 502, "hub_away"
    return 500, "failed"


def describe_conflicts(error: ReservationConflict) -> list[ConflictInfo]:
    """What a reservation collides with, for programs."""
    return [
        ConflictInfo(
            start=one.occurrence.start,
            at=one.at,
            left=one.left,
            reservations=[other.reservation_id for other in one.others],
        )
        for one in error.conflicts
    ]


def check(model: type[BaseModel], sent: object, word: str) -> BaseModel:
    """Make a model of what somebody sent.

    Args:
        model: The model.
        sent: Anything.
        word: What one of its parts is: ``key`` or ``parameter``.

    Raises:
        InvalidRequest: With one sentence that names the part and the fix.
    """
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A key that is misspelt is missing under its right name as well.
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    where = ".".join(str(part) for part in first["loc"])
    if not where:
        raise InvalidRequest(f"The body must be a JSON object with the keys {', '.join(_names(model))}.")
    if first["type"] == "extra_forbidden":
        known = list(_fields_at(model, first["loc"][:-1]))
        near = get_close_matches(str(first["loc"][-1])[:40], known, n=1)
        hint = mark(f"Did you mean {near[0]}?") if near else mark(f"There are: {', '.join(known)}.")
        raise InvalidRequest(f"There is no {word} {shorten(where)}. {hint}")
    if first["type"] == "missing":
        raise InvalidRequest(f"The {word} {shorten(where)} is missing. Add it.")
    message = read_text(first["msg"].removeprefix("Value error, "), "A message", 2000)
    raise InvalidRequest(f"{where[:80]}: {message}; you sent {shorten(first['input'])}.")


def _names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _fields_at(model: type[BaseModel], way: tuple[int | str, ...]) -> Mapping[str, FieldInfo]:
    fields = _names(model)
    for key in way:
        kind = fields[str(key)].annotation if key in fields else None
        fields = _names(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
    return fields
