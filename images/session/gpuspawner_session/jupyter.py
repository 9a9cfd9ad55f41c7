"""The extension of Jupyter's server: what JupyterLab asks here, the controller is asked from here.

The browser never sees the server's token, and the controller is reached from the container only.
"""

from __future__ import annotations

import os
import re
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated

from .controller import ACTIONS, Answer, Controller

PATH = "gpuspawner/session"
"""Below the server's own address."""


class SessionHandler(APIHandler):  # type: ignore[misc]  # jupyter_server is not where the types are checked
    """``GET``: the session; ``POST`` of an action: do it. For whoever is logged in to this server."""

    auth_resource = "server"
    _track_activity = False
    """JupyterLab asks by itself, whether anybody is there or not."""

    def initialize(self, controller: Controller) -> None:
        """Tornado's constructor."""
        self.controller = controller

    @authenticated
    @authorized  # type: ignore[untyped-decorator]
    async def get(self, action: str | None = None) -> None:
        """What the session's GPUs do, and what stops it."""
        if action is not None:
            raise HTTPError(405)
        self._tell(await self.controller.look())

    @authenticated
    @authorized  # type: ignore[untyped-decorator]
    async def post(self, action: str | None = None) -> None:
        """Keep, finish or stop the session."""
        if action is None:
            raise HTTPError(405)
        body = self.get_json_body() or {}
        finish = body.get("finish") if isinstance(body, dict) else None
        if action == "finish" and not isinstance(finish, bool):
            raise HTTPError(
                400, "The body must be a JSON object with the key finish, which is true or false."
            )
        self._tell(await self.controller.act(action, {"finish": finish} if action == "finish" else None))

    def _tell(self, answer: Answer) -> None:
        self.set_status(answer.status)
        self.finish(answer.body)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """What Jupyter's server looks for."""
    return [{"module": "gpuspawner_session.jupyter"}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Add the handlers to Jupyter's server."""
    base = re.escape(url_path_join(app.web_app.settings["base_url"], PATH))
    controller = {"controller": Controller(os.environ)}
    app.web_app.add_handlers(".*$", [(rf"{base}(?:/({'|'.join(ACTIONS)}))?", SessionHandler, controller)])
