"""Who may use SSH: what the ledger says of people, and then the Hub and the policy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.errors import HubError, SettingsError
from gpuspawner.core.words import mark

HUB_SECONDS = 5.0
"""How long the Hub is asked about one person after the other; a last answer may still be on its way then."""
WhyNot = Callable[[str], str | None]
"""Why somebody may not use SSH at all; None where they may. Must not be called inside a transaction."""


class SshRights:
    """Says who may use SSH.

    Args:
        ledger: Knows who was removed here, also while the Hub still has them.
        ask_why: What the Hub and the policy say.
        seconds: A clock that only goes forward.
    """

    def __init__(
        self, ledger: Ledger, ask_why: WhyNot, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger, self._ask_why, self._seconds = ledger, ask_why, seconds
        self._asked: dict[str, float] = {}
        """When the Hub was last asked about somebody."""

    def why_not(self, owner: str) -> str | None:
        """Why somebody may not. Raises: LedgerError, HubError, SettingsError: It cannot be told."""
        return self._why_removed(owner) or self._ask_why(owner)

    def why_not_any_more(self, owners: Collection[str]) -> dict[str, str]:
        """Why what people have open must end, of those for whom it must. Raises: LedgerError.

        While the Hub or the policy is away it may go on. A Hub that gives no answer is asked for no more of
        them, and a slow one about some now and about the others the next time: what else must end would wait
        for it as well.
        """
        found: dict[str, str] = {}
        until = self._seconds() + HUB_SECONDS
        away = False
        for owner in self._in_turn(owners):
            why = self._why_removed(owner)
            away = away or self._seconds() >= until
            if why is None and not away:
                self._asked[owner] = self._seconds()
                try:
                    why = self._ask_why(owner)
                except HubError as error:
                    away = error.status is None
                except SettingsError:
                    away = True
            if why is not None:
                found[owner] = why
        return found

    def _in_turn(self, owners: Collection[str]) -> list[str]:
        """Those first who were not asked about for longest."""
        return sorted(owners, key=lambda owner: (self._asked.get(owner, -math.inf), owner))

    def _why_removed(self, owner: str) -> str | None:
        with self._ledger.read() as unit:
            known = unit.identity_named(owner)
        if known is not None and known.removed_at is not None:
            return mark("You were removed from this hub. Ask the administrator.")
        return None
