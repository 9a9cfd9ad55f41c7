"""The images of the Docker Engine: what they are, and a program run inside one."""

from __future__ import annotations

import contextlib
import time
from http import HTTPStatus
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound, NullResource
from docker.types import LogConfig
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from gpuspawner.core.errors import EngineError
from gpuspawner.core.words import mark
from gpuspawner.ports import ImageFacts

LABEL = "gpuspawner.looks-inside"
"""On the containers that are made here; a look takes seconds."""
MOST_BYTES = 8 * 2**20
MOST_MEMORY = "4g"
"""Python that imports PyTorch takes half of one."""
NOBODY = "65534:65534"


class DockerImages:
    """Implements :class:`gpuspawner.ports.Images`.

    Args:
        base_url: Where the Engine listens; None for ``DOCKER_HOST`` or else the usual socket.
        timeout_seconds: How long one answer, or the program, may take.
    """

    def __init__(self, base_url: str | None = None, timeout_seconds: int = 120) -> None:
        self._base_url = base_url
        self._timeout = timeout_seconds
        self._client: APIClient | None = None

    def inspect(self, reference: str) -> ImageFacts | None:
        """Describe an image; None when there is none of that name or id, or can be none."""
        try:
            found: Any = self._connect().inspect_image(reference)  # type: ignore[no-untyped-call]
            return ImageFacts(
                digest=found["Id"],
                created=found["Created"],
                size_bytes=found["Size"],
                labels=dict(found["Config"].get("Labels") or {}),
            )
        except (NotFound, NullResource):
            return None
        except (DockerException, RequestException, HTTPError, OSError) as error:
            if _is_no_name(error):
                return None
            raise EngineError(self._explain(mark("describe an image"), error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                "The Docker Engine did not describe an image: its answer makes no sense."
            ) from error

    def run_python(self, digest: str, source: str) -> str:
        """Run a program by an image's own Python, walled off, and return what it prints.

        No network, no writable place but /tmp, nobody's user, no capability.
        """
        what = mark("look into an image")
        try:
            client = self._connect()
            self._remove_leftovers(client)
            container = self._create(client, digest, source)
            try:
                client.start(container)
                # Not attach(): it waits without end for a program that says nothing.
                client.wait(container, timeout=self._timeout)
                printed = _read(client, container, stdout=True)
                complaint = _read(client, container, stdout=False)
            finally:
                client.remove_container(container, force=True, v=True)
        except (DockerException, RequestException, HTTPError, OSError) as error:
            raise EngineError(self._explain(what, error)) from error
        if "exec python3 failed" in complaint:
            raise EngineError(f"There is no Python in the image {digest}.")
        if len(printed) > MOST_BYTES:
            raise EngineError(f"The image {digest} prints more than {MOST_BYTES // 2**20} MiB of itself.")
        if not printed.strip():
            last = complaint.strip().splitlines()[-1:] or [mark("it printed nothing")]
            raise EngineError(f"The image {digest} could not be looked into: {last[0][:500]}")
        return printed

    def _remove_leftovers(self, client: APIClient) -> None:
        """Remove what a process that was killed has left; others may look into images at this moment."""
        oldest = time.time() - 2 * self._timeout
        for one in client.containers(all=True, filters={"label": LABEL}):
            if one["Created"] < oldest:
                with contextlib.suppress(APIError):
                    client.remove_container(one["Id"], force=True, v=True)

    def _create(self, client: APIClient, digest: str, source: str) -> str:
        limits = client.create_host_config(
            log_config=LogConfig(type="json-file", config={"max-size": "16m"}),
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "size=64m"},  # noqa: S108 - it is the container's own
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=256,
            mem_limit=MOST_MEMORY,
            memswap_limit=MOST_MEMORY,
            init=True,
        )
        made = client.create_container(
            image=digest,
            entrypoint=["python3", "-I", "-c", source],
            command=[],
            user=NOBODY,
            working_dir="/",
            environment={"HOME": "/tmp", "NVIDIA_VISIBLE_DEVICES": "void"},  # noqa: S108
            labels={LABEL: digest},
            host_config=limits,
        )
        identity: str = made["Id"]
        return identity

    def _connect(self) -> APIClient:
        if self._client is None:
            where = {"base_url": self._base_url} if self._base_url else kwargs_from_env()
            self._client = APIClient(version="auto", timeout=self._timeout, **where)
        return self._client

    def _explain(self, what: str, error: BaseException) -> str:
        reason = self._find_reason(error)
        return mark(f"The Docker Engine did not {what}: {reason}.")

    def _find_reason(self, error: BaseException) -> str:
        inner: BaseException | None = error
        while inner is not None:  # what is under three libraries' wrappings
            if isinstance(inner, (Timeout, ReadTimeoutError)):
                return mark(f"no answer within {self._timeout} s")
            inner = inner.__cause__ or inner.__context__
        if isinstance(error, APIError):
            return str(error.explanation or error).strip().rstrip(".")
        return mark(f"it cannot be reached ({error})")


def _is_no_name(error: BaseException) -> bool:
    """Whether the Engine refuses a name as such; of images that have good ones nothing is wrong then."""
    if not isinstance(error, APIError) or error.status_code != HTTPStatus.BAD_REQUEST:
        return False
    said = str(error.explanation)
    return "invalid reference format" in said or "repository name" in said


def _read(client: APIClient, container: str, *, stdout: bool) -> str:
    """What a program printed, or what it complained of."""
    found: bytes = client.logs(container, stdout=stdout, stderr=not stdout)
    return found.decode(errors="replace")
