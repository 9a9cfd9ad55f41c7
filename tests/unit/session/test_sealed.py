"""Which directories a sealed kernel may read beside the programs."""

from __future__ import annotations

from pathlib import Path

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
