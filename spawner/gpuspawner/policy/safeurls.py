"""Addresses that secrets and tokens are sent to."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def require_safe_url(key: str, url: str) -> None:
    """Secrets and tokens go there: in the clear only within this machine.

    Args:
        key: Of the setting.
        url: What it says.

    Raises:
        ValueError: It is no address, or none that is safe.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_this_machine(parts.hostname):
        return
    raise ValueError(f"{key} must begin with https://")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
