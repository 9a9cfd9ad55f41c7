"""What a press does goes through the API's own operations, so that rights are judged in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.api.table import ROUTES

from .page import Visit


def run(
    visit: Visit, operation: Callable[[Call], object], path: Mapping[str, str], body: Mapping[str, object]
) -> None:
    """Do what a request to the API would.

    Args:
        visit: Who asks.
        operation: The ``call`` of one of the API's routes.
        path: What the route's path names.
        body: What the request would send; hostile.

    Raises:
        InvalidRequest: The body is not as the route wants it.
        GpuSpawnerError: Whatever the operation raises.
    """
    model = next(route.body for route in ROUTES if route.call is operation)
    checked = check(model, body, "field") if model else None
    operation(Call(visit.services, visit.caller, path, body=checked))
