"""``%gpuspawner_stamp`` in notebooks. Images load it into every kernel (``ipython_config.py``)."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, NoReturn

from .stamp import StampError, add_arguments, stamp


class _Parser(argparse.ArgumentParser):
    """One whose errors do not end the kernel."""

    def error(self, message: str) -> NoReturn:
        raise StampError(f"{message}. Usage: %{self.prog} [FILE] [--force]")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise StampError(message or "")


def load_ipython_extension(ipython: Any) -> None:
    """IPython calls it when the extension is loaded.

    Args:
        ipython: The running shell.
    """

    def gpuspawner_stamp(line: str) -> None:
        """Write what this session is made of, and the seeds of this notebook, into one file."""
        parser = _Parser(prog="gpuspawner_stamp", add_help=False)
        add_arguments(parser)
        try:
            arguments = parser.parse_args(shlex.split(line))
            cells = ipython.user_ns.get("In", [])
            print(stamp(arguments.file, force=arguments.force, modules=sys.modules, cells=cells))
        except (StampError, ValueError) as error:
            print(error, file=sys.stderr)

    ipython.register_magic_function(gpuspawner_stamp, magic_kind="line")
