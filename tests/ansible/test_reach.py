"""What people's servers reach, port by port, and at which names they are. Slow: ``make test-ansible``."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.certificates import make_certificate
from support.client import Client
from support.fresh_server import HOME, FreshServer
from support.playing import SETTINGS, must_change_nothing, must_play
from support.sessions import run_in_kernel
from support.ssh import Laptop
from support.ssh_site import read_page
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = [pytest.mark.docker, pytest.mark.server]

AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
HUB = "hub.test"
COURSE = """\
  lab-2026: {}
people:
  grace: {}
courses:
  lab: {group: lab-2026, teachers: [grace], image: JupyterLab}
"""
KNOCK = (
    "import socket, sys\n"
    "for where in sys.argv[1:]:\n"
    "    host, port = where.rsplit(':', 1)\n"
    "    try: socket.create_connection((host.strip('[]'), int(port)), 3).close(); print(where, 'open')\n"
    "    except OSError: print(where, 'closed')\n"
)
"""Run in a server: which of these addresses can be reached."""
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192")
"""Where clouds give out credentials or settings."""


@pytest.fixture(scope="module")
def server(bare: FreshServer) -> Iterator[FreshServer]:
    """A hub at a name below which everybody's servers have names of their own."""
    folder = f"{HOME}/ansible/inventory"
    here = address(bare)
    bare.shell(
        f"echo '{here} {HUB}' >>/etc/hosts; rm -rf {folder}/mine; cp -r {folder}/simulated {folder}/mine;"
        f"sed -i 's/^tls_names: .*/tls_names: [{HUB}, {here}]/' {SETTINGS};"
        f"sed -i 's/^gpuspawner_settings:/&\\n  ssh: {{enabled: true, host: {HUB}}}/' {SETTINGS};"
        f"sed -i 's|^gpuspawner_settings:|&\\n  homes: {{kind: bind, directory: /srv/homes}}|' {SETTINGS};"
        f"sed -i 's|^gpuspawner_settings:|&\\n  courses: {{directory: /srv/courses}}|' {SETTINGS};"
        f"printf 'tls_subdomains: true\\nimages_names: [minimal]\\n' >>{SETTINGS};"
        f"cat >>{folder}/mine/policy.yml <<'END'\n{COURSE}END\n"
    )
    must_play(bare, "site")
    bare.write("/root/people.csv", "person,role,team\nada,student,blue\n")
    bare.must("gpuspawner", "roster", "import", "lab", "/root/people.csv", "--yes")
    yield bare
    # It is there until the last test of all, and would take memory and time from the others.
    bare.run("sh", "-c", "systemctl stop 'gpuspawner-*' caddy campus; docker ps -q | xargs -r docker kill")


def address(server: FreshServer) -> str:
    return server.must("hostname", "--ip-address", folder="/").split()[0]


@contextmanager
def names(server: FreshServer) -> Iterator[None]:
    """As if a name server answered for the hub's name and all below it."""
    known, here = socket.getaddrinfo, address(server)

    def ask(host: Any, *more: Any, **others: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        ours = name is not None and (name == HUB or name.endswith(f".{HUB}"))
        return known(here if ours else host, *more, **others)

    socket.getaddrinfo = ask
    try:
        yield
    finally:
        socket.getaddrinfo = known


@pytest.fixture(scope="module")
def people(server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    """Two people with servers, who trust the server's own authority alone."""
    file = tmp_path_factory.mktemp("tls") / "root.crt"
    file.write_text(server.must("cat", AUTHORITY))
    found = []
    with names(server):
        for name in ("ada", "grace"):
            password = server.must("cat", f"{HOME}/ansible/inventory/mine/secrets/{name}").strip()
            client = Client(f"https://{HUB}", name, password)
            client.session.verify = str(file)
            client.session.trust_env = False
            client.login()
            started = client.spawn({"gpus": 1}, seconds=300)
            assert started.ready, started.message
            found.append(client)
        yield found


def test_everybody_works_at_a_name_of_their_own(people: list[Client]) -> None:
    ada = people[0]
    page = ada.session.get(f"https://{HUB}/hub/user-redirect/lab", timeout=60)
    assert page.status_code == 200
    assert page.url.startswith(f"https://ada.{HUB}/user/ada/lab")
    queue = ada.log_in_to_controller()
    assert (queue.status_code, queue.url) == (200, f"https://{HUB}/services/gpu/queue")
    # The hub's login cookie does not go where people's code answers.
    sent = {cookie.name: cookie.domain.lstrip(".") for cookie in ada.session.cookies}
    assert sent["jupyterhub-hub-login"] == HUB
    # At another's name, and at the hub's, this server is not.
    odd = ada.session.get(f"https://grace.{HUB}/user/ada/api/status", allow_redirects=False, timeout=60)
    assert odd.status_code in (302, 404), odd.text


def test_a_kernel_runs_through_the_websocket_at_that_name(people: list[Client]) -> None:
    ada = people[0]
    token = ada.api("POST", "/users/ada/tokens", json={"note": "a kernel"}).json()["token"]
    headers = {"Authorization": f"token {token}"}
    mine = f"ada.{HUB}/user/ada"
    made = ada.session.post(
        f"https://{mine}/api/kernels", json={"name": "python3"}, headers=headers, timeout=60
    )
    assert made.status_code == 201, made.text

    async def run() -> str:
        where = f"wss://{mine}/api/kernels/{made.json()['id']}/channels"
        request = HTTPRequest(where, headers=headers, ca_certs=str(ada.session.verify))
        return await run_in_kernel(await websocket_connect(request), "print(6 * 7)")

    assert asyncio.run(run()) == "42\n"


@pytest.mark.usefixtures("people")
def test_homes_and_folders_of_a_course_are_directories_of_this_machine(server: FreshServer) -> None:
    for person, script in (
        ("ada", "echo mine >~/thesis && echo ours >~/courses/lab/team/plan"),
        ("grace", "cat ~/courses/lab/teams/blue/plan && echo hers >~/thesis"),
    ):
        (container, *_) = server.must(
            "docker", "ps", "--quiet", "--filter", f"label=gpuspawner.owner={person}"
        ).split()
        server.must("docker", "exec", container, "sh", "-c", script)
    found = server.shell(
        "find /srv/homes /srv/courses -type f -name '[tp]*' -printf '%f %u ' -exec cat '{}' ';'"
    )
    assert sorted(found.splitlines()) == ["plan 1000 ours", "thesis 1000 hers", "thesis 1000 mine"]


def test_browsers_are_kept_on_tls(server: FreshServer, people: list[Client]) -> None:
    plain = people[0].session.get(f"http://{HUB}/hub/login", allow_redirects=False, timeout=60)
    assert plain.status_code == 308
    assert plain.headers["Location"] == f"https://{HUB}/hub/login"


def containers(server: FreshServer) -> list[tuple[int, str]]:
    """Process and address of each person's server."""
    listed = "docker ps --quiet --filter label=gpuspawner.ledger"
    told = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    lines = server.shell(f"docker inspect --format '{told}' $({listed})").splitlines()
    return [(int(pid), where) for pid, where in (line.split() for line in lines)]


def reach(server: FreshServer, pid: int, *addresses: str) -> dict[str, str]:
    """Which addresses can be reached from inside a server's network."""
    seen = server.must("nsenter", "--target", str(pid), "--net", "python3", "-c", KNOCK, *addresses)
    return dict(line.rsplit(" ", 1) for line in seen.splitlines())


def test_of_this_machine_two_ports_are_reached_and_no_others(
    server: FreshServer, people: list[Client]
) -> None:
    server.shell(
        "systemctl is-active others || systemd-run --unit others python3 -m http.server --bind :: 9999"
    )
    server.shell("for i in $(seq 50); do ss -Hltn | grep -q ':9999 ' && break; sleep 0.1; done")
    ports = sorted({int(one) for one in re.findall(r"[\]\d*]:(\d+) ", server.must("ss", "-Hltn"))})
    assert {80, 443, 8000, 8001, 8081, 8082, 9999, 2019} <= set(ports)
    places = [
        "10.201.0.1",
        address(server),
        *re.findall(r"inet (10\.200\.\S+)/", server.must("ip", "address")),
    ]
    asked = [f"{place}:{port}" for place in places for port in ports]
    pid = containers(server)[0][0]
    seen = reach(server, pid, *asked)
    assert {where for where, how in seen.items() if how == "open"} == {"10.201.0.1:8081", "10.201.0.1:8082"}
    # Somebody does listen there, and is reached from elsewhere.
    here = server.must("python3", "-c", KNOCK, f"{address(server)}:9999", "10.201.0.1:9999")
    assert here.count(" open") == 2


@pytest.fixture
def campus(server: FreshServer) -> Iterator[list[str]]:
    """One more machine, beside the server, at addresses that people must not reach; it serves on port 80."""
    places = ["10.77.0.2", *METADATA, "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1"]
    server.shell(
        "ip netns add campus && ip link add toward type veth peer name eth0 netns campus &&"
        " ip address add 10.77.0.1/24 dev toward && ip link set toward up &&"
        " ip -n campus address add 10.77.0.2/24 dev eth0 && ip -n campus link set eth0 up &&"
        " ip -n campus link set lo up && ip -n campus route add default via 10.77.0.1 &&"
        f" for one in {' '.join(places[1:])}; do"
        " ip -n campus address add $one/32 dev lo; ip route add $one/32 via 10.77.0.2; done;"
        " systemd-run --quiet --unit campus ip netns exec campus python3 -m http.server 80;"
        " for i in $(seq 50); do ip netns exec campus ss -Hltn | grep -q :80 && break; sleep 0.1; done"
    )
    yield [f"{place}:80" for place in places]
    server.shell("systemctl stop campus; ip netns delete campus; ip link delete toward 2>/dev/null || true")


def test_servers_do_not_reach_each_other_nor_clouds_nor_private_networks(
    server: FreshServer, people: list[Client], campus: list[str]
) -> None:
    (one, _), (_, other) = containers(server)[:2]
    # The server itself reaches all of them: that people do not is due to the rules.
    assert server.must("python3", "-c", KNOCK, *campus).count(" open") == len(campus)
    seen = reach(server, one, *campus, f"{other}:8888", "deb.debian.org:80")
    assert {where for where, how in seen.items() if how == "open"} == {"deb.debian.org:80"}
    assert reach(server, containers(server)[1][0], f"{other}:8888") == {f"{other}:8888": "open"}


def test_a_network_and_a_port_that_are_allowed_are_reached(
    server: FreshServer, people: list[Client], campus: list[str]
) -> None:
    pid, before = containers(server)[0][0], server.started()
    more = "firewall_allowed_networks: [10.77.0.0/24]\\nfirewall_host_ports: [9999]"
    server.shell(f"printf '{more}\\n' >>{SETTINGS}")
    try:
        must_play(server, "site")
        asked = ["10.77.0.2:80", "10.201.0.1:9999", f"{METADATA[0]}:80"]
        assert list(reach(server, pid, *asked).values()) == ["open", "open", "closed"]
        assert server.started() == before
    finally:
        server.shell(f"sed -i '/^firewall_/d' {SETTINGS}")


def test_nothing_is_reached_by_ipv6_either(server: FreshServer, people: list[Client]) -> None:
    """A container gets no such address; here one is given to it, as an Engine with IPv6 would."""
    pid = containers(server)[0][0]
    inside = f"nsenter --target {pid} --net"
    interface = server.shell(f"{inside} ip -o link | grep -o 'eth[0-9]*' | head -1").strip()
    on = [f"net.ipv6.conf.{name}.disable_ipv6=0" for name in ("all", interface)]
    server.shell(
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.gpuspawner0.disable_ipv6=0"
        " net.ipv6.conf.all.forwarding=1 &&"
        " ip -6 address add fd99::1/64 dev gpuspawner0 nodad &&"
        " for one in fd98::1 2001:db8::1; do ip -6 address add $one/128 dev lo; done &&"
        f" {inside} sysctl -qw {' '.join(on)} &&"
        f" {inside} ip -6 address add fd99::2/64 dev {interface} nodad &&"
        f" {inside} ip -6 route add default via fd99::1"
    )
    try:
        places = [f"[{place}]:9999" for place in ("fd99::1", "fd98::1", "2001:db8::1")]
        seen = reach(server, pid, *places, "[fd00:ec2::254]:80")
        assert set(seen.values()) == {"closed"}
        here = server.must("python3", "-c", KNOCK, *places)
        assert here.count(" open") == 3
        # It is the rules that refuse: without them the way is open.
        server.must("systemctl", "stop", "gpuspawner-firewall")
        assert reach(server, pid, places[0]) == {places[0]: "open"}
    finally:
        server.must("systemctl", "start", "gpuspawner-firewall")
        server.shell(
            "ip -6 address delete fd99::1/64 dev gpuspawner0;"
            " for one in fd98::1 2001:db8::1; do ip -6 address delete $one/128 dev lo; done"
        )


def is_open(server: FreshServer, port: int) -> bool:
    """Whether somebody elsewhere reaches a port of the server."""
    with socket.socket() as one:
        one.settimeout(3)
        return one.connect_ex((address(server), port)) == 0


@pytest.fixture(scope="module")
def laptop(people: list[Client], tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Ada's own machine, whose key she has added."""
    made = Laptop(tmp_path_factory.mktemp("machines") / "ada@laptop")
    people[0].log_in_to_controller()
    answer = people[0].gpu("POST", "/keys", json={"key": made.public})
    assert answer.status_code == 201, answer.text
    return made


def test_where_ufw_filters_it_is_opened_for_what_is_needed(
    server: FreshServer, people: list[Client], laptop: Laptop
) -> None:
    server.shell("apt-get install -y -q --no-install-recommends ufw; systemctl is-active others")
    server.shell("ufw allow 9998/tcp; ufw deny 80/tcp comment 'no plain web'; ufw --force enable")
    assert not any(is_open(server, port) for port in (443, 2222))
    must_play(server, "site")
    opened = {port: is_open(server, port) for port in (80, 443, 2222, 8001, 9999)}
    # Who refuses port 80 by a rule of their own goes on to.
    assert opened == {80: False, 443: True, 2222: True, 8001: False, 9999: False}
    ada = people[0]
    ada.stop()
    assert ada.spawn({"gpus": 1}, seconds=300).ready, "a server that is started now reaches the hub"
    config, known_hosts = read_page(ada)
    laptop.write(config.replace(f"HostName {HUB}", f"HostName {address(server)}"), known_hosts)
    done = laptop.run("gpu", "nvidia-smi -L; exit 7")
    assert done.returncode == 7, done.stderr
    assert "UUID: GPU-" in done.stdout
    before = server.started()
    must_change_nothing(server)
    assert server.started() == before


def test_where_port_443_is_the_only_way_for_ssh_its_port_is_closed_again(
    server: FreshServer, people: list[Client], laptop: Laptop
) -> None:
    server.shell(f"sed -i 's/  ssh: {{enabled: true,/& ways: web,/' {SETTINGS}")
    must_play(server, "site")
    assert (is_open(server, 443), is_open(server, 2222)) == (True, False)
    assert "2222" not in server.must("ufw", "show", "added")
    ada = people[0]
    made = ada.api("POST", "/users/ada/tokens", json={"scopes": ["custom:gpu:ssh"], "note": "443"}).json()
    assert made["expires_at"]
    # From the server itself, which finds the hub by its name; the program is installed as the page says.
    server.shell(f"python3 -m venv /root/client && /root/client/bin/pip install -q {HOME}/images/session")
    file = laptop.folder / "token"
    file.write_text(made["token"])
    client = f"env SSL_CERT_FILE={AUTHORITY} /root/client/bin/gpuspawner-session"
    config, known_hosts = read_page(ada)
    laptop.write(
        config.replace("gpuspawner-session ssh-proxy", f"{client} ssh-proxy --token-file {file}"), known_hosts
    )
    for one in laptop.folder.iterdir():
        server.write(str(one), one.read_text())
    server.shell(f"chmod 600 {laptop.folder}/*")
    assert "UUID: GPU-" in server.must(*laptop.command("gpu", "nvidia-smi -L"))
    left = server.must("ufw", "show", "added")
    assert "9998/tcp" in left, "what is somebody's own stays"


def test_a_certificate_of_ones_own_is_served_and_a_new_one_after_it(
    server: FreshServer, people: list[Client]
) -> None:
    folder, before = f"{HOME}/ansible/inventory/mine", server.started()
    files = f"tls_certificate_file: {folder}/tls.crt\ntls_key_file: {folder}/tls.key"
    server.shell(
        f"sed -i 's/^tls_certificate: .*/tls_certificate: files/' {SETTINGS}; echo '{files}' >>{SETTINGS}"
    )
    for _ in range(2):
        certificate, key = make_certificate([HUB, f"*.{HUB}", address(server)], 90)
        server.shell(
            f"cat >{folder}/tls.crt <<'END'\n{certificate}END\n"
            f"umask 077; cat >{folder}/tls.key <<'END'\n{key}END\n"
        )
        must_play(server, "site")
        shown = f"openssl s_client -connect {HUB}:443 -servername ada.{HUB} </dev/null 2>/dev/null"
        served = server.shell(f"{shown} | openssl x509")
        assert served.strip() == certificate.strip()
    page = people[0].session.get(f"https://{HUB}/hub/login", verify=False, timeout=60)
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    must_change_nothing(server)
    # Caddy reads its configuration anew; whoever is connected stays so.
    assert server.started() == before


CAMPUS = f"""
{{
    admin off
    skip_install_trust
    storage file_system /root/campus
    http_port 14080
    https_port 14000
    pki {{
        ca local {{
            name Campus
        }}
    }}
}}
https://{HUB}:14000 {{
    tls internal
    acme_server
}}
"""
"""An authority for ACME, which looks at the hub's ports before it gives a certificate."""


def test_a_certificate_of_an_authority_that_is_asked_by_acme(server: FreshServer) -> None:
    server.write("/root/campus.caddyfile", CAMPUS)
    server.shell(
        "systemd-run --unit campus caddy run --config /root/campus.caddyfile --adapter caddyfile;"
        "root=/root/campus/pki/authorities/local/root.crt;"
        "for i in $(seq 100); do [ -s $root ] || sleep 0.1; done;"
        "cp $root /usr/local/share/ca-certificates/campus.crt;"
        "update-ca-certificates; systemctl restart caddy"  # what it trusts it reads when it starts
    )
    server.shell(
        f"sed -i 's/^tls_certificate: .*/tls_certificate: acme/; s/^tls_names: .*/tls_names: [{HUB}]/;"
        f" /^tls_subdomains:/ d' {SETTINGS};"
        f"echo 'tls_acme_directory: https://{HUB}:14000/acme/local/directory' >>{SETTINGS}"
    )
    must_play(server, "site")
    shown = f"openssl s_client -connect {HUB}:443 -servername {HUB} -verify_return_error </dev/null"
    assert re.search(r"issuer=.*Campus", server.shell(shown))
    must_change_nothing(server)
