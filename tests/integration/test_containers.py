"""What a person's container is: its limits, its rights, its home."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.images import default_images, derived_image
from support.installation import CHEAP_SERVER, Installation, devices_of

pytestmark = pytest.mark.docker

OTHER = "Other"
CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.GPUSpawner.extra_host_config = {{
    "mounts": [{{"Target": "/site", "Source": "/usr/share", "Type": "bind", "ReadOnly": True}}],
    "device_requests": [],
    "cap_drop": ["NET_RAW"],
    "security_opt": ["seccomp=builtin"],
    "tmpfs": {{"/scratch": "size=1m"}},
    "init": False,
    "privileged": False,
}}
"""
MIB = 1024**2


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    limits = {"gpus_per_server": 2, "gpus_per_person": 2, "memory": "512M", "shm": "96M", "pids": 300}
    with derived_image("ENV WHICH=other") as other:
        images = {**default_images(), OTHER: other}
        limits["cpus"] = 0.75
        with Installation(images=images, limits=limits, config=CONFIG) as installation:
            yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def inside(site: Installation, command: str, user: str = "ada") -> str:
    return site.exec(user, command).strip()


def test_a_container_has_few_rights_and_its_limits(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready

    assert inside(site, "id -u; id -g").split() == ["1000", "1000"]
    status = dict(
        line.split(":\t", 1) for line in inside(site, "cat /proc/self/status").splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2", "the Engine's own filter"
    assert "init" in inside(site, "cat /proc/1/cmdline | tr '\\0' ' '")
    assert inside(site, "df -k /dev/shm | tail -1").split()[1] == str(96 * 1024)

    host = site.container("ada")["HostConfig"]
    assert host["Memory"] == 512 * MIB
    assert host["PidsLimit"] == 300
    assert host["ShmSize"] == 96 * MIB
    assert host["CpuQuota"] / host["CpuPeriod"] == 0.75
    assert host["CapDrop"] == ["NET_RAW", "ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Init"] is True
    assert host["Privileged"] is False
    assert host["AutoRemove"] is False
    assert host["IpcMode"] == "private"
    assert site.container("ada")["Config"]["User"] == "1000:1000"
    assert not any(m["Source"].endswith("docker.sock") for m in site.container("ada")["Mounts"])


def test_the_site_adds_and_takes_nothing_away(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    assert "doc" in inside(site, "ls /site").split()
    assert "/scratch" in inside(site, "mount | grep scratch")
    assert devices_of(site.container("ada")) == set(site.lease_of("ada").devices)
    assert site.cards_seen("ada") == list(site.lease_of("ada").devices)
    assert "/home/jovyan" in [m["Destination"] for m in site.container("ada")["Mounts"]]


def test_labels_say_whose_a_container_is(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}, "my-work").ready
    lease = site.lease_of("ada", "my-work")
    labels = site.container("ada", "my-work")["Config"]["Labels"]
    with site.ledger.read() as unit:
        assert labels["gpuspawner.ledger"] == unit.ledger_id()
    assert labels["gpuspawner.lease"] == lease.id
    assert labels["gpuspawner.owner"] == "ada"
    assert labels["gpuspawner.devices"] == lease.devices[0]


def test_a_home_survives_stop_start_and_a_change_of_image(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    first = site.started("ada")
    inside(site, "echo precious > ~/file; echo gone > /tmp/file")
    ada.stop()
    assert site.containers() == [], "the container is removed at each stop"

    assert ada.spawn({"gpus": 0, "image": OTHER}).ready
    assert inside(site, "echo $WHICH") == "other"
    assert inside(site, "cat ~/file") == "precious"
    assert inside(site, "cat /tmp/file 2>/dev/null || echo no") == "no"
    assert site.started("ada") != first
    ada.stop()
    assert ada.spawn().ready
    assert inside(site, "cat ~/file") == "precious"


def test_a_home_is_its_persons_alone_and_is_not_named_after_them(site: Installation) -> None:
    for name in ("ada", "grace"):
        assert site.client(name).spawn().ready
    inside(site, "echo secret > ~/mine")
    assert inside(site, "cat ~/mine 2>/dev/null || echo none", "grace") == "none"
    homes = [
        m["Name"]
        for name in ("ada", "grace")
        for m in site.container(name)["Mounts"]
        if m["Destination"] == "/home/jovyan"
    ]
    assert len(set(homes)) == 2
    assert not any("ada" in name or "grace" in name for name in homes)


def test_two_servers_of_one_person_share_the_home_and_count_together(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    assert ada.spawn({"gpus": 1}, "second").ready
    assert set(site.cards_seen("ada")).isdisjoint(site.cards_seen("ada", "second"))
    site.exec("ada", "echo shared > ~/both")
    assert site.exec("ada", "cat ~/both", "second").strip() == "shared"

    third = ada.spawn({"gpus": 1}, "third")
    assert (third.ready, third.status) == (False, 400)
    assert "You hold 2 GPUs already" in third.message
    assert "at most 2" in third.message
    assert ada.spawn({"gpus": 0}, "third").ready


def test_two_cards_in_one_server_are_of_one_model(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 2}).ready
    seen = site.cards_seen("ada")
    assert seen == list(site.lease_of("ada").devices)
    models = {card.name for card in site.simulation.cards if card.uuid in seen}
    assert len(seen) == 2
    assert len(models) == 1


def test_a_deleted_server_leaves_the_home(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn(None, "short").ready
    site.exec("ada", "echo kept > ~/kept", "short")
    ada.stop("short")
    assert ada.api("DELETE", "/users/ada/servers/short", json={"remove": True}).status_code == 204
    assert ada.spawn().ready
    assert inside(site, "cat ~/kept") == "kept"


@pytest.mark.parametrize("name", ["{username.__class__}", "../../etc", "a b/c", "ünï", "x" * 200])
def test_a_strange_server_name_is_a_name_and_nothing_else(site: Installation, name: str) -> None:
    ada = site.client("ada")
    answer = ada.spawn({"gpus": 1}, name.replace("/", "%2F"))
    if answer.ready:
        lease = next(lease for lease in site.leases() if lease.owner == "ada")
        assert lease.server == name
        assert site.cards_seen("ada", name) == list(lease.devices)
    else:
        assert 400 <= answer.status < 500
        assert site.leases() == []
