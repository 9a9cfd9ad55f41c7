"""Whether the gateway of SSH can run, and answers."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from gpuspawner.doctor.checks import check_all
from gpuspawner.doctor.facts import Facts
from gpuspawner.doctor.findings import Level
from gpuspawner.doctor.gateway import CHECK, GatewayFacts, greet, is_filtered, read_gateway
from support.build import NOW

WELL = GatewayFacts("127.0.0.1", 2222, "/s/ssh/secret", secret_mode=0o600)


def find(gateway: GatewayFacts | None) -> list[tuple[Level, str, str]]:
    facts = Facts(NOW, gateway=gateway)
    return [(one.level, one.what, one.fix) for one in check_all(facts) if one.check == CHECK]


def test_all_is_well_or_not_switched_on() -> None:
    assert find(WELL) == [(Level.OK, "The gateway of SSH answers at 127.0.0.1:2222", "")]
    assert find(replace(WELL, secret_mode=None, secret_unseen=True))[0][0] is Level.OK
    assert find(replace(WELL, secret_mode=0o640))[0][0] is Level.OK, "the group may read it"
    assert find(None) == []


@pytest.mark.parametrize(
    ("gateway", "level", "what", "fix"),
    [
        (
            replace(WELL, error="Connection refused"),
            Level.ERROR,
            "the gateway does not answer at 127.0.0.1:2222: Connection refused.",
            "systemctl restart gpuspawner-ssh",
        ),
        (
            replace(WELL, has_program=False),
            Level.ERROR,
            "/usr/sbin/sshd is missing",
            "apt-get install openssh-server",
        ),
        (replace(WELL, secret_mode=None), Level.ERROR, "no secret /s/ssh/secret", "gpuspawner-controller"),
        (replace(WELL, secret_mode=0o644), Level.ERROR, "has mode 0644", "chmod 600 /s/ssh/secret"),
        (replace(WELL, secret_mode=0o660), Level.ERROR, "has mode 0660", "chmod 600 /s/ssh/secret"),
        (replace(WELL, filtered=True), Level.WARNING, "nobody come to port 2222", "ufw allow 2222/tcp"),
    ],
)
def test_what_is_wrong_is_said_with_its_fix(gateway: GatewayFacts, level: Level, what: str, fix: str) -> None:
    (found,) = find(gateway)
    assert found[0] is level
    assert what in found[1]
    assert fix in found[2]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\n", "another program answers there"),
        (b"", "another program answers there"),
    ],
)
def test_an_ssh_server_is_known_by_what_it_says_first(said: bytes, error: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(said)

        thread = Thread(target=answer)
        thread.start()
        assert greet("127.0.0.1", server.getsockname()[1]) == error
        thread.join()


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        assert greet("127.0.0.1", taken.getsockname()[1]) == "Connection refused"


UFW = """Status: active

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW       Anywhere
443/tcp                    ALLOW       Anywhere
{port:<26} {what:<11} Anywhere                   # gpuspawner-ssh
"""


@pytest.mark.parametrize(
    ("status", "filtered"),
    [
        ("", False),
        ("Status: inactive\n", False),
        (UFW.format(port="2222/tcp", what="ALLOW"), False),
        (UFW.format(port="2222", what="ALLOW IN"), False),
        (UFW.format(port="2222/tcp", what="DENY"), True),
        (UFW.format(port="22222/tcp", what="ALLOW"), True),
    ],
)
def test_a_filter_that_leaves_the_port_closed(status: str, filtered: bool) -> None:
    assert is_filtered(status, 2222) is filtered


def test_what_is_there_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "gpuspawner.yml"
    text = f"state_dir: {tmp_path}\nimages: {{Minimal: 'gpuspawner/minimal:1'}}\n"
    assert read_gateway(None) is None
    file.write_text(text)
    assert read_gateway(file) is None, "it is not switched on"
    file.write_text("nonsense: 1\n")
    assert read_gateway(file) is None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file.write_text(f"{text}controller: {{enabled: true}}\nssh: {{enabled: true, port: {port}}}\n")
        found = read_gateway(file)
        assert found
        assert (found.address, found.port, found.error) == ("127.0.0.1", port, "Connection refused")
        assert (found.secret, found.secret_mode) == (str(tmp_path / "ssh" / "secret"), None)
        (tmp_path / "ssh").mkdir()
        (tmp_path / "ssh" / "secret").write_text("x")
        (tmp_path / "ssh" / "secret").chmod(0o604)
        found = read_gateway(file)
        assert found
        assert found.secret_mode == 0o604
