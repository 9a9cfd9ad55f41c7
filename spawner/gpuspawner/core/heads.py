"""What is kept for those who wait for devices, so that nobody behind them makes them wait longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .model import Ticket
from .situation import Board, Mask, union


@dataclass(frozen=True, slots=True)
class _Head:
    """A ticket that waits for devices."""

    count: int
    wants: Mapping[str, Mask]
    """By model, devices that it could use."""
    start: datetime | None
    """When it can start at the earliest as far as is known; None when that may be at any moment."""


class Heads:
    """The tickets that everybody behind them must respect.

    The first ticket that waits is one, and each later one that could use a device which none before it could:
    so there are never more of them than devices.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._now = board.situation.now
        self._heads: list[_Head] = []
        self._kept: Mask = 0

    def add(self, ticket: Ticket, wants: Mapping[str, Mask]) -> None:
        """A ticket has to wait for devices.

        Args:
            ticket: The ticket.
            wants: By model, the devices that it could ever be given.
        """
        reach = union(wants) & self._board.open_to(ticket)
        if reach & ~self._kept:
            own = {model: mask & reach for model, mask in wants.items() if mask & reach}
            count = ticket.request.gpus
            self._heads.append(_Head(count, own, self._earliest_start(count, own)))
            self._kept |= reach

    def due(self, mask: Mask) -> datetime | None:
        """By when these devices must be given back to whoever waits longer; None when nobody needs them.

        A time that is not in the future: they cannot be given away at all.
        """
        times = [head.start or self._now for head in self._heads if self._delays(head, mask)]
        return min(times, default=None)

    def _delays(self, head: _Head, mask: Mask) -> bool:
        """Whether a head would wait longer if these devices were given away for ever."""
        if not any(wanted & mask for wanted in head.wants.values()):
            return False
        if head.start is None:
            return True
        return all(
            (self._free_by(head.start, wanted) & ~mask).bit_count() < head.count
            for wanted in head.wants.values()
        )

    def _free_by(self, moment: datetime, wanted: Mask) -> Mask:
        """Of these devices, those that are free then at the latest."""
        found = wanted & self._board.free
        for uuid, end in self._board.ends.items():
            if end is not None and end <= moment:
                found |= wanted & self._board.bits.get(uuid, 0)
        return found

    def _earliest_start(self, count: int, wants: Mapping[str, Mask]) -> datetime | None:
        """When enough devices of one model are free at the latest; None when nobody can say."""
        starts = []
        for mask in wants.values():
            taken = mask & ~self._board.free
            ends = [self._now] * (mask & self._board.free).bit_count()
            ends += [
                end
                for uuid, end in self._board.ends.items()
                if end is not None and taken & self._board.bits.get(uuid, 0)
            ]
            if len(ends) >= count:
                starts.append(sorted(ends)[count - 1])
        return min(starts, default=None)
