"""From what a command printed before it failed to what is wrong with the host, and what helps."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk without room."""
FULL_DISK = (
    "The disk is full: `df -h` shows which one. `docker system df` shows what images take; "
    "`docker image prune` and `docker builder prune` free it."
)
CAUSES = (
    (r"no space left on device|disk quota exceeded|don't have enough free space", FULL_DISK),
    (
        r"DO NOT MATCH THE HASHES|EINTEGRITY",
        "A package is not the one that was locked; nothing of it was installed. Find out why before you make "
        "the lock anew.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verif(y|ication) failed|unable to get local issuer|"
        r"SELF_SIGNED_CERT",
        "The certificate of a mirror is not signed by an authority that is known here. Put that one's into "
        "/usr/local/share/ca-certificates and run update-ca-certificates, or name a bundle: SSL_CERT_FILE=…",
    ),
    (
        r"could not resolve|temporary failure (in name resolution|resolving)|connection (refused|timed out)|"
        r"could not connect|unable to connect|network is unreachable|no route to host|read timed out|"
        r"failed to fetch|NewConnectionError|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT",
        "A mirror does not answer. Try again when it does, or name another: the lists in /etc/apt say where "
        "Debian packages come from, `pip config list` where Python packages do.",
    ),
)
"""What is printed → what is wrong; the first that is found counts."""
LAST_LINES = 100
"""A program that went on after a complaint did not fail of it, and its end is far from there."""


def find_cause(lines: Iterable[str]) -> str | None:
    """Say what made a command fail, with what helps; None where its output does not tell.

    Args:
        lines: What it printed.
    """
    end = "\n".join(list(lines)[-LAST_LINES:])
    return next((cause for pattern, cause in CAUSES if re.search(pattern, end, re.IGNORECASE)), None)
