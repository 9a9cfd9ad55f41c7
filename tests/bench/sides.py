"""The two installations that are compared: one with GPUSpawner, one with stock DockerSpawner."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import requests
from gpuspawner import hubconfig
from gpuspawner.agent.loop import TICK_SECONDS
from gpuspawner.policy.settings import load_settings
from traitlets.config import Config

from tests.support.images import default_images
from tests.support.installation import CHECKOUT, HOST, Installation, wait_for

SERVERS = 30
PEOPLE = [f"u{number:02}" for number in range(SERVERS)]
NEWCOMERS = [f"new{number:02}" for number in range(20)]
"""They start the first server after a restart, one each."""
STUBBORN = "stubborn"
"""The light server of this user ignores SIGTERM."""
REAL, LIGHT = "real", "light"
"""Names of the images."""
CATCH_UP_SECONDS = 0.2
LAYOUT = f"{SERVERS + 10}xl40s"


class Side(Installation):
    """An installation that is driven through the hub's API, with a token.

    Args:
        light: Reference of the light image.
        stock: Whether this is DockerSpawner as it comes.
        config: More configuration of the hub.
    """

    def __init__(self, light: str, *, stock: bool, config: str = "") -> None:
        images = {REAL: next(iter(default_images().values())), LIGHT: light}
        super().__init__(images=images, layout=LAYOUT, users=(), tick=TICK_SECONDS)
        self.stock = stock
        self.name = "stock" if stock else "ours"
        self._more = config
        self._hub_token = secrets.token_hex(16)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=SERVERS + 2))
        self._session.headers["Authorization"] = f"token {self._hub_token}"

    # -- making it ------------------------------------------------------------------------------------------

    def _write_settings(self) -> None:
        self.calls_log = self.state_dir / "docker-calls"
        self.calls_log.touch()
        super()._write_settings()
        self.configure(self._more)

    def command(self, name: str) -> list[str]:
        if name == "hub" and self.stock:
            return ["jupyterhub", "--config", str(self.state_dir / "stock_config.py")]
        return super().command(name)

    def configure(self, more: str) -> None:
        """Write the hub's own configuration file; a running hub must be restarted."""
        lines = [
            f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})",
            "from tests.bench import inhub",
            f"inhub.configure(c, token={self._hub_token!r}, calls_log={str(self.calls_log)!r})",
        ]
        file = self.state_dir / "jupyterhub_config.d" / "bench.py"
        if self.stock:
            file = self.state_dir / "stock_config.py"
            lines = ["c = get_config()", *lines, f"inhub.use_stock(c, **{self._stock_options()!r})"]
        file.write_text("\n".join([*lines, more, ""]))

    def _stock_options(self) -> dict[str, Any]:
        """What stock is given to be compared fairly: all of our hub's settings, and the container's."""
        ours = Config()
        hubconfig.apply(ours, load_settings(self.settings_file))
        hub, spawner = dict(ours.JupyterHub), ours.GPUSpawner
        del hub["authenticator_class"], hub["spawner_class"]
        shared = (
            "allowed_images", "image", "prefix", "network_name", "start_timeout", "http_timeout", "mem_limit"
        )  # fmt: skip
        people = [*PEOPLE, STUBBORN, *NEWCOMERS]
        return {
            "options": {
                "JupyterHub": hub,
                "ConfigurableHTTPProxy": dict(ours.ConfigurableHTTPProxy),
                "DockerSpawner": {name: spawner[name] for name in shared if name in spawner},
            },
            "home": f"{self.prefix}-{{username}}",
            "devices": {user: self.uuids[n % len(self.uuids)] for n, user in enumerate(people)},
            "limits": {name: spawner[name] for name in ("pids_limit", "shm_size")},
        }

    def reconfigure(self, more: str) -> None:
        """Restart the hub with more configuration."""
        self.configure(more)
        self.restart("hub")

    def _known_homes(self) -> set[str]:
        volumes = self.engine.volumes(filters={"name": f"{self.prefix}-"})["Volumes"] or []
        return super()._known_homes() | {volume["Name"] for volume in volumes}

    def wait_ready(self) -> None:
        super().wait_ready()
        people = [*PEOPLE, STUBBORN, *NEWCOMERS]
        self.api("POST", "/users", json={"usernames": people}).raise_for_status()

    @property
    def hub_pid(self) -> int:
        return self.processes["hub"].popen.pid

    # -- one side at a time ---------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Keep hub and agent from running, so that they cost the other side nothing."""
        for name in ("hub", "agent"):
            os.kill(self.processes[name].popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the hub run on; with our spawner also the agent.

        What the agent has missed is waited for, and then a random part of its tick: or else its work would
        always, or never, fall into what is measured next.
        """
        os.kill(self.hub_pid, signal.SIGCONT)
        if self.stock:
            return
        os.kill(self.processes["agent"].popen.pid, signal.SIGCONT)

        def is_believed() -> bool:
            with self.ledger.read() as unit:
                return all(time.time() - record.seen_at.timestamp() < 20 for record in unit.inventory(HOST))

        wait_for(is_believed, "a report of the agent")
        time.sleep(CATCH_UP_SECONDS + random.uniform(0, TICK_SECONDS))

    def _end_processes(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.popen.send_signal(signal.SIGCONT)
        super()._end_processes()

    # -- driving it -----------------------------------------------------------------------------------------

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, f"{self.hub_url}/hub/api{path}", **{"timeout": 310, **options})

    def start_server(self, user: str, image: str) -> float:
        """Start a server and wait until it is ready; seconds from the request to that."""
        begin = time.perf_counter()
        answer = self.api("POST", f"/users/{user}/server", json={"image": image, "gpus": 1})
        seconds = time.perf_counter() - begin
        assert answer.status_code == 201, f"{self.name}: {user}: {answer.status_code} {answer.text}"
        return seconds

    def stop_server(self, user: str) -> None:
        answer = self.api("DELETE", f"/users/{user}/server")
        assert answer.status_code == 204, f"{self.name}: {user}: {answer.status_code} {answer.text}"

    def start_servers(self, users: Iterable[str], image: str) -> float:
        """Start all at once; seconds from the first request until the last one is ready."""
        with ThreadPoolExecutor(SERVERS) as pool:
            begin = time.perf_counter()
            for pending in [pool.submit(self.start_server, user, image) for user in users]:
                pending.result()
            return time.perf_counter() - begin

    def stop_servers(self, users: Iterable[str]) -> None:
        """Stop all, and wait until their cards are free again."""
        with ThreadPoolExecutor(SERVERS) as pool:
            list(pool.map(self.stop_server, users))
        self.wait_released()

    def wait_released(self) -> None:
        """Until no lease is on its way out."""
        wait_for(lambda: not any(lease.state.ending for lease in self.leases()), "the release of the cards")

    def running(self) -> set[str]:
        """Whose servers are ready."""
        return {user["name"] for user in self.api("GET", "/users?state=ready").json() if user["server"]}

    def docker_calls(self) -> list[tuple[str, float, float]]:
        """Method, begin and end of every Docker call of the hub since the last look."""
        text = self.calls_log.read_text()
        os.truncate(self.calls_log, 0)
        rows = (line.split() for line in text.splitlines())
        return [(method, float(begin), float(end)) for method, begin, end in rows]


class Pair:
    """Both sides; use as a context manager. Outside of :meth:`only` both are frozen."""

    def __init__(self, light: str) -> None:
        self.ours, self.stock = Side(light, stock=False), Side(light, stock=True)

    @contextmanager
    def only(self, side: Side) -> Iterator[Side]:
        """Let one side run and the other stand still."""
        side.thaw()
        try:
            yield side
        finally:
            side.freeze()

    def order(self, number: int) -> tuple[Side, Side]:
        """Who goes first changes from repeat to repeat."""
        return (self.ours, self.stock) if number % 2 == 0 else (self.stock, self.ours)


@contextmanager
def both_sides(light: str) -> Iterator[Pair]:
    """Two installations, ready and frozen."""
    pair = Pair(light)
    with pair.stock:
        pair.stock.freeze()
        with pair.ours:
            pair.ours.freeze()
            yield pair
