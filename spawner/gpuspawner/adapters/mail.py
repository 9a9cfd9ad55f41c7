"""Mail by SMTP. Calls block, and are made in threads; every step of one is bounded in time."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from gpuspawner.core.errors import DeliveryError
from gpuspawner.core.notices import Letter, clean

_SECONDS = 15.0
"""For each step: connecting, each answer of the server."""
_MOST_SAID = 200
"""Characters of what the server says that are told."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that takes mail, and how it is spoken to."""

    host: str
    port: int
    security: str
    """``starttls``, ``tls`` or ``none``."""
    sender: str
    user: str | None = None
    password_file: Path | None = None
    """Read at each mail, so that it can be changed."""

    def send(self, letter: Letter, name: str) -> None:
        """Hand a mail to the server.

        Args:
            letter: The mail.
            name: What is the same when it is handed over once more.

        Raises:
            DeliveryError: It did not take it.
        """
        message = EmailMessage()
        try:
            message["From"], message["To"], message["Subject"] = self.sender, letter.to, letter.subject
            message["Date"] = format_datetime(datetime.now(UTC))
            message["Message-ID"] = f"<{name}@{self.sender.rpartition('@')[2]}>"
            message["Auto-Submitted"] = "auto-generated"
            message.set_content(letter.text)
            with self._connect() as server:
                if self.user is not None:
                    server.login(self.user, self._read_password())
                server.send_message(message)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(
                f"The mail server {self.host}:{self.port} did not take a mail: {_explain(error)}."
            ) from error

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(
                self.host, self.port, timeout=_SECONDS, context=ssl.create_default_context()
            )
        server = smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        try:
            if self.security == "starttls":
                server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
        return server

    def _read_password(self) -> str:
        return "" if self.password_file is None else self.password_file.read_text().strip()


def _explain(error: Exception) -> str:
    """What went wrong, on one short line: the server's own words are part of it."""
    return clean(_find_words(error))[:_MOST_SAID]


def _find_words(error: Exception) -> str:
    code: int
    said: bytes | str
    match error:
        case smtplib.SMTPRecipientsRefused():
            code, said = next(iter(error.recipients.values()))
        case smtplib.SMTPResponseException():
            code, said = error.smtp_code, error.smtp_error
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error) or type(error).__name__
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return f"{code} {text}"
