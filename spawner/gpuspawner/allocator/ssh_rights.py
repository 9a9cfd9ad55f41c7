"""Who may use SSH: what the ledger says of people, and then the Hub and the policy."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.errors import HubError, SettingsError
from gpuspawner.core.words import mark

WhyNot = Callable[[str], str | None]
"""Why somebody may not use SSH at all; None where they may. Must not be called inside a transaction."""


class SshRights:
    """Says who may use SSH.

    Args:
        ledger: Knows who was removed here, also while the Hub still has them.
        ask_why: What the Hub and the policy say.
    """

    def __init__(self, ledger: Ledger, ask_why: WhyNot) -> None:
        self._ledger, self._ask_why = ledger, ask_why

    def why_not(self, owner: str) -> str | None:
        """Why somebody may not. Raises: LedgerError, HubError, SettingsError: It cannot be told."""
        return self._why_removed(owner) or self._ask_why(owner)

    def why_not_any_more(self, owners: Collection[str]) -> dict[str, str]:
        """Why what people have open must end, of those for whom it must. Raises: LedgerError.

        While the Hub or the policy is away it may go on; and a Hub that gives no answer is asked for no more
        of them, since what else must end would wait for it as well.
        """
        found: dict[str, str] = {}
        away = False
        for owner in sorted(owners):
            why = self._why_removed(owner)
            try:
                why = why or (None if away else self._ask_why(owner))
            except HubError as error:
                away = error.status is None
            except SettingsError:
                away = True
            if why is not None:
                found[owner] = why
        return found

    def _why_removed(self, owner: str) -> str | None:
        with self._ledger.read() as unit:
            known = unit.identity_named(owner)
        if known is not None and known.removed_at is not None:
            return mark("You were removed from this hub. Ask the administrator.")
        return None
