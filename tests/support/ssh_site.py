"""An installation with a gateway of SSH, and people's machines that reach it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.allocator.ssh_keys import SshKeys

from support.client import Client
from support.images import default_images, training_images
from support.installation import Installation
from support.side_by_side import free_port
from support.ssh import Laptop

POLICY = """
groups:
  default: {gpus_per_person: 2, gpus_per_server: 1}
"""
BANNER = "This way leads to your own server and nowhere else. If you are refused, http"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    environment = 'c.GPUSpawner.environment = {"COURSE_DATA": "/data/a \\"b\\" #c", "COURSE_TOKEN": "hidden"}'
    with Installation(
        users=("ada", "grace", "edsger"),
        images={**default_images(), **training_images()},
        layout="2xa100-40gb,1xl40s",
        config=environment,
        settings={
            "policy": str(policy),
            "controller": {"enabled": True, "port": free_port(), "tick": 0.5, "look": "5 s"},
        },
        ssh=True,
    ) as installation:
        for user in installation.users:
            installation.client(user).log_in_to_controller()
            assert installation.client(user).spawn({"gpus": 1} if user != "edsger" else {"gpus": 0}).ready
        yield installation


def set_up(site: Installation, user: str, folder: Path) -> Laptop:
    """A machine whose key was added, with what the page says."""
    made = Laptop(folder / f"{user}@laptop")
    answer = site.client(user).gpu("POST", "/keys", json={"key": made.public})
    assert answer.status_code == 201, answer.text
    made.write(*copied(site, user))
    return made


def copied(site: Installation, user: str) -> tuple[str, str]:
    """What the page has to be copied: for ``config``, and for ``known_hosts``."""
    return read_page(site.client(user))


def read_page(person: Client) -> tuple[str, str]:
    """The same, for whoever has logged in."""
    html = person.page("/services/gpu/ssh").text
    found = dict(re.findall(r'(?s)<textarea[^>]* id="([\w-]+)"[^>]*>(.*?)</textarea>', html))
    return unescape(found["config"]), unescape(found["known-hosts"])


def make_token(site: Installation, user: str, *scopes: str) -> dict[str, Any]:
    """As the button of the hub's page of tokens does."""
    body = {"note": "SSH through port 443", "expires_in": 30 * 86400, "scopes": list(scopes)}
    answer = site.client(user).api("POST", f"/users/{user}/tokens", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def with_client(config: str, folder: Path, token: str) -> str:
    """What was copied, with our client of this checkout and a file with its token."""
    file = folder / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    client = f"{sys.executable} -m gpuspawner_session ssh-proxy --token-file {file}"
    return config.replace("gpuspawner-session ssh-proxy", client)


@pytest.fixture(scope="module")
def ada(site: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return set_up(site, "ada", tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def grace(site: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return set_up(site, "grace", tmp_path_factory.mktemp("machines"))


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def forwarding(laptop: Laptop, *options: str, host: str = "gpu") -> Iterator[subprocess.Popen[str]]:
    """A client that only forwards."""
    client = laptop.open("-N", "-o", "ExitOnForwardFailure=yes", *options, host)
    try:
        yield client
    finally:
        client.terminate()
        try:
            client.wait(20)
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
        # Not read to their ends: a program that it has started for the way may hold them for longer.
        for pipe in (client.stdin, client.stdout, client.stderr):
            if pipe:
                pipe.close()


def keys_of(site: Installation) -> SshKeys:
    return SshKeys(site.ledger)


def door_of(site: Installation, user: str) -> str:
    return str(keys_of(site).doors(user, [""])[0].address)


def gate(laptop: Laptop, *words: str) -> subprocess.CompletedProcess[str]:
    return laptop.run(*words, "gpu-gateway")
