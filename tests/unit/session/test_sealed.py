"""Which directories a sealed kernel may read beside the programs, and that it reaches nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import gpuspawner_session
import pytest
from gpuspawner.core.coursework import DATA_VARIABLE, Coursework, Part, describe_parts
from gpuspawner.core.roster import Role
from gpuspawner.core.sharing import Mount
from gpuspawner_session import sealed
from gpuspawner_session.sealed import find_data, find_readable, list_mounts, without

MOUNTS = """\
1 0 8:1 / / ro,relatime - overlay overlay rw
2 1 8:1 /srv/data /data ro,nosuid - ext4 /dev/sda1 rw
3 1 8:1 /srv/a /courses/红\\040b/data ro - ext4 /dev/sda1 rw
4 1 8:1 /srv/out /exchange/cs231/inbound ro - ext4 /dev/sda1 rw
5 1 8:1 /srv/grading /courses/cs231/grading rw - ext4 /dev/sda1 rw
6 1 0:3 / /proc/sys ro - proc proc ro
7 1 8:1 /srv/scans /scans ro - ext4 /dev/sda1 rw
8 1 8:1 /srv/ml /courses/ml/data ro - ext4 /dev/sda1 rw
9 1 8:1 /srv/secrets /run/secrets ro - tmpfs tmpfs ro
"""


def find_mounted(mounts: str, *named: str) -> list[str]:
    """What it may read that is no part of the image."""
    return [one for one in find_readable(list_mounts(mounts), named) if not one.startswith(sealed.SYSTEM)]


def test_of_all_that_is_mounted_it_reads_what_is_named_and_can_only_be_read() -> None:
    named = ["/data", "/courses/红 b/data", "/courses/cs231/grading", "/not/there"]
    assert find_mounted(MOUNTS, *named) == ["/data", "/courses/红 b/data"]
    assert find_mounted(MOUNTS) == []


def test_what_is_mounted_within_shared_data_stays_hidden(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("open", "of the lab", "open too"):
        (data / name).mkdir(parents=True)
    (data / "link").symlink_to("/")
    space = str(data / "of the lab").replace(" ", "\\040")
    mounts = f"1 0 8:1 /a {data} ro - ext4 x rw\n2 1 8:1 /b {space} ro - ext4 x rw\n"
    assert find_mounted(mounts, str(data)) == [f"{data}/open", f"{data}/open too"]


def test_what_is_mounted_among_the_images_own_files_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(sealed, "without", lambda top, hidden: asked.append((top, list(hidden))) or ())
    mounts = "".join(
        f"1 2 0:1 / {path} ro - ext4 x rw\n"
        for path in ("/etc/hosts", "/etc/shadow.d", "/opt/scans", "/opt/gpuspawner/ssh", "/data")
    )
    list(find_readable(list_mounts(mounts), []))
    assert {top for top, _ in asked} == set(sealed.SYSTEM)
    assert all(set(hidden) == {sealed.HIDDEN, "/etc/shadow.d", "/opt/scans"} for _, hidden in asked)


def test_the_host_key_of_the_graders_server_stays_hidden(tmp_path: Path) -> None:
    for name in ("jupyter/bin", "gpuspawner/ssh", "gpuspawner/course", "gpuspawner/ssh-agent"):
        (tmp_path / "opt" / name).mkdir(parents=True)
    top = str(tmp_path / "opt")
    (tmp_path / "opt" / "key").symlink_to(f"{top}/gpuspawner/ssh")
    found = [one.removeprefix(f"{top}/") for one in without(top, [f"{top}/gpuspawner/ssh"])]
    assert found == ["gpuspawner/course", "gpuspawner/ssh-agent", "jupyter"]
    assert list(without("/usr", [f"{top}/gpuspawner/ssh"])) == ["/usr"]
    assert list(without(f"{top}/gpuspawner/ssh/x", [f"{top}/gpuspawner/ssh"])) == []


def test_data_is_that_of_the_course_in_whose_folder_something_is_graded() -> None:
    parts = [
        Part(
            name,
            Coursework(hand_in=True),
            Role.TEACHER,
            data=(Mount(f"/srv/{name}", f"/courses/{name}/data"),),
        )
        for name in ("cs231", "ml")
    ]
    text = describe_parts(parts, [mount for part in parts for mount in part.data])[DATA_VARIABLE]
    assert DATA_VARIABLE == sealed.DATA_VARIABLE
    assert find_data(text, Path("/courses/cs231/grading/autograded/ada/ps1")) == ["/courses/cs231/data"]
    assert find_data(text, Path("/courses/ml/grading")) == ["/courses/ml/data"]
    for elsewhere in ("/home/jovyan", "/courses", "/courses/other/grading"):
        assert find_data(text, Path(elsewhere)) == []
    for broken in ("", "[]", "{", '{"cs231": 1}'):
        assert find_data(broken, Path("/courses/cs231/grading")) == []


TRIES = """
import ctypes, os, pathlib, shutil, socket, sys
from gpuspawner_session.sealed import deny_calls, seal
left, port, listening = sys.argv[1], int(sys.argv[2]), sys.argv[4]
def attempt(what):
    try:
        what()
        return "done"
    except Exception as error:
        return type(error).__name__
def connect(protocol):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).connect(("127.0.0.1", port))
def bind():
    socket.socket(socket.AF_UNIX).bind("socket")
def set_up_ring():
    if ctypes.CDLL(None, use_errno=True).syscall(425, 1, ctypes.create_string_buffer(200)) < 0:
        raise OSError(ctypes.get_errno(), "ring")
own = pathlib.Path("own")
own.write_text("x")
if sys.argv[3] == "seal":
    seal(["/usr", "/lib", "/lib64"], [os.getcwd()])
else:
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    deny_calls(truncate=True)
def refused():
    yield lambda: connect(0)
    yield lambda: connect(262)
    yield lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield lambda: socket.socket(socket.AF_INET6)
    yield lambda: socket.socket(socket.AF_PACKET)
    yield lambda: socket.socket(43, socket.SOCK_STREAM)
    yield lambda: socket.socket(socket.AF_UNIX).connect(listening)
    yield lambda: os.truncate(left, 0)
    yield set_up_ring
def works():
    yield socket.socketpair
    yield socket.if_nameindex
    yield lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    yield bind
    yield lambda: open("own", "w").write("x")
    yield lambda: shutil.copy2("own", "copy")
def nothing_is_done():
    yield lambda: os.chmod(left, 0o777)
    yield lambda: os.chmod(os.open(".", os.O_RDONLY), 0o777)
    yield lambda: os.chown(left, 1234, 1234)
    yield lambda: os.chown(left, 1234, 1234, follow_symlinks=False)
    yield lambda: os.utime(left, (1, 1))
    yield lambda: os.setxattr(left, "user.a", b"x")
    yield lambda: os.removexattr(left, "user.kept")
for group in (refused, works, nothing_is_done):
    print(*map(attempt, group()))
"""


@pytest.mark.parametrize("how", ["seal", "calls"])
def test_nothing_is_left_of_networks_sockets_of_others_and_what_is_known_of_files(
    tmp_path: Path, how: str
) -> None:
    grades, own = tmp_path / "gradebook.db", tmp_path / "own"
    grades.write_text("grades")
    grades.chmod(0o640)
    own.mkdir(mode=0o750)
    before = [(one.st_mode, one.st_uid, one.st_mtime_ns, one.st_ctime_ns) for one in [grades.stat()]]
    environment = {"PYTHONPATH": str(Path(gpuspawner_session.__file__).parents[1])}
    listening = str(tmp_path / "agent")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(listening)
        agent.listen()
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", TRIES, str(grades), port, how, listening]
        done = subprocess.run(command, cwd=own, env=environment, capture_output=True, text=True, check=False)
    if "no Landlock" in done.stderr:
        pytest.skip("this kernel has no Landlock")
    refused, works, nothing = [line.split() for line in done.stdout.splitlines()] or [done.stderr, "", ""]
    assert refused == ["PermissionError"] * 9
    assert works == ["done"] * 6
    assert nothing == ["done"] * 5 + ["OSError"] * 2
    assert grades.read_text() == "grades"
    assert before == [(one.st_mode, one.st_uid, one.st_mtime_ns, one.st_ctime_ns) for one in [grades.stat()]]
    assert own.stat().st_mode & 0o777 == 0o750
