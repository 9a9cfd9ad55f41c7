"""Programs of Debian that an image has not, for tests that need them in a container."""

from __future__ import annotations

import io
import subprocess
import tarfile
from fnmatch import fnmatch

from gpuspawner.setup.osrelease import BASE_RELEASE

from support.fresh_server import KEYRING, MIRRORS


def files_of(package: str, *patterns: str) -> bytes:
    """A tar file with some of the files of a package and of those that it needs.

    Args:
        package: Of the Debian that the images are made from.
        patterns: Names of files in it, as ``./usr/bin/tmux``.
    """
    lines = [f"deb [signed-by={KEYRING}] {uri} {BASE_RELEASE}{suffix} main" for uri, suffix in MIRRORS]
    command = ["mmdebstrap", "--quiet", "--variant=extract", "--mode=root", f"--include={package}"]
    made = subprocess.run([*command, BASE_RELEASE, "-", *lines], check=True, capture_output=True).stdout
    kept = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(made)) as whole, tarfile.open(fileobj=kept, mode="w") as some:
        for member in whole:
            if any(fnmatch(member.name, pattern) for pattern in patterns):
                some.addfile(member, whole.extractfile(member) if member.isfile() else None)
    return kept.getvalue()
