"""Every word with the Docker Engine: calls, the container's parts, and what its answers mean."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, ParamSpec, TypeVar
from urllib.parse import urlsplit

from jupyterhub.utils import fmt_ip_url

from gpuspawner.adapters.course_folders import CourseFolders, require_shared
from gpuspawner.adapters.docker_calls import ENGINE_FAILURES, DockerCalls, NotFound
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.allocator.key_ends import end_keys_of
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.container import (
    SESSION_URL,
    SSH_TARGET,
    Size,
    build_gpu_environment,
    build_host_config,
    build_labels,
    merge_host_config,
)
from gpuspawner.core.coursework import LANDING_VARIABLE, describe_parts, plan_folders, pull_path
from gpuspawner.core.errors import EngineError, GpuSpawnerError
from gpuspawner.core.model import Home, Lease, SpawnRequest
from gpuspawner.core.sharing import Mount
from gpuspawner.core.words import mark

from .access import Access, PersonalSpawner
from .refusals import refuse

IMAGE_DIGEST = "GPUSPAWNER_IMAGE_DIGEST"
"""Tells a session which image it runs."""

_HUB = Actor("hub", ActorKind.SERVICE)
P = ParamSpec("P")
T = TypeVar("T")


class ContainerSpawner(PersonalSpawner):
    """A container per server, built from a lease and a home; whose they are is decided elsewhere."""

    home: Home | None = None
    """Where the person's files are; set before the container is created."""
    lease: Lease | None = None
    """What the container is created with; None is a start without the ledger."""
    digest: str = ""
    """The id of the image that the container is made of; set before it is created."""
    ssh_mount: Mount | None = None
    """What its SSH server reads; None where there is none."""
    course_mounts: tuple[Mount, ...] = ()
    """What the person's groups have, and their courses for the image of this server."""
    course_environment: Mapping[str, str] = MappingProxyType({})
    """What tells the session about its courses."""

    _calls: ClassVar[DockerCalls | None] = None

    @property
    def calls(self) -> DockerCalls:
        """The pool that all spawners of this hub share."""
        if ContainerSpawner._calls is None:
            ContainerSpawner._calls = DockerCalls(self.docker_threads)
        return ContainerSpawner._calls

    @property
    def executor(self) -> Any:
        """DockerSpawner's own has one thread for everybody."""
        return self.calls.executor

    async def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the Engine: in order for one container, independent of all others."""
        return await self.calls.run(self.object_name, self._docker, method, *args, **kwargs)

    async def get_object(self) -> Any:
        """Inspect the container; None only when the Engine says that it does not exist.

        DockerSpawner reads a 500 as *gone* and forgets the container, which keeps its GPU.

        Raises:
            EngineError: The Engine gave no usable answer, again and again.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + (self.engine_patience if self._check_pending else 3)
        pause = 0.5
        while True:
            try:
                found = await self.docker("inspect_container", self.object_name)
            except NotFound:
                self.object_id = ""
                return None
            except ENGINE_FAILURES as error:
                if clock() + pause > give_up:
                    raise EngineError(f"Docker does not answer for {self.object_name}: {error}") from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)
            else:
                self.object_id = found[self.object_id_key]
                return found

    async def remove_object(self) -> None:
        """Remove the container, running or not, and see that it is gone.

        DockerSpawner takes the 409 of a running container for *already being removed*.

        Raises:
            EngineError: Docker is removing it already and does not come to an end.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + self.settle_seconds
        while True:
            try:
                await self.docker("remove_container", self.object_id, v=True, force=True)
            except NotFound:
                return
            except ENGINE_FAILURES as error:
                response = getattr(error, "response", None)
                if response is None or response.status_code != 409:
                    raise
                if clock() > give_up:
                    raise EngineError(f"Docker does not finish removing {self.object_name}.") from error
                await asyncio.sleep(0.2)
            else:
                return

    async def find_digest(self, reference: str) -> str:
        """The id of an image that is here, or is pulled as the site wishes.

        It is looked up once, and the container is made of the image with this id: what is checked runs,
        wherever its name is moved meanwhile.
        """
        try:
            if self.pull_policy != "never":
                await super().pull_image(reference)
            found = await self.docker("inspect_image", reference)
        except NotFound:
            raise refuse(
                f"The image {reference} is not on this server. "
                "The administrator must build or load it first.",
                reason="image_missing",
                status=503,
            ) from None
        digest: str = found["Id"]
        return digest

    async def pull_image(self, image: str) -> None:
        """Nothing: DockerSpawner's start comes here, and the image was found before that."""

    async def create_object(self) -> Any:
        """Create the container from lease and home; the site adds to that and overrides none of it.

        DockerSpawner merges ``extra_host_config`` over its own and replaces lists.
        """
        if self.home is None or not self.digest:
            raise RuntimeError("a container is to be created before its home and its image are known")
        devices = self.lease.devices if self.lease else ()
        site_host, site_create = await self._site_settings()
        size = Size(pids=self.pids_limit, shm_bytes=self.allowance.shm.value or self.shm_size)
        mounts = [*self.course_mounts, *([self.ssh_mount] if self.ssh_mount else [])]
        host_config = build_host_config(size, devices, self.home, self.home_dir, mounts)
        host_config["mounts"] = [*_literal(self.mount_binds), *_literal(host_config["mounts"])]
        ours = {
            "image": self.digest,
            "labels": _literal(build_labels(self.run.known_ledger_id, self.user.name, self.name, self.lease)),
            "environment": {
                **build_gpu_environment(devices),
                IMAGE_DIGEST: self.digest,
                "JUPYTER_IMAGE_SPEC": self.image,
                **_literal(dict(self.course_environment)),
                **({SESSION_URL: self.session_url} if self.session_url else {}),
            },
            "user": f"{self.uid}:{self.gid}",
        }
        create = merge_host_config(site_create, ours)
        with _replaced(
            self,
            image=self.digest,
            extra_host_config=merge_host_config(site_host, host_config),
            extra_create_kwargs=create,
            **self.sizes(),
        ):
            return await super().create_object()

    async def find_coursework(self, access: Access, request: SpawnRequest) -> None:
        """Find what groups, and the course that a server is for, have for it, and make what is missing.

        Args:
            access: What the person may use.
            request: What it was asked for with; course and notebooks are of theirs.

        Raises:
            SettingsError: A directory may not be shared, or a folder cannot be made.
        """
        part, mounts = access.part(request.course), access.mounts(request.course)
        parts = (part,) if part else ()
        folders = plan_folders(self.user.name, parts) if self.course_base else ()
        base, private = self.course_base, self.private_places
        makes = CourseFolders(Path(base), uid=self.uid, gid=self.gid)

        def prepare() -> None:
            require_shared(mounts, private)
            if folders:
                makes.ensure(folders)

        await self._off_loop(prepare)
        self.course_mounts = (*mounts, *(folder.at(base) for folder in folders))
        self.course_environment = describe_parts(parts, mounts)
        if request.notebooks:
            landing = f"/{pull_path(request.notebooks, access.notebooks()[request.notebooks][1])}"
            self.course_environment = {**self.course_environment, LANDING_VARIABLE: landing}

    async def _site_settings(self) -> tuple[dict[str, object], dict[str, object]]:
        found = []
        for setting in (self.extra_host_config, self.extra_create_kwargs):
            value = setting(self) if callable(setting) else setting
            found.append(dict(await value if inspect.isawaitable(value) else value))
        return found[0], found[1]

    async def get_url(self) -> str:
        """Where the server really is, asked of Docker; never raises.

        After a hub was killed between start and saving, its database holds a port that nobody listens on.
        """
        stored = str(self.server.url)
        try:
            ip, port = await self.get_ip_and_port()
        except Exception as error:
            self.log.warning("Keeping the stored address of %s: %s", self._log_name, error)
            return stored
        if not ip:  # it ended after it was polled, and has no address any more
            return stored
        scheme = "https" if self.user.settings.get("internal_ssl") else "http"
        return urlsplit(stored)._replace(scheme=scheme, netloc=f"{fmt_ip_url(ip)}:{port}").geturl()

    async def prepare_ssh(self) -> Mount | None:
        """What the server's SSH server reads. Where it cannot be had, the server starts without."""
        if not self.ssh_dir:
            return None
        owner, files, ledger = self.user.name, SshFiles(Path(self.ssh_dir)), self.run.ledger

        def prepare() -> Mount:
            keys = SshKeys(ledger).list(owner)
            folder = files.ensure_person(owner, [key.text for key in keys])
            return Mount(str(folder.absolute()), SSH_TARGET)

        try:
            return await self._off_loop(prepare)
        except (GpuSpawnerError, OSError) as error:
            self.log.warning("%s is not reached by SSH: %s", self._log_name, error)
            return None

    async def end_keys(self) -> None:
        """Remove the keys of a person whom the Hub deletes: whoever is called so later gets none of them.

        The Hub deletes them all the same where that cannot be done.
        """
        owner = self.user.name
        try:
            await self._off_loop(end_keys_of, self.run.ledger, owner, actor=_HUB)
        except GpuSpawnerError as error:
            self.log.error(
                "%s is deleted, and keys for SSH under that name are left; remove them before somebody gets "
                "the name (gpuspawner key list %s): %s",
                owner,
                owner,
                error,
            )

    async def _off_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread and see it through: a cancelled start must know what it reserved."""
        call = asyncio.get_running_loop().run_in_executor(_ledger_threads, partial(function, *args, **kwargs))
        return await see_through(call)


_ledger_threads = ThreadPoolExecutor(8, thread_name_prefix="ledger")
"""Of their own: a ledger on a slow disk must not take the threads that the hub looks names up with."""


async def see_through(work: Awaitable[T]) -> T:
    """Await to the end, however often the one who waits is cancelled; that alone is raised afterwards."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        if not task.cancelled():
            task.exception()  # marks it as seen
        raise interrupted
    return task.result()


@contextmanager
def _replaced(target: Any, **values: object) -> Iterator[None]:
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


def _literal(value: Any) -> Any:
    """Guard every text against ``str.format``, which DockerSpawner runs over all settings of a container.

    A server named ``{username.__class__}`` is a name and not a template.
    """
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, dict):
        return {_literal(key): _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value


def explain_engine(text: str, mounts: tuple[Mount, ...] = ()) -> str:
    """Say what Docker's refusal of a container means, without its URLs and ids.

    Args:
        text: Docker's own error text.
        mounts: What courses have in the container.
    """
    lowered = text.lower()
    if "cdi" in lowered:
        return mark(
            "The GPU could not be handed to your server: Docker does not know it. "
            "The administrator should run `gpuspawner doctor`."
        )
    if "bind source path does not exist" in lowered:
        for mount in mounts:
            if re.search(re.escape(mount.path) + r"(?![\w/.-])", text):  # and not a path below it
                return mark(
                    f"The directory that your course has at {mount.target} is not there. "
                    "Tell your teacher or the administrator."
                )
        return mark(
            "Your home directory is not there. Nothing was lost; the administrator should check its disk."
        )
    if "no space left" in lowered:
        return mark("The server's disk is full, so nothing can be started. Tell the administrator.")
    return mark("Docker could not start your server. Try again; if it happens again, tell the administrator.")
