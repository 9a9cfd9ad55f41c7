"""Which directories a sealed kernel may read beside the programs, and that it reaches nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import gpuspawner_session
import pytest
from gpuspawner_session.sealed import find_shared, without

MOUNTS = """\
1 0 8:1 / / ro,relatime - overlay overlay rw
2 1 8:1 /srv/data /data ro,nosuid - ext4 /dev/sda1 rw
3 1 8:1 /srv/a /courses/红\\040b/data ro - ext4 /dev/sda1 rw
4 1 8:1 /srv/out /exchange/cs231/inbound ro - ext4 /dev/sda1 rw
5 1 8:1 /srv/grading /courses/cs231/grading rw - ext4 /dev/sda1 rw
6 1 0:3 / /proc/sys ro - proc proc ro
"""


def test_it_reads_what_all_of_the_course_can_read() -> None:
    assert list(find_shared(MOUNTS)) == ["/data", "/courses/红 b/data"]


def test_the_host_key_of_the_graders_server_stays_hidden(tmp_path: Path) -> None:
    for name in ("jupyter/bin", "gpuspawner/ssh", "gpuspawner/course", "gpuspawner/ssh-agent"):
        (tmp_path / "opt" / name).mkdir(parents=True)
    top = str(tmp_path / "opt")
    found = [one.removeprefix(f"{top}/") for one in without(top, f"{top}/gpuspawner/ssh")]
    assert found == ["gpuspawner/course", "gpuspawner/ssh-agent", "jupyter"]
    assert list(without("/usr", f"{top}/gpuspawner/ssh")) == ["/usr"]
    mount = "1 2 0:1 / /opt/gpuspawner/ssh ro,relatime - ext4 /dev/x rw\n"
    assert list(find_shared(mount)) == []
    assert list(find_shared(mount.replace("gpuspawner/ssh", "data"))) == ["/opt/data"]


TRIES = """
import os, socket, sys
from gpuspawner_session.sealed import deny_calls, seal
left, port = sys.argv[1], int(sys.argv[2])
def attempt(what):
    try:
        what()
        return "done"
    except Exception as error:
        return type(error).__name__
def connect(protocol):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).connect(("127.0.0.1", port))
if sys.argv[3] == "seal":
    seal(["/usr", "/lib", "/lib64"], [os.getcwd()])
else:
    import ctypes
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    deny_calls(truncate=True)
print(
    attempt(lambda: connect(0)),
    attempt(lambda: connect(262)),
    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    attempt(lambda: socket.socket(socket.AF_INET6)),
    attempt(lambda: os.truncate(left, 0)),
    attempt(lambda: socket.socketpair()),
    attempt(lambda: open("own", "w").write("x")),
)
"""


@pytest.mark.parametrize("how", ["seal", "calls"])
def test_no_way_into_a_network_is_left_and_no_file_can_be_emptied(tmp_path: Path, how: str) -> None:
    grades, own = tmp_path / "gradebook.db", tmp_path / "own"
    grades.write_text("grades")
    own.mkdir()
    environment = {"PYTHONPATH": str(Path(gpuspawner_session.__file__).parents[1])}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", TRIES, str(grades), port, how]
        done = subprocess.run(command, cwd=own, env=environment, capture_output=True, text=True, check=False)
    if "no Landlock" in done.stderr:
        pytest.skip("this kernel has no Landlock")
    assert done.stdout.split() == ["PermissionError"] * 5 + ["done"] * 2, done.stderr
    assert grades.read_text() == "grades"
