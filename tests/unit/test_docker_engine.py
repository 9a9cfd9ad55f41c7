"""What Docker's words mean, with no Engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from docker.errors import APIError, NotFound
from gpuspawner.adapters.docker_engine import DockerEngine, find_devices, read_outcome
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import ContainerState

A = "GPU-8de13fdf-4f55-58bc-855e-699ea6f6a5c9"
B = "GPU-4ea38e2d-cada-5412-9abb-cef3d9bff04f"
MIG = "MIG-7c8d4424-6734-5d92-8675-1fb7203ed71e"


def cdi(*ids: str) -> dict[str, Any]:
    return {"DeviceRequests": [{"Driver": "cdi", "Count": 0, "DeviceIDs": list(ids)}]}


def nvidia(value: str) -> tuple[dict[str, Any], list[str]]:
    return {"Runtime": "nvidia"}, [f"NVIDIA_VISIBLE_DEVICES={value}"]


@pytest.mark.parametrize(
    ("host", "environment", "devices"),
    [
        ({}, [], ()),
        ({"DeviceRequests": None, "Devices": None, "Runtime": "runc"}, ["PATH=/bin"], ()),
        (cdi(f"nvidia.com/gpu={A}"), [], (A,)),
        (cdi(f"nvidia.com/gpu={B}", f"nvidia.com/gpu={MIG}"), [], (B, MIG)),
        (cdi("nvidia.com/gpu=all"), [], ("all",)),
        (cdi("nvidia.com/gpu=0"), [], ("all",)),
        (cdi(f"nvidia.com/gpu={A[:12]}"), [], ("all",)),
        (cdi("vendor.com/net=0"), [], ()),
        ({"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}, [], ("all",)),
        ({"DeviceRequests": [{"Driver": "", "Count": 1, "Capabilities": [["gpu"]]}]}, [], ("all",)),
        ({"DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": [A]}]}, [], (A,)),
        ({"DeviceRequests": [{"Driver": "other", "Capabilities": [["fpga"]]}]}, [], ()),
        (*nvidia("all"), ("all",)),
        (*nvidia(f"{A},{B}"), (A, B)),
        (*nvidia(f"nvidia.com/gpu={A}"), (A,)),
        (*nvidia("void"), ()),
        (*nvidia("none"), ()),
        (*nvidia(""), ()),
        ({"Runtime": "nvidia"}, [], ()),
        ({"Runtime": "runc"}, ["NVIDIA_VISIBLE_DEVICES=all"], ()),
        ({"Devices": [{"PathOnHost": "/dev/nvidia0"}]}, [], ("all",)),
        ({"Devices": [{"PathOnHost": "/dev/nvidiactl"}]}, [], ()),
        ({"Devices": [{"PathOnHost": "/dev"}]}, [], ("all",)),
        ({"Devices": [{"PathOnHost": "/dev/fuse"}]}, [], ()),
        ({"Privileged": True}, [], ()),
        ({**cdi(f"nvidia.com/gpu={A}"), "Devices": [{"PathOnHost": "/dev/nvidia1"}]}, [], ("all",)),
    ],
)
def test_devices_of_a_container(
    host: dict[str, Any], environment: list[str], devices: tuple[str, ...]
) -> None:
    assert find_devices({"HostConfig": host, "Config": {"Env": environment}}) == devices


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T09:52:35.123456789Z", datetime(2026, 11, 21, 9, 52, 35, 123456, UTC)),
        ("2026-11-21T09:52:35Z", datetime(2026, 11, 21, 9, 52, 35, tzinfo=UTC)),
        ("2026-11-21T10:52:35.5+01:00", datetime(2026, 11, 21, 9, 52, 35, 500000, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_time_of_the_end(text: str, time: datetime | None) -> None:
    assert read_outcome({"State": {"FinishedAt": text}}).finished_at == time


@pytest.mark.parametrize(
    ("exit_code", "flag", "killed"),
    [(137, True, True), (137, False, False), (0, True, False), (3, True, False)],
)
def test_out_of_memory_needs_flag_and_kill(exit_code: int, flag: bool, killed: bool) -> None:
    assert read_outcome({"State": {"ExitCode": exit_code, "OOMKilled": flag}}).oom_killed is killed


def killed(ago: timedelta, flag: bool) -> dict[str, Any]:
    finished = (datetime.now(UTC) - ago).isoformat()
    return {"State": {"ExitCode": 137, "OOMKilled": flag, "FinishedAt": finished}}


@pytest.mark.parametrize(
    ("answers", "out_of_memory"),
    [
        ([(0, False), (0, False), (0, True)], True),
        ([(5, False), (0, True)], False),
        ([(0, True)], True),
    ],
)
def test_the_flag_of_one_that_was_killed_just_now_is_waited_for(
    answers: list[tuple[int, bool]], out_of_memory: bool
) -> None:
    said = [killed(timedelta(seconds=ago), flag) for ago, flag in answers]
    engine, told = engine_with(containers=[summary("exited")]), iter(said)
    engine._client.inspect_container = lambda _: next(told)  # type: ignore[union-attr,method-assign]
    (found,) = engine.list_containers()
    assert found.outcome
    assert found.outcome.oom_killed is out_of_memory


def test_what_was_not_said_is_unknown() -> None:
    outcome = read_outcome({"State": {}, "HostConfig": {"Memory": 0}})
    assert (outcome.exit_code, outcome.memory_limit_bytes, outcome.error) == (None, None, "")


class StubClient:
    """Answers with what it was given, or raises it."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def __getattr__(self, name: str) -> Any:
        def answer(*_: Any, **__: Any) -> Any:
            given = self.answers[name]
            if isinstance(given, Exception):
                raise given
            return given

        return answer


def engine_with(**answers: Any) -> DockerEngine:
    engine = DockerEngine(ledger_id="ours")
    engine._client = StubClient(**answers)  # type: ignore[assignment]
    return engine


def api_error(status: int, explanation: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    kind = NotFound if status == 404 else APIError
    return kind("refused", response=response, explanation=explanation)


def summary(state: str) -> dict[str, Any]:
    return {"Id": "c" * 64, "Names": ["/one"], "State": state, "Labels": {"gpuspawner.ledger": "ours"}}


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("created", ContainerState.CREATED),
        ("running", ContainerState.RUNNING),
        ("paused", ContainerState.RUNNING),
        ("restarting", ContainerState.RUNNING),
        ("exited", ContainerState.EXITED),
        ("dead", ContainerState.EXITED),
        ("removing", ContainerState.REMOVING),
    ],
)
def test_states(word: str, state: ContainerState) -> None:
    (found,) = engine_with(containers=[summary(word)], inspect_container={}).list_containers()
    assert (found.state, found.name) == (state, "one")


def test_a_container_that_goes_while_it_is_inspected_is_gone() -> None:
    gone = api_error(404, "No such container")
    assert engine_with(containers=[summary("running")], inspect_container=gone).list_containers() == []


def test_a_container_that_cannot_be_inspected_makes_the_list_worthless() -> None:
    broken = api_error(500, "layer does not exist")
    with pytest.raises(EngineError, match=r"layer does not exist \(HTTP 500\)"):
        engine_with(containers=[summary("running")], inspect_container=broken).list_containers()


def test_a_state_that_docker_will_invent_makes_the_list_worthless() -> None:
    with pytest.raises(EngineError, match="makes no sense"):
        engine_with(containers=[summary("dreaming")]).list_containers()


def test_removal_in_progress_is_success_and_other_conflicts_are_not() -> None:
    going = api_error(409, "removal of container c is already in progress")
    engine_with(remove_container=going).remove("c")
    with pytest.raises(EngineError, match="HTTP 409"):
        engine_with(remove_container=api_error(409, "container is paused")).remove("c")


def test_a_log_driver_that_keeps_nothing_is_an_empty_log() -> None:
    unreadable = api_error(501, "configured logging driver does not support reading")
    assert engine_with(logs=unreadable).read_log_tail("c", 5) == ""
    with pytest.raises(EngineError):
        engine_with(logs=api_error(500, "boom")).read_log_tail("c", 5)


def test_a_log_is_kept_short_and_need_not_be_text() -> None:
    tail = engine_with(logs=b"\xff" + b"x" * 200_000 + b"end\n").read_log_tail("c", 5)
    assert tail.endswith("end\n")
    assert len(tail) <= 64 * 1024
