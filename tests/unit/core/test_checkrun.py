"""What the containers of checks are made of, and what their ends mean."""

from __future__ import annotations

from typing import Any

import pytest
from gpuspawner.core.checkrun import CheckRun, Ended, build_check_container, explain_end

RUN = CheckRun("sha256:1", ("gpuspawner-session", "verify"), 600, ("GPU-1",), {"gpuspawner.lease": "l"})


def test_the_whole_container() -> None:
    assert build_check_container(RUN, 1000.7) == {
        "Image": "sha256:1",
        "Cmd": ["timeout", "-k", "10", "600", "gpuspawner-session", "verify"],
        "User": "1000:1000",
        "Env": ["NVIDIA_VISIBLE_DEVICES=void", "GPUSPAWNER_DEVICES=GPU-1"],
        "Labels": {"gpuspawner.lease": "l", "gpuspawner.check": "1660"},
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": False,
        "StdinOnce": False,
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "size=1073741824,mode=1777"},
            "Memory": 8589934592,
            "MemorySwap": 8589934592,
            "NanoCpus": 2000000000,
            "PidsLimit": 512,
            "ShmSize": 1073741824,
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1"]}],
        },
    }


def test_one_that_waits_ends_with_its_input_and_not_by_the_clock() -> None:
    built: dict[str, Any] = build_check_container(CheckRun("i", ("cat",), 60, waits=True), 0)
    assert (built["Cmd"], built["OpenStdin"], built["StdinOnce"]) == (["cat"], True, True)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Ended(137, True, "", ""), "memory ran out"),
        (Ended(124, False, "", ""), "not done within 600 s"),
        (Ended(137, False, "", ""), "not done within 600 s"),
        (Ended(127, False, "", "timeout: failed to run command"), "no command gpuspawner-session"),
        (Ended(1, False, "", "first\nlast words\n"), "status 1 and no result: last words"),
        (Ended(None, False, " \n", ""), "no result: it said nothing"),
    ],
)
def test_why_there_is_no_result(ended: Ended, words: str) -> None:
    assert words in (explain_end(ended, 600) or "")


@pytest.mark.parametrize("status", [0, 1, 2, None])
def test_an_answer_is_read_whatever_the_status(status: int | None) -> None:
    assert explain_end(Ended(status, False, "{}", ""), 600) is None
