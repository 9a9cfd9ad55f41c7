"""The containers in which images are checked: alone, without a network, and gone afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from .container import build_device_requests, build_gpu_environment

LABEL_CHECK = "gpuspawner.check"
"""Until when the container may be there, in seconds since 1970: what is left of a command that was killed is
removed by the next one after that."""
OVERTIME_SECONDS = 60
"""A container ends itself when its time is over; so long after that it is ended from outside."""


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One command in one container."""

    image: str
    """Id of the image."""
    command: tuple[str, ...]
    seconds: int
    """How long it may take."""
    devices: tuple[str, ...] = ()
    """UUIDs of the GPUs that it gets."""
    labels: dict[str, str] = field(default_factory=dict)
    """Of the lease that holds the devices."""
    user: str = "1000:1000"
    memory_bytes: int = 8 * 2**30
    cpus: float = 2.0
    pids: int = 512
    shm_bytes: int = 1 * 2**30
    scratch_bytes: int = 1 * 2**30
    """Size of /tmp, which is all that can be written; it counts as memory."""
    waits: bool = False
    """Whether it lives until whoever started it goes away, and says nothing."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    exit_code: int | None
    """None when the container was gone before it could be asked."""
    oom_killed: bool
    out: str
    """All of its output."""
    err: str
    """The end of its errors."""


def build_check_container(run: CheckRun, now: float) -> dict[str, object]:
    """The Engine's body of ``POST /containers/create``.

    Args:
        run: What is to be run.
        now: Seconds since 1970.
    """
    until = int(now) + run.seconds + OVERTIME_SECONDS
    environment = build_gpu_environment(run.devices)
    command = list(run.command) if run.waits else ["timeout", "-k", "10", str(run.seconds), *run.command]
    return {
        "Image": run.image,
        "Cmd": command,
        "User": run.user,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**run.labels, LABEL_CHECK: str(until)},
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": run.waits,
        "StdinOnce": run.waits,
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"size={run.scratch_bytes},mode=1777"},  # noqa: S108 - of the container
            "Memory": run.memory_bytes,
            "MemorySwap": run.memory_bytes,
            "NanoCpus": int(run.cpus * 1e9),
            "PidsLimit": run.pids,
            "ShmSize": run.shm_bytes,
            "DeviceRequests": build_device_requests(run.devices),
        },
    }


def explain_end(ended: Ended, seconds: int) -> str | None:
    """Say why a command gave no result, or None when it ended by itself with a status of its own."""
    if ended.oom_killed:
        return "Its memory ran out."
    if ended.exit_code == 124 or (ended.exit_code == 137 and not ended.out):
        return f"It was not done within {seconds} s."
    if ended.exit_code in (126, 127):
        return "The image has no command gpuspawner-session that can be run. Build it with `make images`."
    if not ended.out.strip():
        last = ended.err.strip().splitlines()[-1:] or ["it said nothing"]
        return f"It ended with status {ended.exit_code} and no result: {last[0][:500]}"
    return None
