"""Who reaches whom: a server the hub, the hub a server, and no server another one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from support.installation import CHEAP_SERVER, Installation

pytestmark = pytest.mark.docker

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
REACH = f"python3 -c '{CONNECT}' {{address}} {{port}} 2>/dev/null && echo yes || echo no"


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with Installation(users=("ada", "grace"), config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}") as installation:
        yield installation


def test_servers_do_not_reach_each_other(site: Installation) -> None:
    for user in ("ada", "grace"):
        assert site.client(user).spawn({"gpus": 0}).ready
    networks = site.container("grace")["NetworkSettings"]["Networks"]
    grace = networks[site.network]["IPAddress"]
    assert requests.get(f"http://{grace}:8888/user/grace/api", timeout=5).ok, "the host does not reach grace"

    host, _, port = site.hub_url.removeprefix("http://").partition(":")
    assert site.exec("ada", REACH.format(address=host, port=port)).strip() == "yes", "no way to the hub"
    assert site.exec("ada", REACH.format(address=grace, port=8888)).strip() == "no"
    site.stop_all()
