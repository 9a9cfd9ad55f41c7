"""The measurements. Each drives both sides by turns and returns figures."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from gpuspawner.core.model import LeaseState

from tests.support.installation import wait_for

from .figures import Figure, Goal, median, percentile
from .machine import cpu_times, memory_mib, shares
from .sides import LIGHT, NEWCOMERS, PEOPLE, REAL, SERVERS, STUBBORN, Pair, Side

MEMORY_GOAL = Goal("≤ 1.10", lambda ratio: ratio <= 1.1)
STARTS_PER_REPEAT = {REAL: 5, LIGHT: 6}
POLLS, POLL_SECONDS = 20, 9.0
"""So many polls of other people's servers, spread over so much of the time that one stop hangs."""


def measure_single(pair: Pair, repeats: int) -> list[Figure]:
    """One start at a time, from the request to ready."""
    goal = Goal("≤ 1.05", lambda ratio: ratio <= 1.05)
    return [
        _single(pair, repeats, REAL, "One start to ready, JupyterLab", goal),
        _single(pair, repeats, LIGHT, "One start to ready, light server", None),
    ]


def _single(pair: Pair, repeats: int, image: str, what: str, goal: Goal | None) -> Figure:
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    every: dict[str, list[float]] = {"ours": [], "stock": []}
    calls: dict[str, list[tuple[str, float, float]]] = {"ours": [], "stock": []}
    users = PEOPLE[: STARTS_PER_REPEAT[image]]
    for repeat in range(-1, repeats):  # the first one warms up
        found: dict[str, list[float]] = {"ours": [], "stock": []}
        for number, user in enumerate(users):
            for side in pair.order(repeat + number):
                with pair.only(side):
                    side.docker_calls()
                    found[side.name].append(side.start_server(user, image))
                    calls[side.name] += side.docker_calls() if repeat >= 0 else []
        for side in (pair.ours, pair.stock):
            with pair.only(side):
                side.stop_servers(users)
            if repeat >= 0:
                seconds[side.name].append(median(found[side.name]))
                every[side.name] += found[side.name]
    return Figure(
        name=f"single-{image}",
        what=what,
        unit="s",
        ours=seconds["ours"],
        stock=seconds["stock"],
        goal=goal,
        notes={
            "docker calls of a start": {
                name: _count(made, repeats * len(users)) for name, made in calls.items()
            },
            "every start": every,
        },
    )


def _count(calls: list[tuple[str, float, float]], starts: int) -> dict[str, str]:
    """Method → how often in one start, and how long one takes."""
    numbers, sums = Counter[str](), Counter[str]()
    for method, begin, end in calls:
        numbers[method] += 1
        sums[method] += end - begin  # type: ignore[assignment]
    return {
        method: f"{count / starts:.2f} x {1000 * sums[method] / count:.1f} ms"
        for method, count in numbers.most_common()
    }


def measure_burst(pair: Pair, repeats: int) -> list[Figure]:
    """Thirty starts at once, light servers; and the hub's memory after that."""
    memory: dict[str, list[float]] = {"ours": [], "stock": []}
    rates, notes = _bursts(pair, repeats, LIGHT, memory)
    return [
        Figure(
            name="burst",
            what=f"Burst of {SERVERS}, light servers: starts per second",
            unit="/s",
            ours=rates["ours"],
            stock=rates["stock"],
            goal=Goal("≥ 1.2 (aim 1.5)", lambda ratio: ratio >= 1.2),
            notes=notes,
        ),
        Figure(
            name="memory-burst",
            what=f"Hub memory after a burst of {SERVERS} (PSS)",
            unit="MiB",
            ours=memory["ours"],
            stock=memory["stock"],
            goal=MEMORY_GOAL,
        ),
    ]


def measure_real_burst(pair: Pair, repeats: int) -> list[Figure]:
    """Thirty starts at once, JupyterLab: mostly a measure of what JupyterLab costs to start."""
    rates, notes = _bursts(pair, repeats, REAL, {"ours": [], "stock": []})
    what = f"Burst of {SERVERS}, JupyterLab: starts per second"
    return [Figure("burst-real", what, "/s", rates["ours"], rates["stock"], notes=notes)]


def _bursts(
    pair: Pair, repeats: int, image: str, memory: dict[str, list[float]]
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    rates: dict[str, list[float]] = {"ours": [], "stock": []}
    notes: dict[str, list[Any]] = {"ours": [], "stock": []}
    for repeat in range(repeats):
        for side in pair.order(repeat):
            with pair.only(side):
                rate, note = burst(side, image)
                rates[side.name].append(rate)
                notes[side.name].append(note)
                memory[side.name].append(memory_mib(side.hub_pid)[1])
                side.stop_servers(PEOPLE)
    return rates, notes


def burst(side: Side, image: str) -> tuple[float, dict[str, Any]]:
    """Start them all; starts per second, and what the machine did meanwhile."""
    side.docker_calls()
    before = cpu_times(side)
    seconds = side.start_servers(PEOPLE, image)
    used = shares(before, cpu_times(side))
    calls = side.docker_calls()
    under_way = sum(end - begin for _, begin, end in calls) / seconds
    return SERVERS / seconds, {
        "seconds": round(seconds, 2),
        "processors busy": used,
        "docker calls under way": round(under_way, 2),
        "docker calls of a start": _count(calls, SERVERS),
    }


def measure_poll(pair: Pair, repeats: int) -> list[Figure]:
    """How long a poll of one server takes while another's stop hangs for ten seconds.

    A request to start a server that runs makes the hub poll it, and is refused.
    """
    p95: dict[str, list[float]] = {"ours": [], "stock": []}
    p50: dict[str, list[float]] = {"ours": [], "stock": []}
    for side in (pair.ours, pair.stock):
        with pair.only(side):
            side.start_servers(PEOPLE[:POLLS], LIGHT)
    for repeat in range(repeats):
        for side in pair.order(repeat):
            with pair.only(side):
                found = _poll_beside_a_hanging_stop(side)
                p95[side.name].append(1000 * percentile(found, 0.95))
                p50[side.name].append(1000 * percentile(found, 0.5))
    for side in (pair.ours, pair.stock):
        with pair.only(side):
            side.stop_servers(PEOPLE[:POLLS])
    return [
        Figure(
            name="poll-p95",
            what="Poll while another's stop hangs for 10 s, p95",
            unit="ms",
            ours=p95["ours"],
            stock=p95["stock"],
            goal=Goal("< 50 ms", lambda value: value < 50, of="ours"),
        ),
        Figure(name="poll-p50", what="The same, p50", unit="ms", ours=p50["ours"], stock=p50["stock"]),
    ]


def _poll_beside_a_hanging_stop(side: Side) -> list[float]:
    side.start_server(STUBBORN, LIGHT)
    with ThreadPoolExecutor(POLLS + 1) as pool:
        stop = pool.submit(side.stop_servers, [STUBBORN])
        time.sleep(0.5)
        polls = []
        for user in PEOPLE[:POLLS]:
            polls.append(pool.submit(_poll, side, user))
            time.sleep(POLL_SECONDS / POLLS)
        stop.result()
        return [poll.result() for poll in polls]


def _poll(side: Side, user: str) -> float:
    begin = time.perf_counter()
    answer = side.api("POST", f"/users/{user}/server", json={"image": LIGHT, "gpus": 1})
    seconds = time.perf_counter() - begin
    assert answer.status_code == 400, f"{user}: {answer.status_code} {answer.text}"
    assert "already running" in answer.text, answer.text
    return seconds


def measure_restart(pair: Pair, repeats: int) -> list[Figure]:
    """``kill -9`` of the hub with thirty servers, and its memory after the restart."""
    serving: dict[str, list[float]] = {"ours": [], "stock": []}
    first: list[float] = []
    ready: dict[str, list[float]] = {"ours": [], "stock": []}
    adopted: list[float] = []
    rss: dict[str, list[float]] = {"ours": [], "stock": []}
    pss: dict[str, list[float]] = {"ours": [], "stock": []}
    for side in (pair.ours, pair.stock):
        with pair.only(side):
            side.start_servers(PEOPLE, LIGHT)
    for repeat in range(repeats):
        for side in pair.order(repeat):
            with pair.only(side):
                newcomer = NEWCOMERS[repeat % len(NEWCOMERS)]
                begin, taken_over, answers = _restart(side)
                side.start_server(newcomer, LIGHT)
                ready[side.name].append(time.time() - begin)
                serving[side.name].append(answers)
                if taken_over is not None:
                    adopted.append(taken_over)
                    first.append(side.lease_of(newcomer).created_at.timestamp() - begin)
                missing = set(PEOPLE) - side.running()
                assert not missing, f"{side.name}: lost over the restart: {missing}"
                side.stop_servers([newcomer])
                time.sleep(2)  # the memory that the start-up needed is given back
                resident, proportional = memory_mib(side.hub_pid)
                rss[side.name].append(resident)
                pss[side.name].append(proportional)
    for side in (pair.ours, pair.stock):
        with pair.only(side):
            side.stop_servers(PEOPLE)
    with_30 = f"with {SERVERS} servers"
    return [
        Figure(
            "restart-lease", f"Hub restart {with_30}: first new lease after", "s", first,
            goal=Goal("≤ 5 s", lambda value: value <= 5, of="ours"),
        ),
        Figure("restart-adopted", "The same: all servers adopted after", "s", adopted),
        Figure("restart-serving", "The same: hub answers after", "s", serving["ours"], serving["stock"]),
        Figure("restart-ready", "The same: first new server ready after", "s", ready["ours"], ready["stock"]),
        Figure(
            "memory-pss", f"Hub memory {with_30} (PSS)", "MiB", pss["ours"], pss["stock"],
            goal=MEMORY_GOAL,
        ),
        Figure(
            "memory-rss", f"Hub memory {with_30} (RSS)", "MiB", rss["ours"], rss["stock"],
            goal=MEMORY_GOAL,
        ),
    ]  # fmt: skip


def _restart(side: Side) -> tuple[float, float | None, float]:
    """Kill and start the hub; when it began, and seconds until all servers were adopted and until it answers.

    A server is adopted when its lease names the new run of the hub as its keeper; stock has no such thing.
    """
    before = {lease.claimant for lease in side.leases()}
    side.kill("hub")
    begin = time.time()
    side.start("hub")
    seen: dict[str, float] = {}

    def is_up() -> bool:
        if "adopted" not in seen and not side.stock and _keepers(side).isdisjoint(before):
            seen["adopted"] = time.time() - begin
        try:
            return side.api("GET", "/", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    wait_for(is_up, f"the restart of the hub of {side.name}", 60)
    serving = time.time() - begin
    if not side.stock and "adopted" not in seen:
        wait_for(lambda: _keepers(side).isdisjoint(before), "the adoption of all servers")
        seen["adopted"] = time.time() - begin
    return begin, seen.get("adopted"), serving


def _keepers(side: Side) -> set[str]:
    leases = side.leases()
    assert len(leases) == SERVERS, f"{len(leases)} leases of {SERVERS} servers"
    assert all(lease.state is LeaseState.ACTIVE for lease in leases)
    return {lease.claimant for lease in leases}
