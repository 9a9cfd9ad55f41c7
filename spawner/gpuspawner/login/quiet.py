"""For pages whose address has secrets in it: codes, states and invitations come that way."""

from __future__ import annotations

from types import TracebackType

from jupyterhub.handlers import BaseHandler
from tornado.web import HTTPError


class QuietHandler(BaseHandler):
    """What goes wrong is logged by the path alone; Tornado writes the whole address."""

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log why a request fails."""
        method, path = self.request.method, self.request.path
        if isinstance(value, HTTPError):
            self.log.warning("%s %s: %s", method, path, value)
        elif typ is not None and value is not None:
            self.log.error("%s %s failed", method, path, exc_info=(typ, value, tb))
