"""What is kept for those who wait for devices, so that nobody behind them makes them wait longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .situation import Board, Mask, Want, union


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
    so there are never more of them than devices. A ticket that could not start even if everybody else left,
    because too many of its devices are out of service, is none: nobody could say for how long all would wait.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._now = board.situation.now
        self._heads: list[_Head] = []
        self._kept: Mask = 0
        self._seen: Mask = board.free
        self._free_at: dict[datetime, Mask] = {}
        self._due: dict[Mask, datetime | None] = {}
        self._lasting: dict[datetime, Mask] = {}

    def add(self, want: Want, not_before: datetime | None = None) -> None:
        """A ticket has to wait for devices.

        Args:
            want: What it waits for.
            not_before: When what stands in its way beside those who hold devices is over, such as a
                reservation.
        """
        count, usable = want.gpus, want.open & ~self._board.lost
        if not usable & ~self._kept:
            return
        own = {model: mask & usable for model, mask in want.models.items()}
        own = {model: mask for model, mask in own.items() if mask.bit_count() >= count}
        reach = union(own.values())
        if reach & ~self._kept:
            start = self._earliest_start(count, own)
            if start is not None and not_before is not None:
                start = max(start, not_before)
            self._heads.append(_Head(count, own, start))
            self._kept |= reach
            self._due, self._lasting = {}, {}

    def due(self, mask: Mask) -> datetime | None:
        """By when these devices must be given back to whoever waits longer; None when nobody needs them.

        A time that is not in the future: they cannot be given away at all.
        """
        if not self._heads:
            return None
        self._notice_grants()
        if mask not in self._due:
            times = [head.start or self._now for head in self._heads if self._delays(head, mask)]
            self._due[mask] = min(times, default=None)
        return self._due[mask]

    def lasting(self, until: datetime) -> Mask:
        """The free devices that nobody who waits longer needs back before then, each taken by itself.

        Of several together, :meth:`due` may say less and never more.
        """
        if not self._heads:
            return self._board.free
        self._notice_grants()
        found = self._lasting.get(until)
        if found is None:
            free = (self._board.bits[device.uuid] for device in self._board.devices(self._board.free))
            dues = [(bit, self.due(bit)) for bit in free]
            found = self._lasting[until] = sum(bit for bit, due in dues if due is None or due >= until)
        return found

    def _notice_grants(self) -> None:
        if self._seen != self._board.free:
            self._seen, self._free_at, self._due, self._lasting = self._board.free, {}, {}, {}

    def _delays(self, head: _Head, mask: Mask) -> bool:
        """Whether a head would wait longer if these devices were given away for ever."""
        if not any(wanted & mask for wanted in head.wants.values()):
            return False
        if head.start is None:
            return True
        free = self._free_by(head.start)
        return all((wanted & free & ~mask).bit_count() < head.count for wanted in head.wants.values())

    def _free_by(self, moment: datetime) -> Mask:
        """The devices that are free then at the latest."""
        found = self._free_at.get(moment)
        if found is None:
            ends = self._board.ends.items()
            freed = self._board.mask(uuid for uuid, end in ends if end is not None and end <= moment)
            found = self._free_at[moment] = self._board.free | freed
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
