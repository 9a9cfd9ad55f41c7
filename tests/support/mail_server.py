"""A mail server that takes mail, or does not, as told: enough of SMTP for a client that keeps to it."""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    sender: str
    to: str
    message: EmailMessage
    secret: bool
    """Whether the connection was encrypted."""
    login: str | None


@dataclass
class MailStand:
    """Use it as a context manager.

    Args:
        tls: With it, STARTTLS is offered.
        refuses: Answer by the command that gets it, such as ``{"RCPT": "550 no such person"}``.
        silent: Whether connections are taken and nothing is ever said.
        login: The user and password that it knows.
    """

    tls: ssl.SSLContext | None = None
    refuses: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    login: tuple[str, str] | None = None
    received: list[Received] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Self:
        stand = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                _Talk(stand, self.request).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def texts_to(self, address: str) -> list[str]:
        return [one.message.get_content() for one in self.received if one.to == address]


class _Talk:
    def __init__(self, stand: MailStand, connection: socket.socket) -> None:
        self.stand, self.connection = stand, connection
        self.file: Any = connection.makefile("rb")
        self.secret, self.login = False, None

    def say(self, *lines: str) -> None:
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def run(self) -> None:
        if self.stand.silent:
            self.file.read()
            return
        self.say("220 stand")
        sender = to = ""
        while line := self.file.readline():
            text = line.decode().strip()
            verb = text.split(" ")[0].upper()
            if verb in self.stand.refuses:
                self.say(self.stand.refuses[verb])
                continue
            match verb:
                case "EHLO":
                    offers = ["250-STARTTLS"] if self.stand.tls and not self.secret else []
                    self.say(
                        "250-stand",
                        *offers,
                        *(["250-AUTH PLAIN"] if self.stand.login else []),
                        "250 8BITMIME",
                    )
                case "STARTTLS":
                    self.say("220 go")
                    assert self.stand.tls
                    self.connection = self.stand.tls.wrap_socket(self.connection, server_side=True)
                    self.file, self.secret = self.connection.makefile("rb"), True
                case "AUTH":
                    _, user, password = base64.b64decode(text.split(" ")[2]).decode().split("\0")
                    known = (user, password) == self.stand.login
                    self.login = user if known else None
                    self.say("235 welcome" if known else "535 unknown")
                case "MAIL":
                    sender = text.partition("<")[2].partition(">")[0]
                    self.say("250 ok")
                case "RCPT":
                    to = text.partition("<")[2].partition(">")[0]
                    self.say("250 ok")
                case "DATA":
                    self.say("354 go on")
                    lines = []
                    while (line := self.file.readline()) != b".\r\n":
                        lines.append(line[1:] if line.startswith(b"..") else line)
                    message: Any = message_from_bytes(b"".join(lines), policy=policy.default)
                    self.stand.received.append(Received(sender, to, message, self.secret, self.login))
                    self.say("250 taken")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok" if verb in ("RSET", "NOOP") else "502 unknown")
