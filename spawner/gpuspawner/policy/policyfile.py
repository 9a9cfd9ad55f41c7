"""The policy in force: read at the start, and read again when its file changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from pathlib import Path

from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import Policy
from gpuspawner.core.sharing import Places

from .policy import load_policy

_log = logging.getLogger("gpuspawner.policy")

Stamp = tuple[int, int, int]


class PolicyFile:
    """A policy file that is looked at whenever it is used; that costs one ``stat``.

    Once it was read, a broken or missing file changes nothing: the old policy stays in force, and
    :attr:`problem` says so. May be used from several threads.

    Args:
        path: The file.
        images: Names in the catalogue; None when they are not known.
        home_dir: Where the home is in a server.
        places: Directories of the installation; None when they are not known.
    """

    def __init__(
        self,
        path: Path,
        *,
        images: Collection[str] | None,
        home_dir: str = "/home/jovyan",
        places: Places | None = None,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        """What is wrong with the file as it is now; None when it is in force."""
        self._images = images
        self._home_dir = home_dir
        self._places = places
        self._seen: Stamp | None = None
        self._policy: Policy | None = None
        self._using = threading.Lock()

    def current(self) -> Policy:
        """The policy in force.

        Raises:
            SettingsError: The file was never good.
        """
        with self._using:
            # Before it is read: a change meanwhile is then seen at the next use.
            stamp = self._look()
            if stamp is None or stamp != self._seen or self._policy is None:
                self._read(stamp)
            if self._policy is None:
                raise SettingsError(self.problem or "")
            return self._policy

    def _look(self) -> Stamp | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self, stamp: Stamp | None) -> None:
        try:
            policy = load_policy(self.path, images=self._images, home_dir=self._home_dir, places=self._places)
        except SettingsError as error:
            if str(error) != self.problem:
                _log.error("%s%s", error, " The policy read before stays in force." if self._policy else "")
            self.problem = str(error)
        else:
            if self._seen is not None:
                _log.info("The policy %s was read again and is in force.", self.path)
            self._policy, self.problem = policy, None
        self._seen = stamp
