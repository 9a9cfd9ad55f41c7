"""Terminals and editors on people's own machines: real OpenSSH clients, a real gateway, real containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.installation import Installation
from support.ssh import Laptop

pytestmark = [pytest.mark.docker, pytest.mark.ssh]


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with Installation(
        users=("ada", "grace", "edsger"), layout="2xa100-40gb,1xl40s", ssh=True
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
        yield installation


CONFIG = """
Host gate
    HostName 127.0.0.1
    Port {port}
    User nobody
    StrictHostKeyChecking no

Host gpu
    HostName 127.64.0.0
    Port 2200
    User jovyan
    ProxyJump gate
    StrictHostKeyChecking no
"""


def test_first(site: Installation, tmp_path: Path) -> None:
    laptop = Laptop(tmp_path / "ada@laptop", site.ssh_port, CONFIG.format(port=site.ssh_port))
    print(laptop.run("gpu", "true"))
    answer = site.client("ada").gpu("POST", "/keys", json={"key": laptop.public})
    assert answer.status_code == 201, answer.text
    print(laptop.run("gpu", "true"))
    print(answer.json(), site.client("ada").gpu("GET", "/keys").json())
    assert site.client("ada").spawn({"gpus": 1}).ready
    done = laptop.run("gpu", "nvidia-smi -L; exit 7")
    print(done)
    print(site.logs("gateway"))
    print(site.logs("controller"))
    assert done.returncode == 7
