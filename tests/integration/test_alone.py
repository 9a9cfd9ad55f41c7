"""The README's five lines in somebody's own JupyterHub, with the built package instead of the sources."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from gpuspawner.demo.processes import end, start
from gpuspawner.sim.simulation import Simulation
from support.client import Client
from support.images import default_images
from support.installation import CHECKOUT, PROXY_DIRS, SHARED_BUILD, free_port, wait_for

pytestmark = pytest.mark.docker

MODULES = "import gpuspawner; print(gpuspawner.__file__)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The built wheel, unpacked: what `pip install gpuspawner` puts on a machine."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path), str(CHECKOUT)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("gpuspawner-*.whl")
    site = tmp_path / "site"
    install = ["install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return site


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    made = Simulation.create(
        tmp_path / "sim", "2xl40s", instance=f"alone{secrets.token_hex(4)}", build_dir=SHARED_BUILD
    )
    yield made
    made.destroy()


def five_lines(tmp_path: Path, simulation: Simulation, port: int) -> str:
    """The README's lines with this machine's names, and what only a test needs."""
    readme, *_ = re.findall(
        r"```python\n(c\.JupyterHub.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL
    )
    assert len([line for line in readme.splitlines() if line.startswith("c.")]) == 5
    gateway = docker.APIClient(version="auto").inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    image = next(iter(default_images().values()))
    lines = (
        readme.replace("/srv", str(tmp_path))
        .replace("registry.example.org/pytorch:2.9", image)
        .replace("172.17.0.1", gateway)
    )
    assert image in lines
    return f"""{lines}
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {free_port(gateway)}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{free_port()}"
c.JupyterHub.services[0]["environment"] = {simulation.environment()!r}
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "correct horse battery"
c.DummyAuthenticator.allowed_users = {{"ada"}}
c.JupyterHub.cleanup_servers = True
c.GPUSpawner.prefix = "{simulation.instance}"
"""


def test_five_lines_give_a_person_a_card(tmp_path: Path, package: Path, simulation: Simulation) -> None:
    port = free_port()
    (tmp_path / "jupyterhub_config.py").write_text(five_lines(tmp_path, simulation, port))
    environment = {
        "PYTHONPATH": str(package),
        "PATH": ":".join(
            [
                str(package / "bin"),
                str(Path(sys.executable).parent),
                *map(str, PROXY_DIRS),
                os.environ["PATH"],
            ]
        ),
    }
    where = subprocess.run(
        [sys.executable, "-c", MODULES],
        env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(package)), "the sources are in the way of the built package"
    hub = start(
        "hub",
        ["sh", "-c", f"cd {tmp_path} && exec jupyterhub --config jupyterhub_config.py"],
        log_dir=tmp_path / "logs",
        environment=environment,
    )
    client = Client(f"http://127.0.0.1:{port}", "ada", "correct horse battery")
    try:
        wait_for(lambda: _answers(client.url), "the start of the hub", 60)
        client.login()
        wait_for(lambda: "2 of 2 GPUs free" in client.page("/hub/spawn").text, "the agent's first report", 30)
        started = client.spawn({"gpus": 1})
        assert started.ready, f"{started}\n{hub.last_words}"
        engine = docker.APIClient(version="auto")
        found = engine.exec_create(f"{simulation.instance}-ada", ["nvidia-smi", "-L"])["Id"]
        shown = engine.exec_start(found).decode()
        assert shown.count("GPU ") == 1
        assert sum(card.uuid in shown for card in simulation.cards) == 1
        client.stop()
        wait_for(lambda: "2 of 2 GPUs free" in client.page("/hub/spawn").text, "the release of the card", 30)
    finally:
        end(hub)
        _remove_all(simulation.instance)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/hub/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _remove_all(prefix: str) -> None:
    engine = docker.APIClient(version="auto")
    for container in engine.containers(all=True, filters={"name": prefix}):
        details = engine.inspect_container(container["Id"])
        engine.remove_container(container["Id"], force=True, v=True)
        for mount in details["Mounts"]:
            if mount["Type"] == "volume":
                engine.remove_volume(mount["Name"])
