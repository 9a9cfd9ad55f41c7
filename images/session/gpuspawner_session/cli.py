"""The command ``gpuspawner-session``. Each of its commands is a module with ``register``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version

from . import sshd, sshproxy, stamp, verify

COMMANDS: tuple[Callable[..., None], ...] = (
    sshd.register,
    sshproxy.register,
    stamp.register,
    verify.register,
)
"""Each adds a command to the parser, with a default ``run``: parsed arguments in, exit status out."""


def make_parser() -> argparse.ArgumentParser:
    """The command line, with every command."""
    parser = argparse.ArgumentParser(
        prog="gpuspawner-session", description="What a session of gpuspawner can do."
    )
    parser.add_argument("--version", action="version", version=version("gpuspawner-session"))
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for register in COMMANDS:
        register(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Of the command line; the process's own unless given.

    Returns:
        The exit status: 0 done, 1 the answer is no, 2 wrong use or cannot be done here.
    """
    parsed = make_parser().parse_args(arguments)
    status: int = parsed.run(parsed)
    return status
