"""What the doctor looks at. Everything may be unknown, and then says why; nothing is judged here."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import is_held
from gpuspawner.core.container import CDI_KIND
from gpuspawner.core.errors import EngineError, LedgerError, SettingsError
from gpuspawner.passport.known import KnownImage, KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import load_settings
from gpuspawner.ports import ContainerEngine, EngineInfo, GpuProbe, Images, ProbeReport

from .door import DoorFacts
from .gateway import GatewayFacts

SECRETS = ("*cookie_secret*", "*secret*", "*token*", "*.key", "*.pem")
"""Names, in the ledger's directory, of files that nobody else may read."""


@dataclass(frozen=True, slots=True)
class CdiSpec:
    """One CDI spec file for NVIDIA devices."""

    path: str
    devices: tuple[str, ...] = ()
    """Names, as in ``nvidia.com/gpu=<name>``."""
    error: str = ""
    """Why it could not be read."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that something of ours lives on."""

    what: str
    path: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class FileMode:
    """A file's permission bits."""

    path: str
    mode: int
    behind_closed_directory: bool = False
    """Whether others cannot enter its directory, so that its own bits do not matter."""


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """The ledger."""

    path: str
    error: str = ""
    """Why it cannot be written; empty when it can."""
    last_report: datetime | None = None
    """When the agent last reported a card; None when it never did, or when that could not be read."""
    in_line: int = 0
    """How many wait, or have been offered something."""
    controller_runs: bool | None = None
    """None when that cannot be told."""
    hosts: tuple[str, ...] = ()
    """Every host that ever reported a card to it."""
    host: str = ""
    """The one that is meant, where that is not the name of this machine."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The policy file that the settings name."""

    path: str
    error: str = ""
    """What is wrong with it, or with the settings; empty when it is right."""


@dataclass(frozen=True, slots=True)
class ImagesFacts:
    """The images that people can choose; the first is the default."""

    passports: str
    """Directory of their passports."""
    images: tuple[KnownImage, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was found. None is unknown."""

    now: datetime
    engine: EngineInfo | None = None
    engine_error: str = ""
    specs: tuple[CdiSpec, ...] | None = None
    probe: ProbeReport | None = None
    distribution: str | None = None
    """``ID`` of /etc/os-release, such as ``debian``."""
    toolkit_version: str | None = None
    """Of the NVIDIA container toolkit; None when it is not installed or does not say."""
    shm_bytes: int | None = None
    """Size of the host's /dev/shm."""
    disks: tuple[Disk, ...] = ()
    files: tuple[FileMode, ...] = ()
    policy: PolicyFacts | None = None
    """None when there is none."""
    ledger: LedgerFacts | None = None
    """None when no ledger was named."""
    images: ImagesFacts | None = None
    """None when there are no settings."""
    door: DoorFacts | None = None
    """None when there are no settings, or no controller in them."""
    gateway: GatewayFacts | None = None
    """None when there are no settings, or no SSH in them."""


def gather(
    engine: ContainerEngine, probe: GpuProbe, ledger: Path | None, host: str, *, now: datetime
) -> Facts:
    """Look at everything once."""
    info, engine_error = _ask_engine(engine)
    directory = ledger.parent if ledger else None
    places = [("Docker's images and volumes", info.root_dir if info else None), ("the ledger", directory)]
    return Facts(
        now=now,
        engine=info,
        engine_error=engine_error,
        specs=read_specs(info.cdi_spec_dirs) if info else None,
        probe=probe.look(),
        distribution=read_distribution(Path("/etc/os-release")),
        toolkit_version=read_toolkit_version(),
        shm_bytes=_size(Path("/dev/shm")),  # noqa: S108 - it is only measured
        disks=tuple(disk for what, path in places if path and (disk := read_disk(what, Path(path)))),
        files=read_modes(ledger) if ledger else (),
        ledger=read_ledger(ledger, host) if ledger else None,
    )


def read_policy(settings_file: Path | None) -> PolicyFacts | None:
    """Read settings and policy as the hub would; None where there is no policy."""
    if settings_file is None:
        return None
    path = settings_file
    try:
        settings = load_settings(settings_file)
        if settings.policy is None:
            return None
        path = settings.policy
        load_policy(path, images=settings.images, places=settings.places)
    except SettingsError as error:
        return PolicyFacts(str(path), str(error))
    return PolicyFacts(str(path))


def read_images(settings_file: Path | None, engine: Images) -> ImagesFacts | None:
    """What is known of the images of the settings; None without settings, or with broken ones."""
    if settings_file is None:
        return None
    try:
        settings = load_settings(settings_file)
    except SettingsError:  # the check of the policy says so
        return None
    known = KnownImages(
        settings.images,
        engine,
        Shelf(settings.passports_path),
        candidates=settings.candidates,
        frozen=settings.frozen,
    )
    return ImagesFacts(str(settings.passports_path), known.all())


def _ask_engine(engine: ContainerEngine) -> tuple[EngineInfo | None, str]:
    try:
        return engine.info(), ""
    except EngineError as error:
        return None, str(error)


def read_specs(directories: Iterable[str]) -> tuple[CdiSpec, ...]:
    """Read every CDI spec of NVIDIA devices; one that cannot be read is listed with the reason."""
    found = []
    for directory in directories:
        for path in sorted(Path(directory).glob("*")):
            if path.suffix in (".json", ".yaml", ".yml"):
                spec = _read_spec(path)
                found += [spec] if spec else []
    return tuple(found)


def _read_spec(path: Path) -> CdiSpec | None:
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if content["kind"] != CDI_KIND:
            return None
        return CdiSpec(str(path), tuple(str(device["name"]) for device in content["devices"]))
    except OSError as error:
        return CdiSpec(str(path), error=error.strerror or str(error))
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        return CdiSpec(str(path), error="it is not a CDI spec")


def read_distribution(path: Path) -> str | None:
    """``ID`` of an os-release file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line[3:].strip("\"'") for line in lines if line.startswith("ID=")), None)


def read_toolkit_version() -> str | None:
    """Ask ``nvidia-ctk`` for its version."""
    command = shutil.which("nvidia-ctk")
    if command is None:
        return None
    try:
        answer = subprocess.run(
            [command, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    words = answer.stdout.partition("version")[2].split()
    return words[0] if words else None


def read_disk(what: str, path: Path) -> Disk | None:
    """Free space where a path is; None if it is not there."""
    try:
        return Disk(what, str(path), shutil.disk_usage(path).free)
    except OSError:
        return None


def _size(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None


def read_modes(ledger: Path) -> tuple[FileMode, ...]:
    """Permission bits of the ledger's files and of what looks like a secret beside it."""
    paths = {ledger, Path(f"{ledger}-wal"), Path(f"{ledger}-shm")}
    for pattern in SECRETS:
        paths.update(ledger.absolute().parent.glob(pattern))
    modes = []
    for path in sorted(paths):
        try:
            about = path.stat()
            closed = not path.parent.stat().st_mode & stat.S_IXOTH
        except OSError:
            continue
        if stat.S_ISREG(about.st_mode):
            modes.append(FileMode(str(path), stat.S_IMODE(about.st_mode), closed))
    return tuple(modes)


def read_ledger(path: Path, host: str) -> LedgerFacts:
    """Open the ledger for writing, change nothing, and see when the agent last reported."""
    if not path.is_file():
        return LedgerFacts(str(path), error="The file does not exist.")
    ledger = Ledger(path, migrate=False)
    try:
        with ledger.read() as unit:
            inventory, tickets = unit.inventory(host), unit.live_tickets(host)
            hosts = unit.hosts()
        last = max((record.seen_at for record in inventory), default=None)
        if not os.access(path, os.W_OK):
            return LedgerFacts(str(path), error=f"The ledger {path} is read-only.", last_report=last)
        with ledger.write():
            pass
        runs = is_held(Path(f"{path}.controller.lock"))
        return LedgerFacts(
            str(path),
            last_report=last,
            in_line=len(tickets),
            controller_runs=runs,
            hosts=hosts,
            host=host if host != socket.gethostname() else "",
        )
    except LedgerError as error:
        return LedgerFacts(str(path), error=str(error))
    finally:
        ledger.close()
