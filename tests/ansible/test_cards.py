"""A server with cards, and packages of NVIDIA and Docker, that all pretend. Slow: ``make test-ansible``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest
from support.fake_packages import KEY, driver, engine, make_source, newer_engine, toolkit
from support.fresh_server import HOME, FreshServer, fresh_server
from support.playing import SETTINGS, must_change_nothing, must_play, must_refuse, play

pytestmark = [pytest.mark.docker, pytest.mark.server]

OLD, WANTED, NEW = "580.65.06-1", "580.95.05-1", "590.44.01-1"
REGISTRY = "localhost:5000/lab"
INVENTORY = f"""---
tls_names: [localhost]
tls_certificate: internal
images_names: [minimal]
docker_source: docker
nvidia_driver_version: 580.95.05
docker_repository_key: {KEY}
nvidia_driver_repository_key: {KEY}
container_toolkit_repository_key: {KEY}
gpuspawner_settings:
  demo_users: {{ada: {{password: long-enough}}}}
"""
PINNED = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")


@pytest.fixture(scope="module")
def server() -> Iterator[FreshServer]:
    """A bare server which looks as if it had a card, with sources of packages of its own."""
    release = os.environ["GPUSPAWNER_TEST_SERVER"]
    with fresh_server(release) as server:
        server.shell("apt-get update && apt-get install -y git make python3-venv && make ansible", minutes=15)
        with newer_engine(server, release):
            docker = make_source(server, "docker", engine(), release)
        sources = {
            "docker_repository": docker,
            "nvidia_driver_repository": make_source(
                server, "driver", [*driver(OLD), *driver(WANTED), *driver(NEW)]
            ),
            "container_toolkit_repository": make_source(
                server, "toolkit", [*toolkit("1.17.8"), *toolkit("1.19.1")]
            ),
        }
        lines = "".join(f"{name}: {where}\n" for name, where in sources.items())
        folder = f"{HOME}/ansible/inventory"
        line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep  9 00:00:00 UTC 2025"
        server.shell(
            f"cp -r {folder}/simulated {folder}/mine && cat >{SETTINGS} <<'END'\n{INVENTORY}{lines}END\n"
            "mkdir -p /root/pci/0000:01:00.0 /root/driver/nvidia; echo 0x10de >/root/pci/0000:01:00.0/vendor;"
            f"mount --bind /root/pci /sys/bus/pci/devices; echo '{line}' >/root/driver/nvidia/version"
        )
        yield server


def load_driver(server: FreshServer) -> None:
    """What modprobe does on a server with a card."""
    server.shell("mountpoint -q /proc/driver || mount --bind /root/driver /proc/driver")


@pytest.fixture(scope="module")
def hub(server: FreshServer) -> FreshServer:
    """The same, brought to a hub."""
    # The first time the kernel has no driver yet, and loads none here.
    code, printed = play(server, "site")
    assert code != 0
    words = " ".join(printed.split())
    assert "NVIDIA's driver is installed, and the kernel does not load it" in words
    assert "Boot this server, and run again." in words
    load_driver(server)
    must_play(server, "site")
    return server


def test_a_second_run_changes_nothing(hub: FreshServer) -> None:
    before, state = hub.started(), hub.state()
    must_change_nothing(hub)
    assert hub.started() == before
    after = hub.state()
    assert {what for what in state if state[what] != after[what]} == set()


def versions(server: FreshServer) -> dict[str, str]:
    listed = server.must("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    return dict(line.split() for line in listed.splitlines())


def test_the_driver_is_of_one_version_and_stays_there(hub: FreshServer) -> None:
    found = versions(hub)
    assert {found[name] for name in (*PINNED, "libcuda1")} == {WANTED}
    assert set(hub.must("apt-mark", "showhold").split()) == set(PINNED)
    # The pin alone keeps it too, and with it what is not held.
    hub.shell(f"apt-mark unhold {' '.join(PINNED)}")
    try:
        coming = hub.must("apt-get", "--simulate", "dist-upgrade")
        assert not re.search(r"^Inst (nvidia-(?!container)|libcuda)", coming, re.MULTILINE)
        hub.shell("mv /etc/apt/preferences.d/gpuspawner-nvidia-driver /root/pin")
        assert "Inst libcuda1" in hub.must("apt-get", "--simulate", "dist-upgrade")
        # And so do unattended upgrades, without pin and hold.
        hub.shell(
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends unattended-upgrades"
        )
        hub.shell(
            "echo 'Unattended-Upgrade::Origins-Pattern { \"o=Pretended\"; };' >/etc/apt/apt.conf.d/99all"
        )
        said = hub.must("unattended-upgrade", "--dry-run", "--debug")
        upgraded = re.findall(r"Packages that will be upgraded: (.*)", said)
        assert not any("nvidia-driver" in line or "libcuda" in line for line in upgraded), said[-3000:]
        assert re.search(r"skipping blacklisted package (libcuda1|nvidia)", said), said[-3000:]
    finally:
        hub.shell(
            "rm -f /etc/apt/apt.conf.d/99all; test ! -e /root/pin ||"
            f" mv /root/pin /etc/apt/preferences.d/gpuspawner-nvidia-driver; apt-mark hold {' '.join(PINNED)}"
        )


def test_daemons_run_and_the_toolkit_is_new_enough(hub: FreshServer) -> None:
    for unit in ("nvidia-persistenced.service", "nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service"):
        assert hub.must("systemctl", "is-enabled", unit).strip() == "enabled"
    assert hub.must("systemctl", "is-active", "nvidia-persistenced").strip() == "active"
    assert versions(hub)["nvidia-container-toolkit"] == "1.19.1-1"
    assert "nvidia" not in hub.must("cat", "/etc/docker/daemon.json")
    assert "nvidia" not in hub.must("docker", "info", "--format", "{{json .Runtimes}}")


def test_the_engine_is_of_dockers_own_packages(hub: FreshServer) -> None:
    found = versions(hub)
    assert found["docker-ce"] == "5:29.0.0-1"
    source = hub.must("cat", "/etc/apt/sources.list.d/gpuspawner-docker.sources")
    assert "Signed-By: /etc/apt/keyrings/gpuspawner-docker.asc" in source
    assert "Components: stable" in source
    assert json.loads(hub.must("cat", "/etc/docker/daemon.json"))["features"] == {"cdi": True}


def test_another_driver_is_not_brought_under_people(hub: FreshServer) -> None:
    image = hub.shell("docker image ls --format '{{.ID}}' gpuspawner/minimal | head -1").strip()
    hub.shell(f"echo 'docker_allow_foreign_containers: true' >>{SETTINGS}")
    choose_driver(hub, "590.44.01")
    hub.must("docker", "run", "--detach", "--name", "work", image, "sleep", "infinity")
    try:
        must_refuse(hub, "nvidia_driver_version is 590.44.01, and nvidia-driver-cuda 580.95.05-1")
    finally:
        hub.must("docker", "rm", "--force", "work")
    must_play(hub, "site")
    found = versions(hub)
    assert {found[name] for name in (*PINNED, "libcuda1")} == {NEW}
    assert set(hub.must("apt-mark", "showhold").split()) == set(PINNED)
    choose_driver(hub, "580.95.05")
    must_play(hub, "site")
    assert {versions(hub)[name] for name in PINNED} == {WANTED}, "and back"


def choose_driver(server: FreshServer, version: str) -> None:
    server.shell(f"sed -i 's/^nvidia_driver_version: .*/nvidia_driver_version: {version}/' {SETTINGS}")


LISTED = "docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -v '<none>'"
PUSH = (
    "from gpuspawner.setup.images import load_catalogue;"
    "from gpuspawner.setup.paths import Paths;"
    "from gpuspawner.setup.registry import push_images;"
    "push_images(Paths(), [one for one in load_catalogue() if one.name == 'minimal'])"
)


def test_images_come_from_a_registry_by_digest(hub: FreshServer) -> None:
    hub.shell("apt-get install -y --no-install-recommends docker-registry", minutes=10)
    ready = "for i in $(seq 50); do ss -Hltn | grep -q :5000 && break; sleep 0.1; done"
    plain = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\n"
    plain += "http: {addr: ':5000'}\n"
    hub.shell(f"cat >/etc/docker/registry/config.yml <<'END'\n{plain}END")
    hub.shell(f"systemctl restart docker-registry; {ready}; mkdir -p .gpuspawner/logs")
    hub.shell(f'GPUSPAWNER_REGISTRY={REGISTRY} PYTHONPATH=spawner python3 -c "{PUSH}"')
    hub.shell(f"{LISTED} | grep gpuspawner/ | xargs docker image rm --force")
    hub.shell("rm -f /var/lib/gpuspawner/passports/*")
    hub.shell(f"printf 'images_registry: {REGISTRY}\\nimages_build: false\\n' >>{SETTINGS}")
    must_play(hub, "site")
    digest = re.findall(r"sha256:\w+", hub.must("cat", "images/digests.toml"))[0]
    listed = hub.must("docker", "image", "ls", "--digests", "--format", "{{.Repository}} {{.Digest}}")
    assert f"{REGISTRY}/gpuspawner/minimal {digest}" in listed
    assert hub.shell("ls /var/lib/gpuspawner/passports | wc -l").strip() == "1"
    must_change_nothing(hub)


def test_an_image_that_is_not_what_it_is_called_is_refused(hub: FreshServer) -> None:
    """After the test before: the registry has something else under the digest that is written down."""
    hub.shell(
        "docker create --name odd $(docker image ls --format '{{.ID}}' gpuspawner/minimal | head -1) &&"
        " docker cp odd:/opt/gpuspawner/image.json /tmp/image.json &&"
        ' sed -i \'s/"lock_hash": "..../"lock_hash": "0000/\' /tmp/image.json &&'
        " docker cp /tmp/image.json odd:/opt/gpuspawner/image.json &&"
        f" docker commit odd {REGISTRY}/gpuspawner/minimal:odd && docker rm odd &&"
        f" docker push {REGISTRY}/gpuspawner/minimal:odd &&"
        f" {LISTED} | grep gpuspawner/minimal | xargs docker image rm --force"
    )
    odd = hub.shell(
        f"docker pull --quiet {REGISTRY}/gpuspawner/minimal:odd >/dev/null; docker image inspect --format"
        f" '{{{{index .RepoDigests 0}}}}' {REGISTRY}/gpuspawner/minimal:odd"
    ).strip()
    hub.shell(f"sed -i 's/sha256:[0-9a-f]*/{odd.partition('@')[2]}/' images/digests.toml")
    code, printed = play(hub, "site")
    assert code != 0
    assert "is not what it is called: its packages are of the lock hash 0000" in " ".join(printed.split())
