"""Where things are, as paths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlencode

from gpuspawner.core.claims import Ticket
from gpuspawner.core.model import Lease


@lru_cache(256)
def _join(query: tuple[tuple[str, str], ...]) -> str:
    """What follows on a path; a page has the same thing behind a thousand links."""
    return f"?{urlencode(query)}" if query else ""


@dataclass(frozen=True, slots=True)
class Links:
    """Where the Hub's pages are, and the controller's."""

    hub: str
    """The Hub's own pages, ending in a slash."""
    service: str
    """The controller's, ending in a slash."""

    def page(self, name: str, **query: str) -> str:
        """One of the controller's pages, or what is below one."""
        return f"{self.service}{name}{_join(tuple(query.items()))}"

    def below(self, name: str, *parts: str) -> str:
        """What is below one of the controller's pages, such as what a button does."""
        return "/".join([f"{self.service}{name}", *(quote(part, safe="") for part in parts)])

    def file(self, name: str) -> str:
        """A style sheet or script of the controller's."""
        return f"{self.service}static/{name}"

    def hub_file(self, name: str) -> str:
        """A style sheet, script or picture of the Hub's."""
        return f"{self.hub}static/{name}"

    @property
    def queue(self) -> str:
        """The page of one's places in line."""
        return self.page("queue")

    def press(self, ticket: Ticket, what: str) -> str:
        """Where the button of a place leads."""
        return self.below("queue", ticket.id, what)

    def server(self, of: Ticket | Lease) -> str:
        """A server."""
        return f"{self.hub.removesuffix('hub/')}user/{_path(of)}"

    def pending(self, of: Ticket | Lease) -> str:
        """The Hub's page on a server that is starting."""
        return f"{self.hub}spawn-pending/{_path(of)}"

    def spawn(self, owner: str = "", server: str = "") -> str:
        """The start page of a server."""
        return "/".join([f"{self.hub}spawn", *(quote(part, safe="@~") for part in (owner, server) if part)])

    def again(self, owner: str, server: str, what: str) -> str:
        """Starts a server with the choices of an earlier session, or of a place in line."""
        return f"{self.spawn(owner, server)}{_join((('opt-again', what),))}"


def _path(of: Ticket | Lease) -> str:
    return "/".join(quote(part, safe="@~") for part in (of.owner, of.server) if part)
