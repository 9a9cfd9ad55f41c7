"""Where a login service sends people back to."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode

from oauthenticator.oauth2 import OAuthCallbackHandler

from .known import Denied
from .quiet import QuietHandler

BEGIN_AGAIN = "This login is not valid any more. Go back to the start and log in again."
NOT_LET_IN = "The login service did not let you in. Go back to the start and try again."
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


class CallbackHandler(QuietHandler, OAuthCallbackHandler):
    """Takes what the service says. Nothing of the address is shown or logged: anybody can make one up."""

    def check_error(self) -> None:
        """Whether the service refused. Raises: Denied."""
        error = self.get_argument("error", "")
        if error:
            code = error if _ERROR_CODE.fullmatch(error) else "an error"
            self.log.warning("Login refused by the login service: %s", code)
            raise Denied(NOT_LET_IN)

    def check_code(self) -> None:
        """Whether there is something to exchange. Raises: Denied."""
        if not self.get_argument("code", ""):
            raise Denied(BEGIN_AGAIN)

    def check_state(self) -> None:
        """Whether it was this browser that began this login. Raises: Denied."""
        kept, came = (_read_id(one) for one in (self.get_state_cookie(), self.get_argument("state", "")))
        if not kept or kept != came:
            self.log.warning("Login refused: %s", "the state is another one" if kept else "no state cookie")
            raise Denied(BEGIN_AGAIN)


def _read_id(state: str) -> str:
    """What ties a state to its cookie; empty for what is no state.

    Not by upstream's way, which writes into the log what it cannot read.
    """
    try:
        found = json.loads(urlsafe_b64decode(state.encode("ascii") + b"=="))
    except (ValueError, RecursionError):
        return ""
    value = found.get("state_id") if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""
