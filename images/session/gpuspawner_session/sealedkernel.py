"""The kernel manager that autograding uses; see :mod:`gpuspawner_session.sealed`."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from .sealed import make_own_folder


class SealedKernelManager(AsyncKernelManager):  # type: ignore[misc]
    """Starts any kernel in a process that has given up what is the grader's."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._own_folder = make_own_folder()
        self.transport = "ipc"
        self.connection_file = f"{self._own_folder}/kernel.json"

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The kernel's command, behind the one that seals."""
        command = list(super().format_kernel_cmd(extra_arguments))
        command[0] = shutil.which(command[0]) or command[0]
        return [sys.executable, "-m", "gpuspawner_session.sealed", self._own_folder, *command]

    def cleanup_connection_file(self) -> None:
        """At the end, all of the folder."""
        super().cleanup_connection_file()
        shutil.rmtree(self._own_folder, ignore_errors=True)
