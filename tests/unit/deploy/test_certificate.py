"""A certificate that does not fit is found before it is put in place."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gpuspawner.deploy.certificate import find_problem

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    names: list[x509.GeneralName] = [
        x509.DNSName("hub.example.org"),
        x509.DNSName("*.hub.example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(1)
        .not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(KEY, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "hub.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    return file


@pytest.mark.parametrize("name", ["hub.example.org", "HUB.example.org", "ada.hub.example.org", "192.0.2.7"])
def test_one_that_fits(certificate: Path, name: str) -> None:
    assert find_problem(certificate, pem(KEY), [name], NOW) is None


@pytest.mark.parametrize("name", ["example.org", "a.b.hub.example.org", "192.0.2.8", "hub.example.org.evil"])
def test_a_name_that_it_does_not_have(certificate: Path, name: str) -> None:
    problem = find_problem(certificate, pem(KEY), ["hub.example.org", name], NOW)
    assert problem is not None
    assert problem.endswith(f"and tls_names has {name}.")


def test_another_key(certificate: Path) -> None:
    problem = find_problem(certificate, pem(OTHER), ["hub.example.org"], NOW)
    assert problem == f"tls_key_file is not the key of the certificate {certificate}."


@pytest.mark.parametrize(("days", "says"), [(88, "ends at"), (200, "ends at"), (-2, "begins at")])
def test_another_time(certificate: Path, days: int, says: str) -> None:
    assert says in str(find_problem(certificate, pem(KEY), ["hub.example.org"], NOW + timedelta(days=days)))


def test_no_certificate_and_no_key(certificate: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "tls_certificate_file" in str(find_problem(empty, pem(KEY), ["hub"], NOW))
    assert "tls_certificate_file" in str(find_problem(tmp_path / "none", pem(KEY), ["hub"], NOW))
    assert "tls_key_file" in str(find_problem(certificate, b"", ["hub.example.org"], NOW))
