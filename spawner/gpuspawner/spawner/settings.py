"""What a site can set, and the defaults that differ from DockerSpawner's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from dockerspawner import DockerSpawner
from jupyterhub.traitlets import ByteSpecification
from traitlets import Dict, Enum, Int, List, TraitError, Unicode, default, validate

from gpuspawner.allocator import utc_now
from gpuspawner.core.images import list_offered
from gpuspawner.core.model import HomeKind
from gpuspawner.core.placement import STALE_AFTER

from .hubrun import HubRun
from .startpage import read_form


class SpawnerSettings(DockerSpawner):
    """DockerSpawner with our traits and defaults, and nothing done with them yet."""

    ledger = Unicode(
        "gpuspawner.sqlite",
        help="""The ledger's database file: who holds which GPU, and where everybody's home is.

        The agent must be given the same file. Default: ``gpuspawner.sqlite`` in the hub's working directory.
        """,
    ).tag(config=True)
    host = Unicode(help="Name of this GPU host in the ledger. Default: its host name.").tag(config=True)
    gpus_per_server = Int(1, min=0, help="The most GPUs that one server may have.").tag(config=True)
    gpus_per_person = Int(
        1, min=0, help="The most GPUs that one person may hold in all their servers together."
    ).tag(config=True)
    policy = Unicode(
        help="""The policy file: groups, people and courses, and what each may use (docs/policy.md).

        What it says nothing about is as set here. A change of the file holds from the next start of a server
        on. Default: none, and all people have the same limits.
        """,
    ).tag(config=True)
    stale_after = Int(
        round(STALE_AFTER.total_seconds()),
        min=1,
        help="""Seconds after which the agent's last report is no longer believed.

        No GPU is given out then; servers without a GPU still start.
        """,
    ).tag(config=True)
    queue_url = Unicode(
        help="""Where people see their place in line, as ``/services/gpu/queue``; the controller serves it.

        Default: none. Then nobody queues: a start that finds no free GPU is refused.
        """,
    ).tag(config=True)
    session_url = Unicode(
        help="""Where a server asks the controller about its own session, reached from the containers.

        The server has it as ``GPUSPAWNER_SESSION_URL``. Default: none, and JupyterLab shows nothing.
        """,
    ).tag(config=True)
    ssh_dir = Unicode(
        help="""Directory of the keys of SSH (docs/ssh.md); each server gets its person's part of it mounted.

        Default: none, and servers are not reached by SSH.
        """,
    ).tag(config=True)
    passports = Unicode(
        help="""Directory of the images' passports, which say what each needs of a card (docs/passports.md).

        A server gets no card on which its image does not run. An image without a passport gets any.
        Default: none, and no image has a passport.
        """,
    ).tag(config=True)
    home_dir = Unicode("/home/jovyan", help="Where the images expect a person's home.").tag(config=True)
    home_kind = Enum(
        [kind.value for kind in HomeKind],
        default_value=HomeKind.VOLUME.value,
        help="Whether new homes are Docker volumes or directories (``bind``). Known homes stay as they are.",
    ).tag(config=True)
    home_base = Unicode(
        "homes", help="Directory in which homes of the kind ``bind`` are made, on the Docker host."
    ).tag(config=True)
    course_base = Unicode(
        help="""Directory in which folders of teams and hand-ins are made, absolute, on the Docker host.

        The hub must be able to give what it makes there to the container's user, and must not run as that
        user itself. Default: none, and courses have no such folders.
        """,
    ).tag(config=True)
    uid = Int(1000, min=1, help="User id in every container, whatever the image. Never root.").tag(
        config=True
    )
    gid = Int(1000, min=1, help="Group id in every container.").tag(config=True)
    pids_limit = Int(4096, min=64, help="The most processes and threads in a container.").tag(config=True)
    shm_size = ByteSpecification(
        "1G",
        help="Size of /dev/shm, in bytes or with a suffix K, M, G. PyTorch's DataLoader workers need it.",
    ).tag(config=True)
    docker_threads = Int(
        32,
        min=2,
        help="The most Docker calls under way at once. A call that hangs occupies one until it times out.",
    ).tag(config=True)
    settle_seconds = Int(
        20,
        min=1,
        help="Seconds of ``start_timeout`` that are kept back for clearing away a start that failed.",
    ).tag(config=True)
    engine_patience = Int(
        120,
        min=0,
        help="Seconds for which a starting hub waits for a silent Docker Engine before it goes on without.",
    ).tag(config=True)

    candidates = List(
        Unicode(),
        help="Images on trial, by their names: only those can choose them whose policy names them.",
    ).tag(config=True)

    frozen = Dict(
        help='The last day on which an image can be chosen, by name: ``{"PyTorch 2.7": "2027-07-31"}``. '
        "Servers that run go on."
    ).tag(config=True)

    @validate("frozen")
    def _check_frozen(self, proposal: Any) -> dict[str, str]:
        for name, day in proposal["value"].items():
            try:
                date.fromisoformat(day)
            except (TypeError, ValueError):
                raise TraitError(
                    f'GPUSpawner.frozen: {name!r} must have a day such as "2027-07-31", not {day!r}.'
                ) from None
        return dict(proposal["value"])

    @default("host")
    def _default_host(self) -> str:
        return socket.gethostname()

    @default("remove")
    def _default_remove(self) -> bool:
        """A container that is kept would come back with its old GPUs, image and token."""
        return True

    @default("pull_policy")
    def _default_pull_policy(self) -> str:
        """Images are on the host beforehand: a pull inside a start would outlast the start."""
        return "never"

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return 120

    @default("poll_interval")
    def _default_poll_interval(self) -> int:
        """Until the next poll people are sent to a server that has died; JupyterHub's own default is 30 s."""
        return 10

    @default("client_kwargs")
    def _default_client_kwargs(self) -> dict[str, Any]:
        return {"max_pool_size": self.docker_threads}

    @default("options_form")
    def _default_options_form(self) -> Callable[[Any], Any]:
        return lambda spawner: spawner.render_start_page()

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[Any], Any]:
        return read_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[Any, Any], Any]:
        return lambda spawner, options: spawner.check_options(options)

    @property
    def catalogue(self) -> dict[str, str]:
        """What can be chosen today, image name → reference; the first is the default."""
        return list_offered(self.known_images, self.last_days, utc_now().astimezone().date())

    @property
    def last_days(self) -> dict[str, date]:
        """Until when frozen images can be chosen."""
        return {name: date.fromisoformat(day) for name, day in self.frozen.items()}

    @property
    def known_images(self) -> dict[str, str]:
        """What may be named, image name → reference, also those that nobody can choose any more."""
        images = self._get_allowed_images()
        if images == "*":
            raise TraitError(
                "DockerSpawner.allowed_images = '*' would let people run any image; list the images instead."
            )
        return images or {self.image: self.image}

    @property
    def run(self) -> HubRun:
        """What all spawners of this hub share."""
        return HubRun.on(Path(self.ledger).absolute())
