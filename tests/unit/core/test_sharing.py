"""Which directories of the host may be in a server, and where."""

from __future__ import annotations

import pytest
from gpuspawner.core.sharing import find_planted, lies_in, why_not_shared, why_not_target

PRIVATE = {"/srv/homes": "people's homes"}


@pytest.mark.parametrize(
    "path",
    [
        "/etc", "/etc/ssl", "/proc/1", "/var", "/var/lib", "/var/lib/docker/volumes", "/usr/share", "/root",
        "/run/docker.sock", "/var/run/docker.sock", "/dev/shm", "/srv/homes", "/srv/homes/ada", "/srv",
    ],
)  # fmt: skip
def test_what_is_the_hosts_or_private_is_refused(path: str) -> None:
    assert path in (why_not_shared(path, PRIVATE) or "")


@pytest.mark.parametrize("path", ["/srv/data", "/srv/homes-of-old", "/etcetera", "/mnt/a", "/var/lib/data"])
def test_what_only_looks_like_it_may_be_shared(path: str) -> None:
    assert why_not_shared(path, PRIVATE) is None


@pytest.mark.parametrize("target", ["/opt", "/opt/jupyter/bin", "/tmp/data", "/etc", "/usr/local/x", "/proc"])
def test_a_place_of_the_image_is_refused(target: str) -> None:
    assert target in (why_not_target(target) or "")


@pytest.mark.parametrize("target", ["/data", "/opt/data", "/courses/cs231/data", "/srv", "/home/jovyan/data"])
def test_other_places_are_free(target: str) -> None:
    assert why_not_target(target) is None


def test_what_lies_where_people_can_write_is_found() -> None:
    assert find_planted("/srv/a/b", ["/srv/c", "/srv/a"]) == "/srv/a"
    assert find_planted("/srv/a", ["/srv/a", "/srv/ab"]) is None
    assert not lies_in("/srv/ab", "/srv/a")
