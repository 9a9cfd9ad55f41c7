"""What those who wait hold and have used already, and what therefore holds back one of them alone."""

from __future__ import annotations

from datetime import datetime, timedelta

from .budget import SHORTEST, find_budget_end, find_return, is_enough
from .claims import Ticket
from .retry import left_until_next_try
from .situation import Situation, count_held, count_seats
from .words import describe_duration

_SHORTEST_S = SHORTEST.total_seconds()


class People:
    """The people of one decision; what is granted on the way is taken into account."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation.now
        self._budgets = situation.held
        self._held = count_held(situation.leases)
        self._seats = count_seats(situation.leases)
        self._used = {owner: sum(days.values()) for owner, days in situation.held.items()}
        """GPU-seconds that each has held in the days that count, or more."""

    def give(self, ticket: Ticket) -> None:
        """A ticket was given its devices."""
        self._held[ticket.owner] += ticket.request.gpus
        self._seats.update(ticket.party.courses)

    def why_not_yet(self, ticket: Ticket) -> str | None:
        """What holds back this person alone; nobody behind has to wait for it."""
        terms, gpus = ticket.terms, ticket.request.gpus
        pause = left_until_next_try(ticket, self._now) if ticket.not_before else None
        if pause is not None:
            reason = ticket.reason.removesuffix(".")
            return f"{reason[:1].upper()}{reason[1:]}. It is tried again in {describe_duration(pause)}."
        holding = self._held.get(ticket.owner, 0)
        if terms.gpus_per_person is not None and holding + gpus > terms.gpus_per_person:
            return (
                f"You hold {holding} GPU{'' if holding == 1 else 's'} in other servers, and one person may "
                f"hold at most {terms.gpus_per_person}. Stop one of them."
            )
        for course, seats in terms.seats:
            if self._seats.get(course, 0) >= seats:
                return f"All {seats} seats of course `{course}` are taken."
        if is_enough(terms.gpu_hours, self._used.get(ticket.owner, 0.0), (holding + gpus) * _SHORTEST_S):
            return None
        end = self.find_budget_end(ticket)
        if end is None or end - self._now >= SHORTEST:
            return None
        back = find_return(self._budgets.get(ticket.owner, {}), self._now)
        when = f" The first hours come back on {back:%A} {back.day} {back:%B}, at 0:00 UTC." if back else ""
        return f"Your {terms.gpu_hours:g} GPU-hours in seven days are used up.{when}"

    def have_hours_for(self, ticket: Ticket, length: timedelta) -> bool:
        """Whether the GPU-hours of a ticket's person are sure to last so long with its devices."""
        more = self._devices(ticket) * length.total_seconds()
        return is_enough(ticket.terms.gpu_hours, self._used.get(ticket.owner, 0.0), more)

    def find_budget_end(self, ticket: Ticket) -> datetime | None:
        """When a ticket's person would have used up their GPU-hours; None when never."""
        held = self._budgets.get(ticket.owner, {})
        return find_budget_end(ticket.terms.gpu_hours, held, self._devices(ticket), self._now)

    def _devices(self, ticket: Ticket) -> int:
        return self._held.get(ticket.owner, 0) + ticket.request.gpus
