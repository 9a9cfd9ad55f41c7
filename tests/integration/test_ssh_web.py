"""SSH where port 443 is the only way: no other tests beside it, for a host has one gateway with its doors."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from support.installation import CHECKOUT, Installation
from support.ssh_site import copied, make_token, set_up, with_client

pytestmark = [pytest.mark.docker, pytest.mark.ssh]


def test_where_port_443_is_the_only_way_the_port_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT / "images" / "session"))
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    only = {"ssh": {"ways": "web", "address": "0.0.0.0"}}
    with Installation(users=("ada",), layout="1xl40s", settings=only, ssh=True) as site:
        site.client("ada").log_in_to_controller()
        assert site.client("ada").spawn({"gpus": 1}).ready
        ada = set_up(site, "ada", tmp_path)
        config, known_hosts = copied(site, "ada")
        assert str(site.ssh_port) not in config
        ada.write(
            with_client(config, tmp_path, make_token(site, "ada", "custom:gpu:ssh")["token"]), known_hosts
        )
        done = ada.run("gpu", "nvidia-smi -L")
        cards = re.findall(r"UUID: ([\w-]+)", done.stdout)
        assert tuple(cards) == site.lease_of("ada").devices, done.stderr
        with socket.socket() as outside:
            assert outside.connect_ex((site.gateway, site.ssh_port)) != 0, "only this host itself reaches it"
