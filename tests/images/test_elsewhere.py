"""The same image elsewhere: on a laptop by the command in the docs, on a cluster by its definition."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
import requests
from gpuspawner.setup.images import ImageEntry
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.sif import define
from support.sessions import engine
from support.side_by_side import free_port

pytestmark = pytest.mark.docker
STRANGER = 54321
SOCKET = Path("/var/run/docker.sock")


def read_recipe() -> str:
    """The commands of the docs for a laptop."""
    docs = (Paths().root / "docs" / "images.md").read_text()
    return re.findall(r"## On a laptop\n+```sh\n(.*?)```", docs, re.S)[0]


@pytest.fixture
def person() -> Iterator[Path]:
    """The home, on the host, of somebody who may use Docker and is not root."""
    home = Path(tempfile.mkdtemp(prefix="gpuspawner-laptop-"))
    os.chown(home, STRANGER, STRANGER)
    yield home
    shutil.rmtree(home)


def wait_for_server(url: str, name: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        assert time.monotonic() < deadline, engine().containers.get(name).logs().decode()
        time.sleep(0.2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_the_command_of_the_docs_runs_it_on_a_laptop(image: ImageEntry, person: Path) -> None:
    port, name = free_port(), f"gpuspawner-test-laptop-{secrets.token_hex(4)}"
    recipe = read_recipe()
    for written, here in (
        ("docker run ", f"docker run --detach --name {name} "),
        ("--gpus all ", ""),  # as the docs say where there is no card
        (":8888:8888", f":{port}:8888"),
        ("gpuspawner/pytorch-2.9", image.reference),
    ):
        assert written in recipe
        recipe = recipe.replace(written, here)
    url = f"http://127.0.0.1:{port}/api"
    try:
        subprocess.run(
            ["sh", "-euc", recipe],
            user=STRANGER,
            group=SOCKET.stat().st_gid,
            extra_groups=[],
            env={"HOME": str(person), "PATH": os.environ["PATH"]},
            cwd=person,
            check=True,
        )
        wait_for_server(f"{url}/status?token=choose-one", name)
        assert requests.get(f"{url}/contents", timeout=10).status_code == 403, "the token is asked for"
        note = {"type": "file", "format": "text", "content": "kept"}
        kept = requests.put(f"{url}/contents/note.txt?token=choose-one", json=note, timeout=10)
        assert kept.status_code == 201, kept.text
        (file,) = person.rglob("note.txt")
        assert (file.read_text(), file.stat().st_uid) == ("kept", STRANGER)
        assert file.parent == person / "work"
    finally:
        remove(name)


def test_the_definition_starts_it_as_apptainer_would(image: ImageEntry) -> None:
    """With the home and the number of whoever runs it, a root that cannot be written, and the host's /tmp.

    Apptainer itself is not needed: its %environment is read, then its %runscript run, both by a shell.
    """
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", define(image), re.M | re.S))
    script = f"{sections['environment']}\nset --\n{sections['runscript']}"
    name = f"gpuspawner-test-cluster-{secrets.token_hex(4)}"
    engine().containers.run(
        image.reference,
        ["-c", script],
        entrypoint="/bin/sh",
        detach=True,
        name=name,
        read_only=True,
        user=f"{STRANGER}:{STRANGER}",
        tmpfs={"/tmp": "exec", "/cluster/ada": f"uid={STRANGER},mode=700"},
        environment={"HOME": "/cluster/ada", "APPTAINER_CONTAINER": "/x.sif", "JUPYTER_TOKEN": "t"},
        working_dir="/cluster/ada",
    )
    container = engine().containers.get(name)
    try:
        ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8888/api/status?token=t')"
        deadline = time.monotonic() + 60
        while container.exec_run(["python3", "-c", ask])[0]:
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.5)
        listed = container.exec_run(["ls", "/tmp"])[1].decode().split()
        assert f"jupyter-runtime-{STRANGER}" in listed, "what belongs to one run is one's own"
        address = container.attrs["NetworkSettings"]["IPAddress"]
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{address}:8888/api", timeout=5)
        code, said = container.exec_run(["sh", "-c", sections["test"]])
        assert code == 0, said.decode()
    finally:
        remove(name)


def remove(name: str) -> None:
    with suppress(docker.errors.NotFound):
        engine().containers.get(name).remove(force=True, v=True)
