"""Containers in which images are checked, at the Docker Engine."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from gpuspawner.core.checkrun import LABEL_CHECK, OVERTIME_SECONDS, CheckRun, Ended, build_check_container
from gpuspawner.core.errors import CheckError, EngineError

PREFIX = "gpuspawner-check-"
MOST_OUT_BYTES = 8 * 2**20
MOST_ERR_BYTES = 64 * 1024
ENGINE_SECONDS = 60
"""How long one answer of the Engine may take; a large image's first start is slow."""


class DockerChecks:
    """Runs commands in containers that are gone afterwards, whatever happens in between.

    Nothing is contacted before the first call. Every method raises ``EngineError`` when the Engine gives no
    usable answer.
    """

    def __init__(self) -> None:
        self._client: APIClient | None = None

    def remove_leftovers(self) -> None:
        """Remove what a command left that was killed, once its time is over."""
        with self._asking("list the containers") as client:
            for one in client.containers(all=True, filters={"label": LABEL_CHECK}):
                until = one["Labels"][LABEL_CHECK]
                if until.isdigit() and int(until) < time.time():
                    _remove(client, one["Id"])

    def run(self, run: CheckRun, before_start: Callable[[], object] = lambda: None) -> Ended:
        """Run a command to its end.

        Args:
            run: What it is made of.
            before_start: Called between the making of its container and the start.

        Raises:
            EngineError: It could not be run; there is no container of it any more.
        """
        with self._container(run) as (client, name):
            chunks = client.attach(name, stdout=True, stderr=True, stream=True, logs=True, demux=True)
            before_start()
            client.start(name)
            timer = threading.Timer(run.seconds + OVERTIME_SECONDS, _kill, (client, name))
            timer.daemon = True
            timer.start()
            try:
                out, err = _collect(chunks)
                return _read_end(client, name, out, err)
            finally:
                timer.cancel()

    @contextmanager
    def hold(self, run: CheckRun, before_start: Callable[[], object]) -> Iterator[str]:
        """A container that only is there, until the end of the block or of this process; its id.

        Args:
            run: What it is made of.
            before_start: Called between its making and its start.
        """
        with self._container(run) as (client, name):
            # The Engine closes its input when this connection ends, also by the death of this process.
            line = client.attach_socket(name, params={"stdin": 1, "stream": 1})
            try:
                before_start()
                client.start(name)
                yield str(client.inspect_container(name)["Id"])
            finally:
                _close(line)

    @contextmanager
    def _container(self, run: CheckRun) -> Iterator[tuple[APIClient, str]]:
        name = f"{PREFIX}{secrets.token_hex(6)}"
        with self._asking("run a check") as client:
            try:
                untyped: Any = client
                untyped.create_container_from_config(build_check_container(run, time.time()), name)
                yield client, name
            finally:
                # By name: Ctrl-C may have come before the id was known.
                _remove(client, name)

    @contextmanager
    def _asking(self, what: str) -> Iterator[APIClient]:
        try:
            if self._client is None:
                self._client = APIClient(version="auto", timeout=ENGINE_SECONDS, **kwargs_from_env())
            yield self._client
        except APIError as error:
            why = str(error.explanation or error).strip()
            raise EngineError(
                f"The Docker Engine did not {what}: {why} (HTTP {error.status_code})."
            ) from error
        except (DockerException, RequestException, HTTPError) as error:
            raise EngineError(f"The Docker Engine did not {what}: it cannot be reached ({error}).") from error


def _collect(chunks: Iterator[tuple[bytes | None, bytes | None]]) -> tuple[str, str]:
    out, err = bytearray(), bytearray()
    for said, complained in chunks:
        out += said or b""
        err += complained or b""
        del err[:-MOST_ERR_BYTES]
        if len(out) > MOST_OUT_BYTES:
            raise CheckError(f"The image says more than {MOST_OUT_BYTES // 2**20} MiB; that is no result.")
    return out.decode(errors="replace"), err.decode(errors="replace")


def _read_end(client: APIClient, name: str, out: str, err: str) -> Ended:
    try:
        client.wait(name)
        state: dict[str, Any] = client.inspect_container(name)["State"]
    except NotFound:  # the agent has collected it
        return Ended(None, False, out, err)
    return Ended(state["ExitCode"], bool(state.get("OOMKilled")) and bool(state["ExitCode"]), out, err)


def _kill(client: APIClient, name: str) -> None:
    with contextlib.suppress(DockerException, RequestException):
        client.kill(name)


def _remove(client: APIClient, name: str) -> None:
    """Once more where the answer was lost; a container that is left is removed by the next command."""
    for _ in range(2):
        try:
            client.remove_container(name, v=True, force=True)
        except NotFound:
            return
        except (DockerException, RequestException):
            continue
        return


def _close(line: Any) -> None:
    """End a connection that docker-py wraps in one way or another."""
    inner = getattr(line, "_sock", line)
    with contextlib.suppress(OSError):
        inner.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        line.close()
