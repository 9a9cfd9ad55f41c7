"""The gateway's process: it keeps sshd, answers the program that sshd runs, and carries connections on."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gpuspawner.adapters.process import raise_open_files
from gpuspawner.adapters.ssh_files import SSHD, SshFiles
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.ssh import without_doors
from gpuspawner.policy.settings import Settings

from .config import BANNER, PENALTIES, Setup, build_config
from .desk import MOST_REPORT_SECONDS, SECONDS, Away, ControllerDesk
from .monitors import Monitors, find_asker, find_parent
from .relay import Relay
from .strangers import Strangers

REPORT_SECONDS = 10.0
"""From one report to the controller to the next: a removed key ends what is open after so long."""
SECRET_SECONDS = 60.0
"""How long a controller may take to start."""
MOST_ASKED = 32 * 1024
"""Bytes of a key that is asked for."""
SEPARATE = Path("/run/sshd")
"""Where sshd's processes are locked up that talk to strangers; the program itself wants it to be there."""
PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
_PDEATHSIG = 1
log = logging.getLogger("gpuspawner.gateway")


class Keeper:
    """One run of the gateway.

    Args:
        settings: The installation's.
        folder: Where the files of sshd are kept.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._files = SshFiles(settings.ssh_folder)
        self._desk = ControllerDesk(self._files.socket)
        self._monitors = Monitors()
        self._run = secrets.token_hex(8)
        self._relay = Relay(self._desk, self._monitors, self._run)
        self._sshd: asyncio.subprocess.Process | None = None
        self._strangers = Strangers()

    async def serve(self) -> int:
        """Serve until SIGTERM or SIGINT, or until sshd ends; the exit code."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        setup = self._prepare()
        # Anybody on this host can come here; who asks is known by their process, and others get no answer.
        server = await asyncio.start_unix_server(self._answer, f"\0{setup.socket}", limit=MOST_ASKED)
        sshd = self._sshd = await asyncio.create_subprocess_exec(
            SSHD,
            "-D",
            "-e",
            "-f",
            str(setup.folder / "config"),
            preexec_fn=_die_with_parent,
            start_new_session=True,
        )
        where = self._settings.ssh
        log.info("The gateway of SSH listens on %s, port %s", ", ".join(where.addresses), where.port)
        report = loop.create_task(self._report_on_and_on())
        ended = loop.create_task(sshd.wait())
        stopped = loop.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        report.cancel()
        for one in self._monitors.living():
            self._monitors.end(one)
        await self._relay.close()
        with suppress(Away):
            await self._report(SECONDS)
        server.close()
        if sshd.returncode is None:
            sshd.terminate()
        await ended
        stopped.cancel()
        if not stop.is_set():
            log.error("sshd ended with code %s; its reason is above", sshd.returncode)
        return 0 if stop.is_set() else 1

    def _prepare(self) -> Setup:
        """Write what sshd reads. Raises: SettingsError, OSError."""
        raise_open_files()
        folder, ssh = self._folder, self._settings.ssh
        if os.getuid() == 0:
            SEPARATE.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / "host_key", self._files.gateway_key().private, 0o600)
        page = f"{self._settings.hub_origin}{self._settings.service_url}ssh"
        _write(folder / "banner", BANNER.format(page=page), 0o644)
        setup = Setup(
            folder, ssh.addresses, ssh.port, ssh.account, _find_python(),
            Path(__file__).with_name("ask.py").read_text(), f"gpuspawner-ssh-{self._run}",
        )  # fmt: skip
        _write_config(folder / "config", build_config(setup))
        return setup

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What a key opens, for the program that sshd runs."""
        try:
            asker = find_asker(writer.get_extra_info("socket"))
            if asker is None or self._sshd is None or find_parent(asker) != self._sshd.pid:
                self._strangers.warn(
                    "Somebody asks what a key opens who is not sshd's program: process %s", asker
                )
                return
            async with asyncio.timeout(SECONDS):
                key = (await reader.readline()).decode("ascii").strip()
            line = await self._judge(key, asker)
            writer.write(f"{line}\n".encode() if line else b"")
            await writer.drain()
        except (OSError, ValueError) as error:
            log.warning("sshd's question was not answered: %s", error)
        finally:
            writer.close()

    async def _judge(self, key: str, asker: int) -> str:
        try:
            answer = await self._desk.ask("key", key=key)
        except Away as error:
            log.warning("%s", error)
            return ""
        if not answer["line"]:
            self._monitors.forget(asker)
            return ""
        shut = self._relay.open_doors(answer["addresses"])
        for address, why in shut.items():
            with suppress(Away):
                await self._desk.ask("shut", fingerprint=answer["fingerprint"], address=address, why=why)
        line = without_doors(answer["line"], shut)
        if not line:
            self._monitors.forget(asker)
            return ""
        # What somebody else listens at is not a door of ours, and nobody is led there.
        self._monitors.note(asker, answer["fingerprint"], set(answer["addresses"]) - shut.keys())
        return line

    async def _report_on_and_on(self) -> None:
        while True:
            try:
                await self._report()
            except Away as error:
                log.warning("%s", error)
            except Exception:
                log.exception("The report failed")
            await asyncio.sleep(REPORT_SECONDS)

    async def _report(self, seconds: float = MOST_REPORT_SECONDS) -> None:
        """Tell the controller what is open, and end what must end. Raises: Away."""
        carried = list(self._relay.carried.values())
        told = [
            {"id": one.id, "sent": one.sent, "received": one.received, "ended": one.ended} for one in carried
        ]
        living = self._monitors.living()
        keys = sorted({one.fingerprint for one in living})
        answer = await self._desk.ask("report", seconds=seconds, gateway=self._run, told=told, keys=keys)
        for said in told:
            if said["ended"] is not None:
                del self._relay.carried[str(said["id"])]
        for number, why in answer["end"].items():
            if (found := self._relay.carried.get(number)) is not None:
                log.info("%s must end: %s", number, why)
                self._relay.end(found, why)
        for one in living:
            if one.fingerprint in answer["bad"]:
                self._monitors.end(one)


def _find_python() -> Path:
    """A Python that sshd runs a program with: it and its folders belong to root. Raises: SettingsError."""
    for name in (*PYTHONS, sys.executable):
        path = Path(name)
        if path.exists() and all(_is_roots(one) for one in (path.resolve(), *path.resolve().parents)):
            return path.resolve()
    raise SettingsError(f"sshd runs only what belongs to root, and there is no such Python: {PYTHONS[0]}.")


def _write_config(path: Path, text: str) -> None:
    """Write the configuration; with the option that only newer versions of OpenSSH know, if this one does."""
    _write(path, text + PENALTIES, 0o600)
    done = subprocess.run([SSHD, "-t", "-f", path], capture_output=True, text=True, check=False, timeout=30)
    if "Bad configuration option" in done.stderr:
        _write(path, text, 0o600)


def _is_roots(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == 0 and not found.st_mode & 0o022


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


def _write(path: Path, text: str, mode: int) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    partial.chmod(mode)
    partial.replace(path)


def await_secret(settings: Settings, seconds: float = SECRET_SECONDS) -> None:
    """Wait until the controller has made what host keys come from: what root made there, it could not read.

    Raises:
        SettingsError: It has not.
    """
    files, deadline = SshFiles(settings.ssh_folder), time.monotonic() + seconds
    while not files.has_secret:
        if time.monotonic() > deadline:
            raise SettingsError(
                f"There is no secret in {settings.ssh_folder} that host keys come from. The controller makes "
                "it: start that first."
            )
        time.sleep(0.2)


def require_ready(settings: Settings, programs: Sequence[str] = (SSHD,)) -> None:
    """Check that the gateway can run here. Raises: SettingsError."""
    if not settings.ssh.enabled:
        raise SettingsError("ssh.enabled is false in the settings, so there is no gateway. Set it to true.")
    for program in programs:
        if not Path(program).exists():
            raise SettingsError(f"{program} is missing. Install it: apt-get install openssh-server")
    account = settings.ssh.account
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        raise SettingsError(f"ssh.account is {account}, and this host has no such account.") from None
    if uid == 0:
        raise SettingsError("ssh.account must not be root. Use an account without a shell.")
    if os.getuid() not in (0, uid):
        raise SettingsError(
            f"Who is not root serves only themselves: run this as root, or set ssh.account to "
            f"{pwd.getpwuid(os.getuid()).pw_name}."
        )
