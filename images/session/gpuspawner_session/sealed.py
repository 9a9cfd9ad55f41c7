"""Running what students handed in so that it reaches nothing of whoever grades it.

Autograding runs a student's code in the grader's own session. By Landlock (landlock(7)) the kernel process
gives up, before the first line of that code, every file but the programs, what all of the course can read,
and its own folder; and every signal to others. By seccomp (seccomp(2)) it gives up every socket of a network,
and what Landlock does not know. The grader's environment is not there.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/opt", "/proc", "/sys", "/dev/null", "/dev/urandom")
"""What it may read and run."""
HIDDEN = "/opt/gpuspawner/ssh"
"""Where the host key of the grader's own server is."""
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONUSERBASE", "JUPYTER_PATH", "LD_PRELOAD", "NSS_WRAPPER_PASSWD",
        "NSS_WRAPPER_GROUP")  # fmt: skip
"""Of the environment; the rest holds tokens."""
OPEN_VARIABLE = "GPUSPAWNER_UNSEALED"
"""Set to 1, it runs without: on a host that has no Landlock, by the decision of whoever grades."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_OF_A_FILE = _EXECUTE | _WRITE | _READ | _TRUNCATE
# Removing and making directories, files, sockets and pipes; no links: what is copied later would follow one.
_MAKE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_NETWORK, _SCOPES = 3, 3
"""Binding and connecting TCP; abstract sockets and signals."""
_FILTER = 22, 2
"""prctl(2): a filter of system calls."""
_CALLS = {"x86_64": (0xC000003E, 41, 76), "aarch64": (0xC00000B7, 198, 45)}
"""By machine: its name in the filter, and the numbers of socket(2) and truncate(2)."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | 13
_NUMBER, _MACHINE, _FIRST = 0, 4, 16
"""Where a filter finds the number of a call, the machine, and the first argument."""


class CannotSeal(Exception):
    """This host's kernel cannot do it."""


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result = int(library.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def find_version() -> int:
    """The version of Landlock that this host has. Raises: CannotSeal."""
    try:
        return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError as error:
        raise CannotSeal(
            "The kernel of this host has no Landlock, so what students handed in would run with all that you "
            f"can reach. To grade all the same: export {OPEN_VARIABLE}=1"
        ) from error


def seal(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Give up everything else, for ever, for this process and all that it starts.

    Args:
        readable: Files and directories to read and run; those that are not there are passed over.
        writable: Directories to make, change and remove files in.

    Raises:
        CannotSeal: This host's kernel cannot do it.
    """
    version = find_version()
    handled = _ALL_BY_VERSION.get(version, (1 << 16) - 1)
    parts = [handled, *([_NETWORK] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    wanted = struct.pack(f"={len(parts)}Q", *parts)
    rules = _call(_CREATE, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
    for path in readable:
        _allow(rules, path, (_EXECUTE | _READ | _LIST) & handled)
    for path in writable:
        _allow(rules, path, (_EXECUTE | _WRITE | _READ | _LIST | _TRUNCATE | _MAKE) & handled)
    _allow(rules, "/dev/null", (_READ | _WRITE) & handled)
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    _call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)
    # Landlock knows truncate(2) from its third version on, by which any file that is there could be emptied.
    deny_calls(truncate=version < 3)


def deny_calls(*, truncate: bool) -> None:
    """Give up all sockets of a network, for ever; Landlock alone lets UDP and multipath TCP through.

    Args:
        truncate: Whether truncate(2) is given up as well.

    Raises:
        CannotSeal: This machine's calls are not known here.
        OSError: The kernel does not do it.
    """
    known = _CALLS.get(platform.machine())
    if known is None:
        raise CannotSeal(
            f"It is not known how to keep the network from what students handed in on {platform.machine()}. "
            f"To grade all the same: export {OPEN_VARIABLE}=1"
        )
    machine, socket_call, truncate_call = known
    steps = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 0, 8, machine),  # programs for other machines have other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 6, 0, 1 << 30),  # so has x32
        (_EQUAL, 5, 0, truncate_call if truncate else 0xFFFFFFFF),
        (_EQUAL, 0, 3, socket_call),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 2, 0, int(socket.AF_INET)),
        (_EQUAL, 1, 0, int(socket.AF_INET6)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(text))
    library = ctypes.CDLL(None, use_errno=True)
    how, what = _FILTER
    if library.prctl(how, ctypes.c_ulong(what), program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _allow(rules: int, path: str, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            access &= _OF_A_FILE
        rule = struct.pack("=Qi", access, opened)
        _call(_ADD, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(opened)


def find_shared(mounts: str) -> Iterator[str]:
    """Directories that the hub mounted to be read by all: not the exchange, and nothing that can be written.

    Args:
        mounts: The text of ``/proc/self/mountinfo``, proc(5).
    """
    for line in mounts.splitlines():
        words = line.split(" ")
        where, options = (
            words[4].encode().decode("unicode_escape").encode("latin-1").decode(),
            words[5].split(","),
        )
        kept = where.startswith(("/exchange/", "/proc", "/sys", "/dev", "/etc", HIDDEN)) or where == "/"
        if "ro" in options and not kept:
            yield where


def without(top: str, hidden: str) -> Iterator[str]:
    """A directory, or, where something is below it that is to stay hidden, all else below it."""
    if not hidden.startswith(f"{top}/"):
        if top != hidden:
            yield top
        return
    for path in sorted(Path(top).glob("*")):
        yield from without(str(path), hidden)


def main() -> None:
    """``python -m gpuspawner_session.sealed FOLDER COMMAND…``: run a command, sealed, with its own folder."""
    own, *command = sys.argv[1:]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"HOME": own, "TMPDIR": own, "IPYTHONDIR": f"{own}/ipython", "JUPYTER_RUNTIME_DIR": own}
    packages = os.environ.get("PYTHONUSERBASE", "")
    shared = find_shared(Path("/proc/self/mountinfo").read_text())
    if os.environ.get(OPEN_VARIABLE) != "1":
        try:
            system = (one for top in SYSTEM for one in without(top, HIDDEN))
            seal([*system, *shared, *([packages] if packages else [])], [own, str(Path.cwd())])
        except CannotSeal as error:
            sys.exit(f"gpuspawner: {error}")
    os.execve(command[0], command, environment)  # noqa: S606 - the kernel takes the place of this process


def make_own_folder() -> str:
    """A folder for one run, in which its connection file and sockets lie."""
    return tempfile.mkdtemp(prefix="sealed-")


if __name__ == "__main__":
    main()
