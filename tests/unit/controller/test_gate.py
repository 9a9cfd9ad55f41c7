"""What takes long is done for few at a time, each person's newest first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from gpuspawner.controller.gate import Crowded, Gate


class Street:
    """People before a gate. Nobody inside leaves before they are told to."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self.entered: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, who: str, *, name: str = "") -> asyncio.Task[None]:
        """Somebody comes; ``name`` tells their visits apart."""
        visit = name or who
        self._leave[visit] = asyncio.Event()
        task = asyncio.create_task(self._visit(who, visit))
        await settle()
        return task

    async def leave(self, visit: str) -> None:
        self._leave[visit].set()
        await settle()

    async def _visit(self, who: str, visit: str) -> None:
        async with self.gate.turn(who):
            self.inside.append(visit)
            self.entered.append(visit)
            try:
                await self._leave[visit].wait()
            finally:
                self.inside.remove(visit)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def story(tell: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(tell())

    run.__name__, run.__doc__ = tell.__name__, tell.__doc__
    return run


@story
async def test_so_many_are_inside_and_the_rest_come_in_order() -> None:
    street = Street(Gate(most=2))
    for who in ("ada", "bob", "eve", "joe"):
        await street.come(who)
    assert street.inside == ["ada", "bob"]
    await street.leave("bob")
    assert street.inside == ["ada", "eve"]
    await street.leave("ada")
    assert street.inside == ["eve", "joe"]


@story
async def test_nobody_is_inside_twice_and_keeps_nobody_else_out() -> None:
    street = Street(Gate(most=2))
    await street.come("ada", name="ada 1")
    await street.come("ada", name="ada 2")
    await street.come("bob")
    assert street.inside == ["ada 1", "bob"]
    await street.leave("ada 1")
    assert street.inside == ["bob", "ada 2"]


@story
async def test_the_newest_takes_the_place_of_the_one_that_waits() -> None:
    street = Street(Gate(most=1))
    await street.come("joe")
    first = await street.come("ada", name="ada 1")
    await street.come("bob")
    await street.come("ada", name="ada 2")
    with pytest.raises(Crowded, match="You asked again before this was looked at"):
        await first
    await street.leave("joe")
    assert street.inside == ["ada 2"], "who types on does not go to the end each time"
    await street.leave("ada 2")
    assert street.entered == ["joe", "ada 2", "bob"]


@story
async def test_so_many_may_wait() -> None:
    street = Street(Gate(most=1, most_waiting=2))
    for who in ("ada", "bob", "eve"):
        await street.come(who)
    with pytest.raises(Crowded, match="Too many people ask for this at once"):
        await (await street.come("joe"))
    again = await street.come("eve", name="eve 2")
    assert not again.done(), "their place is there already"


@story
async def test_who_goes_away_leaves_no_place_behind() -> None:
    street = Street(Gate(most=1, most_waiting=1))
    inside = await street.come("ada")
    waiting = await street.come("bob")
    waiting.cancel()
    await settle()
    await street.come("eve")
    inside.cancel()
    await settle()
    assert street.inside == ["eve"]


@story
async def test_a_failure_inside_lets_the_next_one_in() -> None:
    gate = Gate(most=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with gate.turn("ada"):
                raise ZeroDivisionError
    async with asyncio.timeout(5), gate.turn("bob"):
        pass
