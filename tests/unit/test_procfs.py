"""From a process to its container."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.adapters.procfs import find_container

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.mark.parametrize(
    ("text", "container"),
    [
        (f"12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n", ID),
        (f"0::/system.slice/docker-{ID}.scope\n", ID),
        (f"0::/docker/{ID}\n", ID),
        (f"0::/docker/{ID}/init.scope\n", ID),
        (f"0::/lab.slice/lab-gpu.slice/docker-{ID}.scope/kernel\n", ID),
        (f"0::/people/{ID}\n", ID),
        (f"5:pids:/\n4:memory:/docker/{ID}\n", ID),
        (f"0::/docker/{ID}/docker/{OTHER}\n", ID),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("0::/\n", None),
        (f"0::/docker/{ID[:63]}\n", None),
        (f"0::/docker/{ID}0\n", None),
        (f"0::/x{ID}\n", None),
        ("", None),
    ],
)
def test_container_of_a_process(tmp_path: Path, text: str, container: str | None) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(text)
    assert find_container(7, tmp_path) == container


def test_a_process_that_is_gone_is_in_no_container(tmp_path: Path) -> None:
    assert find_container(7, tmp_path) is None


def test_a_host_that_is_a_container_itself(tmp_path: Path) -> None:
    for name, text in (
        ("self", f"0::/docker/{ID}/agent"),
        ("7", f"0::/docker/{ID}/docker/{OTHER}"),
        ("8", "0::/"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup").write_text(text)
    assert find_container(7, tmp_path) == OTHER
    assert find_container(8, tmp_path) is None
