"""Making the folders of courses, where no link that somebody planted is ever followed."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gpuspawner.core.coursework import Folder
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.sharing import Mount, why_not_shared

GIVEN_MODE = 0o2770
"""Of a folder that servers own: files in it get its group, and others on the host see nothing of it."""
KEPT_MODE = 0o755
"""Of a folder that the hub owns: servers see what is in it, and can put nothing there."""
_ACL = "system.posix_acl_default"
# acl(5) as the kernel stores it: version 2, then tag, permissions, id of owner, group and others.
_GROUP_CAN_WRITE = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, 0xFFFFFFFF) for tag, rights in ((0x01, 7), (0x04, 7), (0x20, 0))
)
"""What is made in a folder can be written by its group, whatever the umask of whoever makes it."""


def require_shared(mounts: Iterable[Mount], private: Mapping[str, str]) -> None:
    """Look where the directories of a policy lead, now that links on the way can be followed.

    Args:
        mounts: What a server is to get.
        private: As in :class:`~gpuspawner.core.sharing.Places`.

    Raises:
        SettingsError: One leads to what may not be shared.
    """
    for mount in mounts:
        real = os.path.realpath(mount.path)
        problem = why_not_shared(real, private) if real != mount.path else None
        if problem:
            raise SettingsError(
                f"The directory {mount.path} of the policy cannot be shared: {problem}. "
                "The administrator must share another one."
            )


class CourseFolders:
    """The directory in which courses have their folders. Folders are made and never deleted here.

    Args:
        base: The directory, absolute; it is made if its parent is there.
        uid: User id in every container.
        gid: Group id in every container.
    """

    def __init__(self, base: Path, *, uid: int, gid: int) -> None:
        self._base, self._uid, self._gid = base, uid, gid

    def ensure(self, folders: Iterable[Folder]) -> None:
        """Make what is missing. A start that was cut off at any moment is made good by the next one.

        Raises:
            SettingsError: A folder cannot be made, or something else is in its place.
        """
        if os.geteuid() == self._uid:
            raise SettingsError(
                f"The hub runs as user {self._uid}, as people's servers do, so a folder of a course could be "
                "put in the place of another one by them. Run the hub as another user."
            )
        for folder in folders:
            self._make(folder)

    def _make(self, folder: Folder) -> None:
        where = self._base
        try:
            where.mkdir(mode=0o750, exist_ok=True)
            inside = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                for left, name in zip(reversed(range(len(folder.way))), folder.way, strict=True):
                    where /= name
                    outside, inside = inside, self._enter(inside, name)
                    os.close(outside)
                    self._settle(inside, where, given=folder.given and left == 0)
            finally:
                os.close(inside)
        except OSError as error:
            raise SettingsError(
                f"The folder {where} of a course cannot be made: {error.strerror}. The hub must be able to "
                f"make directories there and to give them to user {self._uid}."
            ) from error

    @staticmethod
    def _enter(parent: int, name: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, mode=0o700, dir_fd=parent)
        # A hub that is not root cannot read what it has given to servers, and need not: it only looks at it.
        ours = os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid == os.geteuid()
        how = os.O_RDONLY if ours else os.O_PATH
        return os.open(name, how | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)

    def _settle(self, opened: int, path: Path, *, given: bool) -> None:
        """Give a folder its mode and its owner; the owner comes last, so it tells that all is done."""
        found = os.fstat(opened)
        if given and found.st_uid != os.geteuid():
            if found.st_uid != self._uid and found.st_gid != self._gid:
                raise SettingsError(
                    f"The folder {path} of a course belongs to user {found.st_uid}, and servers run as user "
                    f"{self._uid}. Give it to them: chown -R {self._uid}:{self._gid} {path}"
                )
            return
        if not given and found.st_uid != os.geteuid():
            raise SettingsError(
                f"The folder {path} holds those of courses and belongs to user {found.st_uid}, so it is not "
                f"safe. Give it to the hub: chown {os.geteuid()} {path}"
            )
        if not given:
            if stat.S_IMODE(found.st_mode) != KEPT_MODE:
                os.fchmod(opened, KEPT_MODE)
            return
        # On a file system without ACLs nothing is missed as long as all servers run as one user.
        with suppress(OSError):
            os.setxattr(opened, _ACL, _GROUP_CAN_WRITE)
        os.fchmod(opened, GIVEN_MODE)
        os.fchown(opened, self._uid, self._gid)
