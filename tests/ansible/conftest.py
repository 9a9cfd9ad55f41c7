"""The servers that tests share: a bare one, and one brought to a hub by the commands of docs/install.md."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import Client
from support.fresh_server import FreshServer, fresh_server
from support.kills import kill_at
from support.playing import SETTINGS, address, commands, log_in
from support.side_by_side import SERVERS, server_of
from support.tested import RELEASE, Passing

FIRST_KILL = "Make the directories"
"""A task of the first installation at which it is killed, before it is run as the page says."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of one server follow each other, first those that need it untouched."""
    order = list(SERVERS)

    def place(item: pytest.Item) -> tuple[int, bool]:
        server = server_of(item.nodeid) if item.get_closest_marker("server") else None
        number = order.index(server) if server else len(order)
        return number, "untouched" not in getattr(item, "fixturenames", ())

    items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down in the end which modules have passed; one of several processes knows only of its own."""
    if not hasattr(session.config, "workerinput") and session.items:
        _write_down(session.config, [item.nodeid for item in session.items])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The same where several processes run the tests, each of which has found all."""
    _write_down(node.config, ids)


def _write_down(config: pytest.Config, names: list[str]) -> None:
    some = any("::" in argument for argument in config.args) or any(
        config.getoption(option) for option in ("keyword", "markexpr", "deselect")
    )
    whole = os.environ.get("GPUSPAWNER_TEST_SERVER") == RELEASE and not some
    if whole and not config.pluginmanager.has_plugin("passing"):
        config.pluginmanager.register(Passing(names), "passing")


@pytest.fixture(scope="session")
def bare() -> Iterator[FreshServer]:
    """A server on which nothing is installed but what runs the playbooks.

    Those that need it so have ``untouched`` and come first, and leave it as it was. What is made of it after
    them is for the tests of one file.
    """
    with fresh_server(os.environ["GPUSPAWNER_TEST_SERVER"], "bare") as server:
        server.shell("apt-get update && apt-get install -y git make python3-venv && make ansible", minutes=15)
        yield server


@pytest.fixture(scope="session")
def untouched(bare: FreshServer) -> dict[str, str]:
    """How the bare server was before the first of the tests."""
    there = bare.run("test", "-e", "/opt/gpuspawner").returncode == 0
    assert not there, "this server is a hub already: tests with `untouched` come first"
    return bare.state()


@pytest.fixture(scope="session")
def server() -> Iterator[FreshServer]:
    """A server on which the page's commands were run, in order, with its address among the names."""
    with fresh_server(os.environ["GPUSPAWNER_TEST_SERVER"], "shared") as server:
        for block in commands("install.md"):
            if "site.yml" in block:
                kill_at(server, FIRST_KILL)
            begun = time.monotonic()
            server.shell(block, minutes=60)
            print(f"\n{time.monotonic() - begun:.0f} s:\n{block}")
            if "cp -r" in block:
                names = f"[localhost, {address(server)}]"
                server.shell(f"sed -i 's/^tls_names: .*/tls_names: {names}/' {SETTINGS}")
        yield server


@pytest.fixture(scope="session")
def ada(server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Who has logged in through TLS, and trusts the server's own authority alone."""
    return log_in(server, "ada", tmp_path_factory.mktemp("ada"))
