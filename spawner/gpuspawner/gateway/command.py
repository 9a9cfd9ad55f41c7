"""``gpuspawner ssh-gateway``: the command that runs the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gpuspawner.adapters.process import log_to_stderr
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.policy.settings import load_settings

from .keeper import Keeper, await_secret, require_ready


@click.command("ssh-gateway", short_help="Let people into their servers by SSH.")
@click.option(
    "--settings",
    "settings_file",
    required=True,
    envvar="GPUSPAWNER_CONFIG",
    show_envvar=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings file of the hub.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where sshd's files are kept [default: gateway, beside the keys of SSH].",
)
def ssh_gateway(settings_file: Path, folder: Path | None) -> None:
    """Let people into their servers by SSH, and nowhere else.

    Runs OpenSSH with a configuration of its own, on a port of its own, beside whatever SSH the host has. Who
    may come in is said by the controller; while that is away, nobody new does, and who is in stays. Runs
    until it gets SIGTERM or SIGINT. Needs root, for the account without a shell.
    """
    log_to_stderr()
    try:
        settings = load_settings(settings_file)
        require_ready(settings)
        await_secret(settings)
        home = folder or settings.ssh_folder / "gateway"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = RunLock(home / "lock", "gateway of SSH")
    except GpuSpawnerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or settings_file}: {error.strerror}.") from None
    try:
        code = asyncio.run(Keeper(settings, home).serve())
    except GpuSpawnerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or home}: {error.strerror}.") from None
    finally:
        lock.release()
    raise SystemExit(code)
