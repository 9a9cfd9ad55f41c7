"""Mail over real sockets: what arrives, in the clear or not, and what a server can do wrong."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gpuspawner.adapters import mail
from gpuspawner.adapters.mail import MailServer
from gpuspawner.core.errors import DeliveryError
from gpuspawner.core.notices import Letter
from support.mail_server import MailStand

LETTER = Letter(
    "ada@example.org", "Your session is stopped in 15 min", "Your session …\n.\nSave your work.\n"
)


def server(port: int, security: str = "none", **more: object) -> MailServer:
    return MailServer("127.0.0.1", port, security, "gpu@example.org", **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1 in one file, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_what_arrives() -> None:
    with MailStand() as stand:
        server(stand.port).send(LETTER, "gpuspawner.abc.7")
    (one,) = stand.received
    assert (one.sender, one.to) == ("gpu@example.org", "ada@example.org")
    assert (one.message["Subject"], one.message["To"]) == (LETTER.subject, "ada@example.org")
    assert one.message["Message-ID"] == "<gpuspawner.abc.7@example.org>"
    assert one.message["Auto-Submitted"] == "auto-generated"
    assert one.message.get_content().replace("\r\n", "\n") == LETTER.text


def test_encrypted_with_a_login(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with MailStand(tls=tls, login=("gpu", "secret")) as stand:
        server(stand.port, "starttls", user="gpu", password_file=tmp_path / "password").send(LETTER, "n")
        assert [(one.secret, one.login) for one in stand.received] == [(True, "gpu")]
        (tmp_path / "password").write_text("wrong")
        with pytest.raises(DeliveryError, match="535 unknown"):
            server(stand.port, "starttls", user="gpu", password_file=tmp_path / "password").send(LETTER, "n")


def test_who_is_not_known_gets_nothing(tls: ssl.SSLContext) -> None:
    with MailStand(tls=tls) as stand, pytest.raises(DeliveryError, match="certificate"):
        server(stand.port, "starttls").send(LETTER, "n")
    with MailStand() as stand, pytest.raises(DeliveryError, match="STARTTLS"):
        server(stand.port, "starttls").send(LETTER, "n")
    assert stand.received == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_SECONDS", 0.3)


@pytest.mark.usefixtures("impatient")
def test_what_goes_wrong(tmp_path: Path) -> None:
    unknown = pytest.raises(DeliveryError, match=r"did not take a mail: 550 no such person\.")
    with MailStand(refuses={"RCPT": "550 no such person"}) as stand, unknown:
        server(stand.port).send(LETTER, "n")
    said = "550-no\x1b[2J such\r\n550 person \u202e" + 300 * "x"
    with MailStand(refuses={"RCPT": said}) as stand, pytest.raises(DeliveryError) as refused:
        server(stand.port).send(LETTER, "n")
    words = str(refused.value).partition("mail: ")[2]
    assert words.startswith("550 no [2J such person x")
    assert (len(words), words.isprintable()) == (201, True)
    with MailStand(silent=True) as stand, pytest.raises(DeliveryError, match="timed out"):
        server(stand.port).send(LETTER, "n")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DeliveryError, match="refused"):
            server(unused.getsockname()[1]).send(LETTER, "n")
    with MailStand(login=("gpu", "secret")) as stand, pytest.raises(DeliveryError, match="No such file"):
        server(stand.port, user="gpu", password_file=tmp_path / "none").send(LETTER, "n")
    with MailStand() as stand, pytest.raises(DeliveryError):
        server(stand.port).send(Letter("ada@example.org", "a\nBcc: bob@example.org", "text"), "n")
    assert stand.received == []
