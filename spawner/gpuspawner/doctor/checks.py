"""From facts to findings. Pure: every check is a function of the facts alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePath

from .door import check_door
from .facts import CdiSpec, Facts
from .findings import Finding, Level, parse_version, unknown
from .gateway import check_gateway
from .images import check_images
from .installation import check_controller, check_files, check_ledger, check_policy

GIBIBYTE = 1024**3
SHM = "/dev/shm"  # noqa: S108 - it is looked at, and nothing is put there
DAEMON_JSON = "/etc/docker/daemon.json"
SIMULATED = "gpuspawner-sim-"
"""Beginning of the names of the simulation's CDI specs."""


Check = Callable[[Facts], Iterator[Finding]]


def check_all(facts: Facts) -> tuple[Finding, ...]:
    """Every finding, in the order of the checks."""
    return tuple(finding for check in CHECKS for finding in check(facts))


def check_engine(facts: Facts) -> Iterator[Finding]:
    """The Engine answers and is new enough for CDI."""
    if facts.engine is None:
        yield Finding(
            "engine",
            Level.ERROR,
            facts.engine_error or "The Docker Engine does not answer.",
            "Servers are containers of the Docker Engine.",
            "systemctl start docker",
        )
        return
    version = facts.engine.version
    if parse_version(version) < (26,):
        yield Finding(
            "engine",
            Level.ERROR,
            f"Docker Engine {version}",
            "Engines before 26 do not hand out GPUs by CDI.",
            "apt-get install docker-ce  # from https://docs.docker.com/engine/install/, 28.2 or later",
        )
    elif parse_version(version) < (28, 2):
        yield Finding(
            "engine",
            Level.WARNING,
            f"Docker Engine {version}",
            "It works; from 28.2 CDI is on by default and the Engine lists the devices that it found.",
            "apt-get install docker-ce  # from https://docs.docker.com/engine/install/, 28.2 or later",
        )
    else:
        yield Finding("engine", Level.OK, f"Docker Engine {version}")


def check_cdi(facts: Facts) -> Iterator[Finding]:
    """CDI is on."""
    if facts.engine is None:
        yield unknown("cdi", "Whether CDI is on is not known: the Docker Engine does not answer.")
    elif not facts.engine.cdi_spec_dirs:
        yield Finding(
            "cdi",
            Level.ERROR,
            "CDI is off in the Docker Engine.",
            "GPUs are handed out by CDI.",
            f'Put {{"features": {{"cdi": true}}}} into {DAEMON_JSON}, then: systemctl restart docker',
        )
    else:
        yield Finding("cdi", Level.OK, f"CDI is on; specs in {', '.join(facts.engine.cdi_spec_dirs)}")


def check_default_runtime(facts: Facts) -> Iterator[Finding]:
    """The default runtime is not NVIDIA's."""
    if facts.engine is None:
        yield unknown(
            "default-runtime", "The default runtime is not known: the Docker Engine does not answer."
        )
    elif facts.engine.default_runtime.startswith("nvidia"):
        yield Finding(
            "default-runtime",
            Level.ERROR,
            f"Docker's default runtime is {facts.engine.default_runtime}.",
            "It opens every GPU to every container whose image sets NVIDIA_VISIBLE_DEVICES=all.",
            f'Remove "default-runtime" from {DAEMON_JSON}, then: systemctl restart docker',
        )
    else:
        yield Finding(
            "default-runtime", Level.OK, f"Docker's default runtime is {facts.engine.default_runtime}"
        )


def check_runc(facts: Facts) -> Iterator[Finding]:
    """runc has the known holes mended, as far as its version tells."""
    version = facts.engine.runc_version if facts.engine else ""
    numbers = parse_version(version)
    if not numbers:
        yield unknown("runc", "The version of runc is not known.")
        return
    if numbers >= (1, 4, 3) or (1, 3, 6) <= numbers < (1, 4):
        yield Finding("runc", Level.OK, f"runc {version}")
        return
    why = "runc before 1.3.6, and 1.4 before 1.4.3, lets a container break out of its walls"
    if re.search(r"[+~-](ds|deb|\d*ubuntu)", version) or facts.distribution in ("debian", "ubuntu"):
        yield Finding(
            "runc",
            Level.WARNING,
            f"runc {version}",
            f"{why}, unless the distribution has backported the fixes, as Debian and Ubuntu do.",
            "apt-get update && apt-get install --only-upgrade runc containerd.io",
        )
    else:
        yield Finding(
            "runc",
            Level.ERROR,
            f"runc {version}",
            f"{why}.",
            "Install runc 1.3.6 or later from https://github.com/opencontainers/runc/releases",
        )


def check_driver(facts: Facts) -> Iterator[Finding]:
    """NVML answers, and the driver is new enough."""
    probe = facts.probe
    simulated = any(_is_simulated(spec) for spec in facts.specs or ())
    if probe is None:
        yield unknown("driver", "The driver was not asked.")
        return
    if probe.missing_reason is not None:
        yield Finding(
            "driver",
            Level.UNKNOWN if simulated else Level.ERROR,
            f"The cards cannot be listed: {probe.missing_reason}.",
            "Only cards that the driver lists can be given out.",
            'eval "$(gpuspawner sim env --root PATH)" && gpuspawner doctor'
            if simulated
            else "nvidia-smi  # must list the cards; if there is none: apt-get install nvidia-driver",
        )
        return
    sick = [r for r in probe.devices if r.error or r.lost]
    for reading in sick:
        yield Finding(
            "driver",
            Level.ERROR,
            f"{reading.uuid}: {reading.error or 'lost'}",
            "A card that does not answer is given to nobody.",
            f"nvidia-smi --query-gpu=pci.bus_id,name --format=csv -i {reading.uuid}; dmesg | grep -i xid",
        )
    version = probe.driver_version
    if version is None:
        yield unknown("driver", "The driver does not say its version.")
    elif parse_version(version) < (525,):
        yield Finding(
            "driver",
            Level.ERROR,
            f"NVIDIA driver {version}",
            "Images with CUDA 12 need driver 525 or later, those with CUDA 13 need 580.",
            "apt-get install nvidia-driver  # 580 or later, then reboot",
        )
    elif not sick:
        cuda = "CUDA 12 and 13" if parse_version(version) >= (580,) else "CUDA 12; CUDA 13 needs 580"
        yield Finding("driver", Level.OK, f"NVIDIA driver {version} ({cuda}), {len(probe.devices)} device(s)")


def check_specs(facts: Facts) -> Iterator[Finding]:
    """The CDI specs name exactly the cards that the driver lists."""
    if facts.specs is None:
        yield unknown("cdi-specs", "The CDI specs are not known: the Docker Engine does not answer.")
        return
    yield from _check_spec_files(facts.specs)
    if facts.probe is None or facts.probe.missing_reason is not None:
        yield unknown("cdi-specs", "The CDI specs cannot be compared: the driver does not list the cards.")
        return
    listed = {reading.uuid for reading in facts.probe.devices}
    specified = {
        name
        for spec in facts.specs
        # A simulation that this driver knows nothing of is somebody else's.
        if not _is_simulated(spec) or listed & set(spec.devices)
        for name in spec.devices
        if name.startswith(("GPU-", "MIG-"))
    }
    regenerate = _regenerate(facts)
    differences = (
        (listed - specified, "In no CDI spec", "A server with that card would not start."),
        (specified - listed, "In a CDI spec and not in the machine", "The spec is of another time."),
    )
    for uuids, what, why in differences:
        if uuids:
            shown = ", ".join(sorted(uuids))
            yield Finding("cdi-specs", Level.ERROR, f"{what}: {shown}", why, regenerate)
    if not any(uuids for uuids, _, _ in differences):
        yield Finding("cdi-specs", Level.OK, f"The CDI specs name the {len(listed)} device(s) of the driver")


def _check_spec_files(specs: tuple[CdiSpec, ...]) -> Iterator[Finding]:
    for spec in specs:
        if spec.error:
            yield Finding(
                "cdi-specs",
                Level.ERROR,
                f"{spec.path}: {spec.error}",
                "The Engine does not know the devices in it.",
                f"rm {spec.path} && systemctl restart nvidia-cdi-refresh",
            )
        elif spec.path.startswith("/etc/cdi/"):
            yield Finding(
                "cdi-specs",
                Level.WARNING,
                f"{spec.path} is a static spec.",
                "It goes stale at the next driver update, and CUDA then fails with error 999.",
                f"rm {spec.path} && systemctl enable --now nvidia-cdi-refresh.path",
            )
    # Specs of a later directory replace those of an earlier one; within one directory they collide.
    named = Counter((PurePath(s.path).parent, name) for s in specs for name in set(s.devices))
    twice = sorted({name for (_, name), count in named.items() if count > 1})
    if twice:
        yield Finding(
            "cdi-specs",
            Level.ERROR,
            f"In two CDI specs of one directory: {', '.join(twice)}",
            "The Engine then gives out neither.",
            "rm the older of: " + " ".join(s.path for s in specs if set(twice) & set(s.devices)),
        )


def _regenerate(facts: Facts) -> str:
    if any(_is_simulated(spec) for spec in facts.specs or ()):
        return "Stop and start the simulation: it writes its spec anew."
    return "nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml"


def _is_simulated(spec: CdiSpec) -> bool:
    return PurePath(spec.path).name.startswith(SIMULATED)


def check_toolkit(facts: Facts) -> Iterator[Finding]:
    """The NVIDIA container toolkit is new enough, where there are real cards."""
    models = [r.device.model for r in facts.probe.devices if r.device] if facts.probe else []
    real = [model for model in models if "(simulated)" not in model]
    if not real:
        if models:
            yield Finding("toolkit", Level.OK, "The cards are simulated; no container toolkit is needed")
        return
    install = "apt-get install nvidia-container-toolkit  # 1.19.1 or later"
    if facts.toolkit_version is None:
        yield Finding(
            "toolkit",
            Level.WARNING,
            "nvidia-ctk was not found, or does not say its version.",
            "The NVIDIA container toolkit writes the CDI spec, and anew at each boot.",
            install,
        )
    elif parse_version(facts.toolkit_version) < (1, 19, 1):
        yield Finding(
            "toolkit",
            Level.ERROR,
            f"NVIDIA container toolkit {facts.toolkit_version}",
            "Versions before 1.19.1 have holes through which a container becomes root on the host.",
            install,
        )
    else:
        yield Finding("toolkit", Level.OK, f"NVIDIA container toolkit {facts.toolkit_version}")


def check_shm(facts: Facts) -> Iterator[Finding]:
    """The host has shared memory to give."""
    if facts.shm_bytes is None:
        yield unknown("shm", "The size of /dev/shm is not known.")
    elif facts.shm_bytes < GIBIBYTE:
        yield Finding(
            "shm",
            Level.WARNING,
            f"{SHM} has {facts.shm_bytes // 1024**2} MiB.",
            "Programs on the host that share memory fail there; each server has a /dev/shm of its own.",
            f"mount -o remount,size=50% {SHM}",
        )
    else:
        yield Finding("shm", Level.OK, f"{SHM} has {facts.shm_bytes / GIBIBYTE:.1f} GiB")


def check_disks(facts: Facts) -> Iterator[Finding]:
    """There is room for containers and for the ledger."""
    for disk in facts.disks:
        docker = disk.what.startswith("Docker")
        warning, error = (20, 5) if docker else (1, 0.1)
        free = disk.free_bytes / GIBIBYTE
        found = f"{free:.1f} GiB free for {disk.what} ({disk.path})"
        if free >= warning:
            yield Finding("disk", Level.OK, found)
            continue
        yield Finding(
            "disk",
            Level.ERROR if free < error else Level.WARNING,
            found,
            "Servers do not start on a full disk." if docker else "Without room there no GPU is given out.",
            "docker image prune" if docker else f"df -h {disk.path}  # free some space there",
        )


CHECKS: tuple[Check, ...] = (
    check_engine,
    check_cdi,
    check_default_runtime,
    check_runc,
    check_driver,
    check_specs,
    check_toolkit,
    check_shm,
    check_disks,
    check_files,
    check_ledger,
    check_controller,
    check_door,
    check_gateway,
    check_policy,
    check_images,
)
