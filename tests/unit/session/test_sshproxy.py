"""``gpuspawner-session ssh-proxy`` as OpenSSH runs it: a program with two pipes."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from gpuspawner_session.cli import main
from gpuspawner_session.sshproxy import TOKEN_VARIABLE, ProxyError, find_proxy, read_address, read_token
from support.certificates import make_certificate
from support.fake_hub import serving
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

TOKEN = "0123456789abcdef"
SESSION = Path(__file__).parents[3] / "images" / "session"


class Way(WebSocketHandler):
    """Gives bytes back; ``stop``, ``done`` and ``code`` end it, and ``drop`` without a word."""

    def prepare(self) -> None:
        assert self.request.headers["Authorization"] == f"token {TOKEN}"
        assert not {"Origin", "Cookie", "Sec-WebSocket-Extensions"} & set(self.request.headers)

    async def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        await self.write_message(message, binary=True)
        if message == b"stop":
            self.close(1008, "The key was\nremoved.\x1b[2J")
        if message == b"done":
            self.close(1008, "Your right to SSH has ended.")
        if message == b"code":
            self.close(1011)
        if message == b"drop":
            self.ws_connection.stream.close()  # type: ignore[union-attr]


class Says(RequestHandler):
    """Answers with what the path says."""

    def get(self, status: str) -> None:
        self.set_status(int(status))
        self.set_header("Content-Type", "text/plain")
        if status == "302":
            self.set_header("Location", "https://login.example/\x1b[2J".replace("\x1b", "%1b"))
        self.finish(f"Because of {status}.\x1b[2J\n")


def make_server(**options: Any) -> HTTPServer:
    return HTTPServer(Application([("/ssh/way", Way), (r"/ssh/(\d+)", Says)]), **options)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serving(make_server) as url:
        yield url


def environment(**more: str) -> dict[str, str]:
    usual = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and k != "SSL_CERT_FILE"}
    return {**usual, "PYTHONPATH": str(SESSION), TOKEN_VARIABLE: TOKEN, **more}


def proxy(url: str, sent: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gpuspawner_session", "ssh-proxy", url],
        input=sent, env=environment(**more), capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def test_bytes_go_there_and_back_and_the_end_of_the_input_ends_it(hub: str) -> None:
    data = os.urandom(3_000_000)
    done = proxy(f"{hub}/ssh/way", data)
    # What is on its way when OpenSSH ends is of no use to it; nothing is changed on the way.
    assert (done.returncode, done.stderr) == (0, b"")
    assert data.startswith(done.stdout)
    assert done.stdout


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"stop", "The key was removed. [2J."),
        (b"done", "Your right to SSH has ended."),
        (b"code", "1011."),
    ],
)
def test_an_end_by_the_hub_is_told_in_one_line(hub: str, sent: bytes, says: str) -> None:
    words = [sys.executable, "-m", "gpuspawner_session", "ssh-proxy", f"{hub}/ssh/way"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe) as client:
        assert client.stdin
        client.stdin.write(sent)
        client.stdin.flush()
        assert client.wait(30) == 1, "although its input is still open"
        assert client.stdout
        assert client.stderr
        assert client.stdout.read() == sent
        told = client.stderr.read().decode()
    assert told == f"gpuspawner-session ssh-proxy: The hub has ended it: {says} {hub}/ssh may say more.\n"


def test_a_connection_that_ends_without_a_word_is_told(hub: str) -> None:
    words = [sys.executable, "-m", "gpuspawner_session", "ssh-proxy", f"{hub}/ssh/way"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe) as client:
        assert client.stdin
        client.stdin.write(b"drop")
        client.stdin.flush()
        assert client.wait(30) == 1, "although its input is still open"
        assert client.stderr
        assert client.stderr.read() == (
            b"gpuspawner-session ssh-proxy: The connection to 127.0.0.1 is lost: it ended without a word.\n"
        )


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("401", "Because of 401. [2J Make a new one on {hub}/ssh"),
        ("403", "Because of 403. [2J {hub}/ssh may say more."),
        ("429", "Because of 429. [2J {hub}/ssh may say more."),
        ("404", "127.0.0.1 has no way for SSH here. Because of 404. [2J"),
        ("302", "127.0.0.1 sends on to https://login.example/%1b[2J, which is not followed."),
        ("502", "127.0.0.1 answers HTTP 502. Because of 502. [2J"),
        ("200", "127.0.0.1 answers HTTP 200. Because of 200. [2J"),
    ],
)
def test_why_it_does_not_open_is_told_in_one_line(hub: str, status: str, says: str) -> None:
    done = proxy(f"{hub}/ssh/{status}")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"gpuspawner-session ssh-proxy: {says.format(hub=hub)}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert TOKEN not in line


def test_a_hub_that_is_not_there() -> None:
    done = proxy("http://127.0.0.1:9/ssh/way")
    assert b"127.0.0.1 is not reached: " in done.stderr
    assert done.returncode == 1


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A hub with a certificate for hub.test and localhost, and the file of its authority."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(["hub.test", "localhost"], 30)
    (folder / "certificate").write_text(certificate)
    (folder / "key").write_text(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "certificate", folder / "key")
    with serving(lambda: make_server(ssl_options=context)) as url:
        yield url.rpartition(":")[2], folder / "certificate"


def test_only_a_certificate_of_a_known_authority_for_this_name_is_taken(encrypted: tuple[str, Path]) -> None:
    port, authority = encrypted
    done = proxy(f"https://localhost:{port}/ssh/way", b"bytes", SSL_CERT_FILE=str(authority))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"bytes", b"")
    done = proxy(f"https://localhost:{port}/ssh/way")
    assert b"The certificate of localhost is not trusted (self-signed certificate)" in done.stderr
    assert b"SSL_CERT_FILE" in done.stderr
    done = proxy(f"https://127.0.0.1:{port}/ssh/way", SSL_CERT_FILE=str(authority))
    assert b"The certificate of 127.0.0.1 is not trusted (IP address mismatch" in done.stderr


class Between(socketserver.BaseRequestHandler):
    """A web proxy that leads on to one server, for whoever has the password."""

    goal = 0

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        known = b"\r\nProxy-Authorization: Basic YWRhOnA6dw==\r\n" in head
        if not known or not head.startswith(b"CONNECT hub.test:443 HTTP/1.1\r\n"):
            self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.goal)) as far:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self.pump, args=(far, self.request))
            back.start()
            self.pump(self.request, far)
            back.join()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_web_proxy_in_between_is_gone_through(encrypted: tuple[str, Path]) -> None:
    port, authority = encrypted
    Between.goal = int(port)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Between) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = f"127.0.0.1:{server.server_address[1]}"
        more = {"SSL_CERT_FILE": str(authority), "HTTPS_PROXY": f"http://ada:p%3Aw@{where}"}
        done = proxy("https://hub.test/ssh/way", b"bytes" * 50_000, **more)
        unknown = proxy("https://hub.test/ssh/way", **{**more, "HTTPS_PROXY": f"http://{where}"})
        server.shutdown()
        thread.join()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout
    assert b"The proxy 127.0.0.1 does not lead to hub.test (HTTP 407)." in unknown.stderr


class Refuses(socketserver.StreamRequestHandler):
    """A web proxy that keeps what it is asked."""

    asked: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        while (line := self.rfile.readline()).strip():
            self.asked.append(line)
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def test_a_web_proxy_is_told_an_address_of_version_6_in_brackets() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        done = proxy("https://[2001:db8::1]/ssh/way", HTTPS_PROXY=where)
        thread.join()
    assert b"does not lead to 2001:db8::1 (HTTP 403)." in done.stderr
    assert Refuses.asked == [
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n",
        b"Host: [2001:db8::1]:443\r\n",
    ]


def test_which_web_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = read_address("https://hub.test/ssh/way")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(ProxyError, match="only http://HOST:PORT is known"):
        find_proxy(hub)
    for wrong in ("socks5://ada:pw@proxy.test", "http://ada:pw@proxy.test:99999", "http://ada:pw@[::1"):
        monkeypatch.setenv("https_proxy", wrong)
        with pytest.raises(ProxyError, match="only http://HOST:PORT is known") as error:
            find_proxy(hub)
        assert "pw" not in str(error.value), "programs keep what is told in logs"
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    assert (found := find_proxy(hub)) is not None
    assert found.hostname == "proxy.test"
    assert find_proxy(read_address("https://localhost/ssh/way")) is None
    monkeypatch.setenv("no_proxy", "hub.test")
    assert find_proxy(hub) is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hub.example.org/ssh/way", "is not encrypted"),
        ("http://127.evil.example/ssh/way", "is not encrypted"),
        ("hub.example.org", "is no address"),
        ("ftp://hub.example.org/", "is no address"),
        ("https://hub.example.org:x/", "is no address"),
        ("https://ada@hub.example.org/", "is no address"),
        ("https:///ssh/way", "is no address"),
        ("https://hub..example.org/ssh/way", "is no address"),
        ("https://:password@hub.example.org/", "is no address"),
        ("https://hub.example.org/a b", "is no address"),
        ("https://hub.example.org/\r\nX: y", "is no address"),
    ],
)
def test_only_an_address_that_keeps_the_token_secret_is_taken(url: str, says: str) -> None:
    with pytest.raises(ProxyError, match=says) as error:
        read_address(url)
    assert "\r" not in str(error.value)
    assert read_address("http://[::1]:8000/ssh/way").port == 8000


WAY = read_address("https://hub.test/services/gpu/ssh/way")


def test_a_token_comes_from_a_closed_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ProxyError, match="Make one on https://hub"):
        read_token(None, {}, WAY)
    file = tmp_path / ".config" / "gpuspawner" / "token"
    file.parent.mkdir(parents=True)
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o640)
    with pytest.raises(ProxyError, match=f"Others can read {file}. Close it: chmod 600 {file}"):
        read_token(None, {}, WAY)
    file.chmod(0o600)
    assert read_token(None, {}, WAY) == TOKEN
    assert read_token(None, {TOKEN_VARIABLE: TOKEN[::-1]}, WAY) == TOKEN[::-1]
    assert read_token(file, {TOKEN_VARIABLE: TOKEN[::-1]}, WAY) == TOKEN
    for wrong in ("", "short", "two words or more", f"{TOKEN}\nX-More: 1", "tökentöken"):
        file.write_text(wrong)
        with pytest.raises(ProxyError, match=r"no token|cannot be read"):
            read_token(file, {}, WAY)
    with pytest.raises(ProxyError, match="cannot be read: Is a directory"):
        read_token(tmp_path, {}, WAY)


def test_a_token_is_saved_where_nobody_else_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep" / "token"
    words = [sys.executable, "-m", "gpuspawner_session", "ssh-token", "--token-file", str(file)]
    for _ in range(2):
        done = subprocess.run(
            words, input=f" {TOKEN}\n", env=environment(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, f"Saved in {file}\n")
        assert file.read_text() == f"{TOKEN}\n"
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o644)
    done = subprocess.run(words, input="no\n", env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "This is no token. Copy it again from the hub's page.\n")
    with pytest.raises(SystemExit):
        main(["ssh-proxy", "--help"])
    assert "--token " not in capsys.readouterr().out, "everybody on a machine sees its command lines"


def test_it_is_imported_where_there_is_nothing_but_python() -> None:
    """As on a laptop with Windows: without any package, and without what only Unix has."""
    only_unix = "fcntl,grp,pwd,resource,termios,pty,tty,syslog"
    code = (
        "import sys\n"
        f"for name in '{only_unix},tornado,jupyter_server,numpy,torch'.split(','): sys.modules[name] = None\n"
        "from gpuspawner_session import cli, sshproxy, websocket\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
