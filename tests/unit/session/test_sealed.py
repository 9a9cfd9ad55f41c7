"""Which directories a sealed kernel may read beside the programs."""

from __future__ import annotations

from gpuspawner_session.sealed import find_shared

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
