"""Files beside the ledger that also the services can open when an administrator's command has made them."""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o660
"""As the ledger's: for its group, whatever the umask."""


def open_shared(path: Path | str) -> int:
    """Open a file for reading and writing, making it if need be; its descriptor.

    What root makes is given to the owner of the folder, as SQLite does with its own files: the services that
    use it too are not root.

    Raises:
        OSError: It cannot be made or opened.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        os.fchmod(file, MODE)
        if os.geteuid() == 0:
            owner = Path(path).parent.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)
    except BaseException:
        os.close(file)
        raise
    return file
