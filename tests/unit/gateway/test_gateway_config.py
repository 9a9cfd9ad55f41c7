"""The configuration of the gateway's sshd, as OpenSSH itself reads it."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.adapters.ssh_files import SSHD
from gpuspawner.core.errors import SettingsError
from gpuspawner.gateway import ask
from gpuspawner.gateway.config import Setup, build_config
from gpuspawner.gateway.keeper import SEPARATE, Keeper, _write_config, raise_open_files, require_ready
from gpuspawner.policy.settings import Settings


def make_setup(folder: Path, address: str = "127.0.0.1") -> Setup:
    program = Path(ask.__file__).read_text()
    return Setup(folder, (address,), 2222, "nobody", Path("/usr/bin/python3"), program, "gpuspawner-ssh-test")


@pytest.fixture
def effective(tmp_path: Path) -> dict[str, str]:
    """What OpenSSH makes of it."""
    if os.getuid() == 0:
        SEPARATE.mkdir(exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host_key"], check=True)
    (tmp_path / "config").write_text(build_config(make_setup(tmp_path)))
    done = subprocess.run([SSHD, "-T", "-f", tmp_path / "config"], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.ssh
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("maxsessions", "0"),
        ("allowtcpforwarding", "local"),
        ("permitopen", "*:2200"),
        ("permitlisten", "none"),
        ("allowagentforwarding", "no"),
        ("allowstreamlocalforwarding", "no"),
        ("x11forwarding", "no"),
        ("permittunnel", "no"),
        ("gatewayports", "no"),
        ("permittty", "no"),
        ("forcecommand", "/usr/sbin/nologin"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("authenticationmethods", "publickey"),
        ("authorizedkeysfile", "none"),
        ("allowusers", "nobody"),
        ("permituserenvironment", "no"),
        ("clientaliveinterval", "30"),
        ("persourcemaxstartups", "30"),
        ("persourcenetblocksize", "32:64"),
    ],
)
def test_nothing_is_open_but_one_s_own_doors(effective: dict[str, str], option: str, value: str) -> None:
    assert effective[option] == value


@pytest.mark.ssh
def test_the_program_that_sshd_runs_needs_no_file_of_ours(effective: dict[str, str]) -> None:
    command = effective["authorizedkeyscommand"]
    assert command.startswith("/usr/bin/python3 -I -S -c ")
    assert command.endswith(" gpuspawner-ssh-test %t %k")
    assert str(Path(ask.__file__).parent) not in command


@pytest.mark.ssh
def test_an_option_of_newer_versions_is_left_out_where_this_one_does_not_know_it(
    effective: dict[str, str], tmp_path: Path
) -> None:
    assert effective
    _write_config(tmp_path / "config", build_config(make_setup(tmp_path)))
    done = subprocess.run([SSHD, "-T", "-f", tmp_path / "config"], capture_output=True, text=True, check=True)
    assert ("max:30" in done.stdout) == ("persourcepenalties" in done.stdout)


def test_an_address_of_version_6_stands_in_brackets(tmp_path: Path) -> None:
    assert "ListenAddress [::]:2222" in build_config(make_setup(tmp_path, "::"))


@pytest.mark.parametrize(
    ("ssh", "listens"),
    [
        ({}, ("0.0.0.0",)),
        ({"ways": "port"}, ("0.0.0.0",)),
        ({"ways": "web"}, ("127.0.0.1",)),
        ({"ways": "web", "address": "192.0.2.1"}, ("127.0.0.1",)),
        ({"address": "127.0.0.1"}, ("127.0.0.1",)),
        ({"address": "192.0.2.1"}, ("192.0.2.1", "127.0.0.1")),
        ({"address": "::"}, ("::", "127.0.0.1")),
        ({"address": "::", "ways": "port"}, ("::",)),
    ],
)
def test_it_listens_where_people_come_from(
    tmp_path: Path, ssh: dict[str, object], listens: tuple[str, ...]
) -> None:
    assert make_settings(tmp_path, enabled=True, **ssh).ssh.addresses == listens
    setup = replace(make_setup(tmp_path), addresses=listens)
    found = [line for line in build_config(setup).splitlines() if line.startswith("ListenAddress")]
    assert len(found) == len(listens)


@pytest.mark.parametrize(
    ("answer", "printed"), [(b"restrict ssh-ed25519 AAAA\n", "restrict ssh-ed25519 AAAA\n"), (b"", "")]
)
def test_the_program_hands_the_key_on_and_prints_the_answer(answer: bytes, printed: str) -> None:
    name = f"gpuspawner-test-{os.urandom(4).hex()}"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1000))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", Path(ask.__file__).read_text(), name, "ssh-ed25519", "AAAA"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        thread.join()
    assert (heard, done.stdout) == ([b"ssh-ed25519 AAAA\n"], printed)


def test_who_fills_the_queue_in_front_of_the_program_keeps_nobody_out() -> None:
    name = f"gpuspawner-test-{os.urandom(4).hex()}"
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0{name}")
        listener.listen(1)
        with suppress(BlockingIOError):
            while True:
                stranger = opened.enter_context(socket.socket(socket.AF_UNIX))
                stranger.setblocking(False)
                stranger.connect(f"\0{name}")
        program = opened.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", Path(ask.__file__).read_text(), name, "kind", "AAAA"],
                stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        with suppress(subprocess.TimeoutExpired):
            program.wait(1)
        heard = b""
        listener.settimeout(20)
        while not heard:
            connection = opened.enter_context(listener.accept()[0])
            connection.settimeout(0.1)
            with suppress(TimeoutError):
                heard = connection.recv(1000)
        assert heard == b"kind AAAA\n"
        connection.sendall(b"yes")
        connection.close()
        assert program.communicate(timeout=20)[0] == "yes"


def test_without_anybody_who_answers_the_program_fails_and_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", Path(ask.__file__).read_text(), "gpuspawner-nobody", "k", "A"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stdout == ""


def make_settings(tmp_path: Path, **ssh: object) -> Settings:
    data = {"state_dir": str(tmp_path), "images": {"a": "b"}, "controller": {"enabled": True}, "ssh": ssh}
    return Settings.model_validate(data)


@pytest.mark.parametrize(
    ("ssh", "says"),
    [
        ({}, "ssh.enabled is false"),
        ({"enabled": True, "account": "no-such-account"}, "this host has no such account"),
        ({"enabled": True, "account": "root"}, "must not be root"),
    ],
)
def test_what_is_missing_is_said_with_its_fix(tmp_path: Path, ssh: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        require_ready(make_settings(tmp_path, **ssh), programs=())
    own = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid():
        require_ready(make_settings(tmp_path, enabled=True, account=own), programs=())
    with pytest.raises(SettingsError, match="apt-get install openssh-server"):
        require_ready(make_settings(tmp_path, enabled=True), programs=("/nowhere/sshd",))


async def test_a_stranger_on_this_host_who_asks_what_a_key_opens_is_sent_away_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(make_settings(tmp_path, enabled=True), tmp_path)
    name = f"\0gpuspawner-test-{os.urandom(4).hex()}"
    async with await asyncio.start_unix_server(keeper._answer, name):
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(name)
            async with asyncio.timeout(5):
                assert await reader.read() == b"", "also one who says nothing"
            writer.close()
    assert caplog.text.count("Somebody asks what a key opens") == 1, "the log is for who connected"


async def test_a_key_opens_the_doors_that_can_be_opened_and_none_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(make_settings(tmp_path, enabled=True), tmp_path)
    doors, asked = ["127.64.0.0", "127.64.0.1"], []
    line = "restrict," + ",".join(f'permitopen="{one}:2200"' for one in doors) + " ssh-ed25519 AAAA"

    async def ask(what: str, **said: object) -> dict[str, object]:
        asked.append((what, said))
        return {"line": line, "fingerprint": "SHA256:x", "addresses": doors}

    shut = {"127.64.0.0": "Address already in use"}
    monkeypatch.setattr(keeper._desk, "ask", ask)
    monkeypatch.setattr(keeper._relay, "open_doors", lambda _: shut)
    assert await keeper._judge("ssh-ed25519 AAAA", os.getpid()) == (
        'restrict,permitopen="127.64.0.1:2200" ssh-ed25519 AAAA'
    )
    (one,) = keeper._monitors.living()
    assert one.addresses == {"127.64.0.1"}
    told = {"fingerprint": "SHA256:x", "address": "127.64.0.0", "why": "Address already in use"}
    assert asked[1:] == [("shut", told)]
    shut["127.64.0.1"] = "Too many open files"
    assert await keeper._judge("ssh-ed25519 AAAA", os.getpid()) == ""
    assert keeper._monitors.living() == []


def test_as_many_files_as_may_be_are_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
