"""``gpuspawner-session ssh-proxy``: the way of SSH through port 443, as a ProxyCommand of OpenSSH.

It runs on people's own machines, with nothing but Python: Linux, macOS, Windows. OpenSSH talks to it on its
standard input and output; on the other side it talks to the hub, as browsers do.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import getpass
import os
import re
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from .websocket import NO_CLOSE, NORMAL, Answered, Broken, WebSocket, open_websocket, read_head

TOKEN_VARIABLE = "GPUSPAWNER_SSH_TOKEN"  # noqa: S105 - its name, not a token
FILE_HELP = f"file with the token, which nobody else may read; or {TOKEN_VARIABLE}"
CHUNK = 64 * 1024
CONNECT_SECONDS = 20.0
"""How long the way may take to open."""
FAREWELL_SECONDS = 5.0
"""How long the other side may take to end it, after OpenSSH has."""
LIMIT = 256 * 1024
"""Bytes that wait here in each direction."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,500}")


class ProxyError(Exception):
    """It does not work; the text says why and what to do."""


@dataclass(frozen=True)
class Address:
    """Where the way is."""

    url: str

    @property
    def parts(self) -> SplitResult:
        """Of the URL."""
        return urlsplit(self.url)

    @property
    def encrypted(self) -> bool:
        """Whether what is sent can be read by nobody else."""
        return self.parts.scheme == "https"

    @property
    def host(self) -> str:
        """The hub's name."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """The hub's port."""
        return self.parts.port or (443 if self.encrypted else 80)

    @property
    def page(self) -> str:
        """The page on which tokens are made, and which says why somebody is refused."""
        return self.url.rpartition("/")[0]


def usual_file() -> Path:
    """Where the token is, unless it is told."""
    return Path.home() / ".config" / "gpuspawner" / "token"


def register(commands: Any) -> None:
    """Add the commands."""
    usual = "[~/.config/gpuspawner/token]"
    parser = commands.add_parser(
        "ssh-proxy",
        help="reach the hub's gateway of SSH through port 443",
        description="Reach the hub's gateway of SSH through port 443: for ProxyCommand in ~/.ssh/config, as "
        "the hub's page of SSH writes it. Certificates are checked against the system's authorities, or "
        "those in SSL_CERT_FILE; HTTPS_PROXY and NO_PROXY are heeded.",
    )
    parser.add_argument("url", metavar="URL", help="address of the way, as the hub's page writes it")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"{FILE_HELP} {usual}")
    parser.set_defaults(run=run)
    saving = commands.add_parser(
        "ssh-token",
        help="save the token for ssh-proxy",
        description="Ask for the token that the hub's page made, and save it where only you can read it.",
    )
    saving.add_argument("--token-file", type=Path, metavar="FILE", help=f"where to {usual}")
    saving.set_defaults(run=run_save)


def run(arguments: argparse.Namespace) -> int:
    """Carry bytes until either side ends it.

    Returns:
        The exit status: 0 it ended as usual, 1 it could not be opened, or was ended.
    """
    _use_bytes()
    try:
        address = read_address(arguments.url)
        token = read_token(arguments.token_file, os.environ, address)
        asyncio.run(carry_on(address, token, 0, 1))
    except ProxyError as error:
        print(f"gpuspawner-session ssh-proxy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def run_save(arguments: argparse.Namespace) -> int:
    """Save a token.

    Returns:
        The exit status: 0 saved, 1 it is none, or the file cannot be written.
    """
    file = arguments.token_file or usual_file()
    token = (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not _TOKEN.fullmatch(token):
        print("This is no token. Copy it again from the hub's page.", file=sys.stderr)
        return 1
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(f"{token}\n")
    except OSError as error:
        print(f"{file} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Saved in {file}")
    return 0


def read_address(url: str) -> Address:
    """Check where the way is. Raises: ProxyError."""
    address = Address(url)
    try:
        fits = address.port > 0 and address.host.isascii() and re.fullmatch(r"[\x21-\x7e]+", url)
        known = address.parts.scheme in ("http", "https") and address.host and "@" not in address.parts.netloc
        address.host.encode("idna")  # what no name can be
    except ValueError:
        fits = known = False
    if not fits or not known:
        raise ProxyError(f"{_clean(url)} is no address of a hub. Copy it from the hub's page of SSH.")
    if not address.encrypted and not _is_here(address.host):
        raise ProxyError(f"{_clean(url)} is not encrypted, so that others could read your token. Use https.")
    return address


def read_token(file: Path | None, environ: Mapping[str, str], address: Address) -> str:
    """The token, from a file that is named, the environment, or the usual file. Raises: ProxyError."""
    told = "" if file else environ.get(TOKEN_VARIABLE, "")
    path = file or usual_file()
    try:
        if not told:
            told = path.read_text(encoding="ascii")
            if os.name == "posix" and path.stat().st_mode & 0o077:
                raise ProxyError(f"Others can read {path}. Close it: chmod 600 {path}")
    except FileNotFoundError:
        raise ProxyError(
            f"There is no token in {path}. Make one on {address.page} and save it: "
            "gpuspawner-session ssh-token"
        ) from None
    except (OSError, ValueError) as error:
        raise ProxyError(f"{path} cannot be read: {getattr(error, 'strerror', '') or error}") from None
    token = told.strip()
    if not _TOKEN.fullmatch(token):
        where = path if file or TOKEN_VARIABLE not in environ else TOKEN_VARIABLE
        raise ProxyError(f"What is in {where} is no token. Make one on {address.page}")
    return token


async def carry_on(address: Address, token: str, source: int, target: int) -> None:
    """Open the way, and carry bytes until either side ends it.

    Args:
        address: Where it is.
        token: Opens it.
        source: File descriptor of what is sent.
        target: File descriptor for what comes back.

    Raises:
        ProxyError: It could not be opened, or was ended.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            socket, writer = await _open(address, token)
    except TimeoutError:
        raise ProxyError(f"{address.host} does not answer.") from None
    except ssl.SSLCertVerificationError as error:
        raise ProxyError(
            f"The certificate of {address.host} is not trusted ({error.verify_message}). If it is from an "
            "authority of your own, name its file in SSL_CERT_FILE."
        ) from None
    except OSError as error:
        raise ProxyError(f"{address.host} is not reached: {error.strerror or error}") from None
    except Broken as error:
        raise ProxyError(f"{address.host}: {error}.") from None
    except Answered as error:
        raise ProxyError(_explain(error, address)) from None
    try:
        await _carry(socket, source, target)
    finally:
        writer.close()
    code, reason = socket.closed
    if socket.lost:
        raise ProxyError(f"The connection to {address.host} is lost: it ended without a word.")
    if code not in (NORMAL, NO_CLOSE):
        why = (_clean(reason) or str(code)).rstrip(".")
        raise ProxyError(f"The hub has ended it: {why}. {address.page} may say more.")


async def _open(address: Address, token: str) -> tuple[WebSocket, asyncio.StreamWriter]:
    context = ssl.create_default_context() if address.encrypted else None
    if context is not None:
        context.set_alpn_protocols(["http/1.1"])
    proxy = find_proxy(address)
    if proxy is None:
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=LIMIT)
    else:
        reader, writer = await _open_by_proxy(proxy, address)
        if context is not None:
            await writer.start_tls(context, server_hostname=address.host)
    path = (address.parts.path or "/") + (f"?{address.parts.query}" if address.parts.query else "")
    headers = {"Authorization": f"token {token}"}
    try:
        return await open_websocket(reader, writer, address.parts.netloc, path, headers), writer
    except BaseException:
        writer.close()
        raise


def find_proxy(address: Address) -> SplitResult | None:
    """The proxy that stands in between, if there is one. Raises: ProxyError: It is of no kind known here."""
    told = getproxies().get(address.parts.scheme)
    if not told or _is_here(address.host) or proxy_bypass(address.host):
        return None
    try:
        proxy = urlsplit(told if "//" in told else f"http://{told}")
        known = proxy.scheme == "http" and proxy.hostname and (proxy.port or 80)
    except ValueError:
        known = False
    if not known:  # its password may stand there
        raise ProxyError(
            f"HTTPS_PROXY is {_clean(told.rpartition('@')[2])}; only http://HOST:PORT is known here."
        )
    return proxy


async def _open_by_proxy(
    proxy: SplitResult, address: Address
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(proxy.hostname, proxy.port or 80, limit=LIMIT)
    host = f"[{address.host}]" if ":" in address.host else address.host
    goal = f"{host}:{address.port}"
    login = ""
    if proxy.username is not None:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        login = f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    writer.write(f"CONNECT {goal} HTTP/1.1\r\nHost: {goal}\r\n{login}\r\n".encode("ascii"))
    status, _ = await read_head(reader)
    if status != 200:
        writer.close()
        raise ProxyError(f"The proxy {proxy.hostname} does not lead to {address.host} (HTTP {status}).")
    return reader, writer


async def _carry(socket: WebSocket, source: int, target: int) -> None:
    """Carry bytes both ways until either side ends it. Raises: ProxyError."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    # What OpenSSH sends is waited for in a thread of its own, which may be left waiting: on Windows there is
    # no other way to read from a pipe.
    threading.Thread(target=_send_all, args=(loop, socket, source, ended.set), daemon=True).start()
    back = asyncio.ensure_future(_receive_all(loop, socket, target))
    gone = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({back, gone}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({back}, timeout=FAREWELL_SECONDS)
        if back.done():
            back.result()
    except Broken as error:
        raise ProxyError(f"The connection was ended: {error}.") from None
    except OSError as error:
        raise ProxyError(f"The connection is lost: {error.strerror or error}") from None
    finally:
        back.cancel()
        gone.cancel()


async def _receive_all(loop: asyncio.AbstractEventLoop, socket: WebSocket, target: int) -> None:
    while (data := await socket.receive()) is not None:
        try:
            await loop.run_in_executor(None, _write_all, target, data)
        except OSError:  # OpenSSH has ended
            await socket.close()
            return


def _send_all(
    loop: asyncio.AbstractEventLoop, socket: WebSocket, source: int, end: Callable[[], None]
) -> None:
    """Send what can be read, and at its end a close."""
    # Where the connection or the program has ended, the other direction tells it.
    with suppress(OSError, RuntimeError, CancelledError):
        while data := os.read(source, CHUNK):
            asyncio.run_coroutine_threadsafe(socket.send(data), loop).result()
        asyncio.run_coroutine_threadsafe(socket.close(), loop).result()
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(end)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _explain(answered: Answered, address: Address) -> str:
    """Why the hub opens nothing, and what to do."""
    said = _clean(answered.text)
    match answered.status:
        case 401:
            return f"{said or 'The token is not valid.'} Make a new one on {address.page}"
        case 403 | 429:
            return f"{said or 'The hub refuses.'} {address.page} may say more."
        case 404:
            return f"{address.host} has no way for SSH here. {said}".strip()
        case 301 | 302 | 303 | 307 | 308:
            where = _clean(answered.location)
            return f"{address.host} sends on to {where}, which is not followed. Copy the address again."
    return f"{address.host} answers HTTP {answered.status}. {said}".strip()


def _clean(text: str) -> str:
    """What somebody else wrote, fit for a terminal: one short line, and nothing that moves its cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:300]).split())


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _use_bytes() -> None:
    """On Windows: let nothing make line ends of bytes."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - there is none elsewhere

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
