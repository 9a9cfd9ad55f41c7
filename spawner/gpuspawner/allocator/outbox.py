"""The use cases around delivering messages: what is due, and what became of it.

A message counts as delivered when that is written down. A controller that is killed in between delivers it
once more; each delivery has the message's number, by which that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.core.model import Event
from gpuspawner.core.notices import HOLDS_FOR, Channel, Notice
from gpuspawner.core.retry import find_next_try
from gpuspawner.core.words import mark

from .clock import utc_now

FAILED = "notice.failed"
"""Kind of the event: a message could not be delivered."""
SENT = "sent"
NOBODY = "nobody"
"""There is no address, or no session any more."""
GIVEN_UP = "given_up"
OUTCOMES = (SENT, NOBODY, GIVEN_UP)
_AT_ONCE = 50


class Outbox:
    """What is to be delivered of the messages that stand in the ledger.

    Args:
        ledger: Where they are.
        host: The host whose sessions they are about.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger, self._host, self._clock = ledger, host, clock

    def due(self, channel: Channel) -> list[Notice]:
        """Some of what is to be delivered now. Raises: LedgerError."""
        now = self._clock()
        with self._ledger.read() as unit:
            found = unit.messages_due(channel, now - HOLDS_FOR[channel], now, _AT_ONCE)
            leases = {id_: unit.lease(one.lease_id) if one.lease_id else None for id_, one, _ in found}
            addresses = {one.owner: unit.email_of(one.owner) for _, one, _ in found}
        return [
            Notice(id_, one, leases[id_], tries, addresses[one.owner])
            for id_, one, tries in found
            if (lease := leases[id_]) is None or lease.host == self._host
        ]

    def end(self, notice: Notice, channel: Channel, outcome: str) -> None:
        """Write down that a message is delivered, or that there is nobody to deliver it to.

        Raises:
            LedgerError: The ledger cannot be used; the message stays due.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            unit.put_delivery(notice.id, channel, tries=notice.tries + 1, ended_at=now, outcome=outcome)

    def fail(self, notice: Notice, channel: Channel, error: GpuSpawnerError) -> None:
        """Write down that a message could not be delivered; it is due again after a pause.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        tries, now = notice.tries + 1, self._clock()
        with self._ledger.write() as unit:
            unit.put_delivery(
                notice.id, channel, tries=tries, not_before=find_next_try(tries, now), error=str(error)
            )

    def give_up(self, channel: Channel) -> None:
        """End what could not be delivered for so long that it would only mislead, and say so once.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        before = now - HOLDS_FOR[channel]
        with self._ledger.read() as unit:
            # The write lock is only taken when there is something to write.
            if not unit.deliveries_overdue(channel, before):
                return
        with self._ledger.write() as unit:
            for id_, tries, error in unit.deliveries_overdue(channel, before):
                unit.put_delivery(id_, channel, tries=tries, ended_at=now, outcome=GIVEN_UP, error=error)
                text = mark(f"A message could not be delivered ({channel.value}): {error}")
                data: dict[str, object] = {"message": id_, "channel": channel.value, "tries": tries}
                unit.add_event(Event(now, FAILED, text, "controller", data=data))
