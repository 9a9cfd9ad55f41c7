"""What is wrong is named before a bare server is touched. Slow: ``make test-ansible``."""

from __future__ import annotations

from shlex import quote

import pytest
from support.certificates import make_certificate
from support.fresh_server import HOME, FreshServer
from support.playing import SETTINGS, must_refuse, play

pytestmark = [pytest.mark.docker, pytest.mark.server, pytest.mark.usefixtures("untouched")]

INVENTORY = f"{HOME}/ansible/inventory"


def begin(server: FreshServer, example: str, change: str) -> None:
    """A new inventory, changed by a program of sed."""
    server.shell(
        f"rm -rf {INVENTORY}/mine && cp -r {INVENTORY}/{example} {INVENTORY}/mine && cd {INVENTORY}/mine &&"
        f" chmod 600 gpuspawner.yml && sed -i {quote(change)} gpuspawner.yml &&"
        " sed -i 's/ansible_host: .*/ansible_connection: local/' hosts.yml"
    )


SIMULATED = {
    "a typo in a variable": (
        "s/^tls_certificate:/tls_certifcate:/",
        "line 10: tls_certifcate is not a variable of any role; did you mean 'tls_certificate'?",
    ),
    "a typo in a setting": (
        "s/memory: /memry: /",
        "limits.memry is not a setting; did you mean 'memory'?",
    ),
    "a typo in a section": ("s/limits:/limit:/", "limit is not a setting; did you mean 'limits'?"),
    "a value of another type": ("$a docker_log_files: many", "docker_log_files"),
    "a value that is none of the choices": ("s/internal/intern/", "tls_certificate must be one of"),
    "a key twice": ("$a tls_certificate: internal", "tls_certificate"),
    "an image that is not there": (
        "$a images_names: [minimal, sciense]",
        "There is no image 'sciense' to be built. Did you mean 'science'?",
    ),
    "no names": ("s/^tls_names: .*/tls_names: []/", "tls_names is empty"),
    "an address in place of a name": (
        "s,^tls_names: .*,tls_names: [https://hub.example.org],",
        "tls_names has \"https://hub.example.org\", which is no name",
    ),
    "names below no name": (
        "$a tls_subdomains: true",
        "tls_subdomains is true, and the first of tls_names is localhost, below which there are no names",
    ),
    "a certificate that no authority gives": (
        "s/internal/acme/; s/localhost/hub.example.org/; $a tls_subdomains: true",
        "tls_subdomains is true, and tls_certificate is acme",
    ),
    "no certificate": ("s/internal/files/", "tls_certificate is files, but there is no file"),
    "a network of others": (
        "$a gpuspawner_subnet: 8.8.8.0/24", "gpuspawner_subnet is 8.8.8.0/24; it must be private",
    ),
    "a network twice": (
        "$a gpuspawner_subnet: 10.200.8.0/22",
        "gpuspawner_subnet or docker_address_pools overlap: 10.200.8.0/22 with 10.200.0.0/16",
    ),
    "networks that are none": (
        "$a docker_address_pools: [{base: 10.200.0.0/16, size: 8}]",
        "docker_address_pools has {'base': '10.200.0.0/16', 'size': 8}",
    ),
    "a network that is none": (
        "$a firewall_allowed_networks: [campus]", "firewall_allowed_networks has campus",
    ),
    "no cards of that kind": ("s/2xa100-40gb,2xl40s/2xa1000/", "gpuspawner_simulated_cards: "),
    "a disk that is too small": (
        "$a gpuspawner_free_disk: 100000",
        "GB are free, and gpuspawner_free_disk asks for 100000. Make room, or set gpuspawner_free_disk lower",
    ),
    "a port that is none": (
        "$a firewall_host_ports: [0, 443]", "firewall_host_ports is 0, 443; ports are 1 to 65535",
    ),
    "a size that is none": ("$a docker_log_size: 10 MB", "docker_log_size is 10 MB"),
    "a secret for everybody": (
        "$a gpuspawner_secrets: {login_secret: abc}",
        "gpuspawner_secrets.login_secret is written there for everybody to read",
    ),
    "nobody who may log in": ("/demo_users/,$ d", "nobody could log in. Set gpuspawner_settings.login"),
    "a registry by its address": (
        "$a images_registry: https://registry.example.org",
        "images_registry: GPUSPAWNER_REGISTRY must be a registry and a path",
    ),
    "a registry without digests": (
        "$a images_registry: registry.example.org/lab\\nimages_build: false",
        "images/digests.toml has no digest of minimal, science",
    ),
    "no images": ("$a images_build: false", "Nobody could start a server"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIMULATED)
def test_wrong_settings_are_named(bare: FreshServer, untouched: dict[str, str], case: str) -> None:
    change, says = SIMULATED[case]
    begin(bare, "simulated", change)
    if case == "a secret for everybody":
        bare.shell(f"chmod 644 {SETTINGS}")
    must_refuse(bare, says, untouched)


def test_logins_without_anybody_allowed_are_refused(bare: FreshServer, untouched: dict[str, str]) -> None:
    login = "  login: {provider: github, client_id: a, client_secret_file: /etc/gpuspawner/a, allow: {}}"
    begin(bare, "simulated", "")
    bare.shell(f"sed -i '/demo_users/,$ d' {SETTINGS}; echo '{login}' >>{SETTINGS}")
    must_refuse(bare, "login: nobody is allowed to log in. Under allow, name groups or users", untouched)


@pytest.mark.parametrize(
    ("name", "days", "keys", "says"),
    [
        ("hub.example.com", 90, "its own", "is for hub.example.com, and tls_names has hub.example.org"),
        ("*.example.com", 90, "its own", "is for *.example.com, and tls_names has hub.example.org"),
        ("hub.example.org", 1, "its own", "ends at"),
        ("hub.example.org", 90, "another", "tls_key_file is not the key of the certificate"),
        ("hub.example.org", 90, "everybody's", "can be read by everybody on the machine that runs this"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(
    bare: FreshServer, name: str, days: int, keys: str, says: str
) -> None:
    begin(bare, "simulated", "s/internal/files/; s/localhost/hub.example.org/")
    certificate, key = make_certificate([name], days)
    key = make_certificate([name], days)[1] if keys == "another" else key
    mode = 644 if keys == "everybody's" else 600
    folder = f"{INVENTORY}/mine"
    bare.shell(
        f"echo 'tls_certificate_file: {folder}/tls.crt\ntls_key_file: {folder}/tls.key' >>{SETTINGS};"
        f"cat >{folder}/tls.crt <<'END'\n{certificate}END\ncat >{folder}/tls.key <<'END'\n{key}END\n"
        f"chmod {mode} {folder}/tls.key"
    )
    must_refuse(bare, says)


@pytest.mark.parametrize(
    ("place", "size", "images", "says"),
    [
        ("/opt", "800M", "minimal", "Below /opt only 1 GB are free, and a release takes 2. Make room."),
        (
            "/var/lib/docker",
            "20G",
            "pytorch-2.9, pytorch-2.7",
            "GB are free, and the images of images_names take up to 37. Make room",
        ),
    ],
)
def test_a_full_disk_is_seen(bare: FreshServer, place: str, size: str, images: str, says: str) -> None:
    begin(bare, "simulated", f"$a images_names: [{images}]")
    bare.shell(f"mkdir -p {place}; mount -t tmpfs -o size={size} tmpfs {place}")
    try:
        must_refuse(bare, says)
    finally:
        bare.shell(f"umount {place}; rmdir /var/lib/docker || true")


@pytest.mark.parametrize("port", [2019, 8081])
def test_a_port_that_is_taken_is_named_with_who_has_it(bare: FreshServer, port: int) -> None:
    begin(bare, "simulated", "")
    bare.shell(f"systemd-run --unit others-{port} python3 -m http.server {port}")
    bare.shell(f"for i in $(seq 50); do ss -Hltn | grep -q ':{port} ' && break; sleep 0.1; done")
    try:
        must_refuse(bare, "listens on a port that is needed (8000, 8001, 8081, 8082, 443, 80, 2019)")
    finally:
        bare.shell(f"systemctl stop others-{port}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{,}", "/etc/docker/daemon.json is not valid JSON"),
        ('{"default-runtime": "nvidia"}', "/etc/docker/daemon.json sets up the runtime nvidia"),
        ('{"runtimes": {"nvidia": {"path": "x"}}}', "/etc/docker/daemon.json sets up the runtime nvidia"),
    ],
)
def test_a_configuration_of_the_engine_that_is_wrong_is_left_as_it_is(
    bare: FreshServer, text: str, says: str
) -> None:
    begin(bare, "simulated", "")
    bare.shell(f"mkdir -p /etc/docker && echo '{text}' >/etc/docker/daemon.json")
    try:
        must_refuse(bare, says)
    finally:
        bare.shell("rm -r /etc/docker")


CARDS = {
    "no card": (None, "", "This server has no card of NVIDIA. To try things out without cards, set gpu"),
    "no version": ("", "nvidia_driver_version: newest", 'nvidia_driver_version is "newest"; write a branch'),
    "a branch that is too old": (
        "", "nvidia_driver_version: '470'", "525.60.13 or newer, and nvidia_driver_version is 470",
    ),
    "a version that is too old": (
        "", "nvidia_driver_version: 525.53.02", "525.60.13 or newer, and nvidia_driver_version is 525.53.02",
    ),
    "a driver that is too old": (
        "470.256.02", "nvidia_driver_manage: false", "525.60.13 or newer, and this server has 470.256.02",
    ),
    "no driver": ("", "nvidia_driver_manage: false", "525.60.13 or newer, and this server has none"),
    "a driver from elsewhere": (
        "580.95.05", "", "NVIDIA's driver 580.95.05 is loaded, and not from the packages nvidia-driver-cuda",
    ),
    "no toolkit": (
        "580.95.05", "nvidia_driver_manage: false\ncontainer_toolkit_manage: false",
        "container_toolkit_manage is false, and NVIDIA's container toolkit on this server is not there",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CARDS)
def test_a_server_with_cards_is_looked_at(bare: FreshServer, case: str) -> None:
    driver, more, says = CARDS[case]
    begin(bare, "cards", "")
    bare.shell(f"echo {quote(more)} >>{SETTINGS}")
    with_cards(bare, driver)
    try:
        must_refuse(bare, says)
    finally:
        bare.shell("umount /sys/bus/pci/devices /proc/driver || true; rm -rf /tmp/pci /tmp/driver")


def with_cards(server: FreshServer, driver: str | None) -> None:
    """Let the server look as if it had a card and that driver; None: no card, empty: no driver."""
    server.shell(
        "mkdir -p /tmp/pci/0000:01:00.0 /tmp/driver/nvidia;"
        f"echo {'0x1af4' if driver is None else '0x10de'} >/tmp/pci/0000:01:00.0/vendor;"
        "mount --bind /tmp/pci /sys/bus/pci/devices"
    )
    if driver:
        line = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Tue Sep  9 00:00:00 UTC 2025"
        server.shell(f"echo '{line}' >/tmp/driver/nvidia/version; mount --bind /tmp/driver /proc/driver")


def test_right_settings_pass(bare: FreshServer) -> None:
    begin(bare, "simulated", "")
    code, printed = play(bare, "site", "--tags", "always")
    assert code == 0, printed[-3000:]
