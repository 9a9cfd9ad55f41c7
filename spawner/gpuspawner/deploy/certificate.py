"""``python -m gpuspawner.deploy.certificate FILE NAMES``: whether a certificate fits its key and names.

The key comes on stdin.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SOON = timedelta(days=3)


def main() -> None:
    """Say what does not fit, and exit with 1; else say nothing."""
    file, names = Path(sys.argv[1]), sys.argv[2].split(",")
    problem = find_problem(file, sys.stdin.buffer.read(), names, datetime.now(UTC))
    if problem:
        sys.exit(problem)


def find_problem(file: Path, key: bytes, names: Sequence[str], now: datetime) -> str | None:
    """What is wrong with a certificate, with the name of the setting; None if nothing is."""
    try:
        certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except (OSError, ValueError) as error:
        return f"tls_certificate_file {file} is no certificate in PEM: {error}"
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"tls_key_file is no key in PEM without a password: {error}"
    if _bytes_of(private.public_key()) != _bytes_of(certificate.public_key()):
        return f"tls_key_file is not the key of the certificate {file}."
    if certificate.not_valid_after_utc < now + SOON:
        return (
            f"The certificate {file} ends at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Renew it."
        )
    if certificate.not_valid_before_utc > now:
        return f"The certificate {file} begins at {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC."
    covered = _names_of(certificate)
    missing = [name for name in names if not any(_covers(one, name) for one in covered)]
    if missing:
        return (
            f"The certificate {file} is for {', '.join(covered) or 'no name'}, and tls_names has "
            f"{', '.join(missing)}."
        )
    return None


def _bytes_of(public: object) -> bytes:
    found: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _covers(pattern: str, name: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(pattern)
    except ValueError:
        pass
    if pattern.startswith("*."):
        return name.lower().partition(".")[2] == pattern[2:].lower()
    return name.lower() == pattern.lower()


if __name__ == "__main__":
    main()
