"""Running what students handed in so that it reaches nothing of whoever grades it.

Autograding runs a student's code in the grader's own session. By Landlock (landlock(7)) the kernel process
gives up, before the first line of that code, every file but the programs, what all of the course can read,
and its own folder; and every signal to others. By seccomp (seccomp(2)) it gives up what Landlock does not
know: every socket of a network, connecting to sockets of others, and modes, owners, times and attributes of
files. The grader's environment is not there.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import re
import socket
import struct
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/opt", "/proc", "/sys", "/dev/null", "/dev/urandom")
"""What it may read and run."""
HIDDEN = "/opt/gpuspawner/ssh"
"""Where the host key of the grader's own server is."""
DOCKERS = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""What the engine mounts among the image's own files. Anything else there is somebody's, and stays hidden."""
COURSES = "/courses"
"""Below it, by the name of its folder, is what the hub made for a course; hand-ins are graded there."""
DATA_VARIABLE = "GPUSPAWNER_COURSE_DATA"
"""``{"cs231": ["/data"]}``: by course that one grades, what all of its people can read; set by the hub."""
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
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_DENY, _UNSUPPORTED = _ERROR | errno.EACCES, _ERROR | errno.EOPNOTSUPP
_PRETEND = _ERROR
"""Nothing is done, and the program is told that it was: else copying a file would fail."""
_NUMBER, _MACHINE, _FIRST = 0, 4, 16
"""Where a filter finds the number of a call, the machine, and the first argument."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """What a kind of machine calls its system calls (syscalls(2))."""

    name: int
    """In the filter."""
    socket: int
    connect: int
    truncate: int
    metadata: tuple[int, ...]
    """Modes, owners and times of files."""
    attributes: tuple[int, ...]
    """Extended attributes."""


_SAME_METADATA = (452,)
"""On every machine: fchmodat2."""
_SAME_ATTRIBUTES = (463, 466, 469)
"""On every machine: setxattrat, removexattrat, file_setattr."""
_SOCKETS = socket.AF_UNIX, socket.AF_NETLINK
"""Those between processes, and those that ask the kernel; without these Jupyter's kernels end (libzmq)."""
_RINGS = (425, 426, 427)
"""On every machine: io_uring, by which most calls are made without being seen by a filter."""
_MACHINES = {
    # chmod fchmod chown fchown lchown utime utimes fchownat futimesat fchmodat utimensat; then setxattr and
    # removexattr, each with l and f
    "x86_64": _Machine(0xC000003E, 41, 42, 76, (90, 91, 92, 93, 94, 132, 235, 260, 261, 268, 280),
                       (188, 189, 190, 197, 198, 199)),
    # fchmod fchmodat fchownat fchown utimensat
    "aarch64": _Machine(0xC00000B7, 198, 203, 45, (52, 53, 54, 55, 88), (5, 6, 7, 14, 15, 16)),
}  # fmt: skip


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
    """Give up, for ever, what Landlock lets through.

    That is all sockets of networks, and to connect to any other; io_uring; modes, owners, times and
    attributes of files.

    Args:
        truncate: Whether truncate(2) is given up as well.

    Raises:
        CannotSeal: This machine's calls are not known here.
        OSError: The kernel does not do it.
    """
    known = _MACHINES.get(platform.machine())
    if known is None:
        raise CannotSeal(
            f"It is not known how to keep the network from what students handed in on {platform.machine()}. "
            f"To grade all the same: export {OPEN_VARIABLE}=1"
        )
    steps = list(_build_filter(known, truncate=truncate))
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(text))
    library = ctypes.CDLL(None, use_errno=True)
    how, what = _FILTER
    if library.prctl(how, ctypes.c_ulong(what), program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _build_filter(machine: _Machine, *, truncate: bool) -> Iterator[tuple[int, int, int, int]]:
    """Its steps: what is done, how many are passed over if it is so, how many if not, and a number."""
    yield _LOAD, 0, 0, _MACHINE
    yield _EQUAL, 1, 0, machine.name
    yield _RETURN, 0, 0, _DENY  # programs for other machines have other numbers
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, 1 << 30
    yield _RETURN, 0, 0, _DENY  # so has x32
    answers = dict.fromkeys((*machine.metadata, *_SAME_METADATA), _PRETEND)
    answers |= dict.fromkeys((*machine.attributes, *_SAME_ATTRIBUTES), _UNSUPPORTED)
    answers |= dict.fromkeys((machine.connect, *_RINGS), _DENY)
    answers |= {machine.truncate: _DENY} if truncate else {}
    for number, answer in answers.items():
        yield _EQUAL, 0, 1, number
        yield _RETURN, 0, 0, answer
    yield _EQUAL, 1, 0, machine.socket
    yield _RETURN, 0, 0, _ALLOW
    yield _LOAD, 0, 0, _FIRST
    for family in _SOCKETS:
        yield _EQUAL, 0, 1, int(family)
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _DENY


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


def list_mounts(text: str) -> dict[str, bool]:
    """What is mounted where, and whether it can only be read.

    Args:
        text: That of ``/proc/self/mountinfo``, proc(5).
    """
    lines = (line.split(" ") for line in text.splitlines())
    # A space in a path is written as \\040. What is mounted later at the same place is what is there.
    return {
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4]): "ro" in words[5].split(",")
        for words in lines
    }


def find_readable(mounts: dict[str, bool], named: Iterable[str]) -> Iterator[str]:
    """What it may read and run: the image's own files, and of all that is mounted what is named.

    Args:
        mounts: What :func:`list_mounts` returned.
        named: Directories; those that are no mounts to be read stay hidden.
    """
    shared = [path for path in named if mounts.get(path)]
    others = [path for path in mounts if path not in shared]
    among = [path for path in others if path.startswith(("/opt/", "/etc/")) and path not in DOCKERS]
    for top in SYSTEM:
        yield from without(top, [HIDDEN, *among])
    for top in shared:
        yield from without(top, [path for path in others if path != "/"])


def find_data(text: str, folder: Path) -> list[str]:
    """Directories that all people of a course can read; none where no course is graded.

    Args:
        text: Of the variable; what is no such text names none.
        folder: Where something is graded.
    """
    if not folder.is_relative_to(COURSES) or len(folder.parts) < 3:
        return []
    try:
        return list(map(str, json.loads(text)[folder.parts[2]]))
    except (ValueError, LookupError, TypeError):
        return []


def without(top: str, hidden: Collection[str]) -> Iterator[str]:
    """A directory; or all below it but links, where something there is to stay hidden."""
    if any(top == one or top.startswith(f"{one}/") for one in hidden):
        return
    below = [one for one in hidden if one.startswith(f"{top}/")]
    if not below:
        yield top
        return
    for path in sorted(Path(top).glob("*")):
        if not path.is_symlink():
            yield from without(str(path), below)


def main() -> None:
    """``python -m gpuspawner_session.sealed FOLDER COMMAND…``: run a command, sealed, with its own folder."""
    own, *command = sys.argv[1:]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"HOME": own, "TMPDIR": own, "IPYTHONDIR": f"{own}/ipython", "JUPYTER_RUNTIME_DIR": own}
    packages = os.environ.get("PYTHONUSERBASE", "")
    if os.environ.get(OPEN_VARIABLE) != "1":
        mounts = list_mounts(Path("/proc/self/mountinfo").read_text())
        data = find_data(os.environ.get(DATA_VARIABLE, ""), Path.cwd())
        try:
            seal([*find_readable(mounts, data), *([packages] if packages else [])], [own, str(Path.cwd())])
        except CannotSeal as error:
            sys.exit(f"gpuspawner: {error}")
    os.execve(command[0], command, environment)  # noqa: S606 - the kernel takes the place of this process


def make_own_folder() -> str:
    """A folder for one run, in which its connection file and sockets lie."""
    return tempfile.mkdtemp(prefix="sealed-")


if __name__ == "__main__":
    main()
