"""The Docker network of the servers."""

from __future__ import annotations

from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from gpuspawner.core.errors import EngineError


def ensure_network(name: str) -> str:
    """Make the network unless it is there, and return its gateway: the hub's address for the servers.

    Servers cannot talk to each other in it; they reach the host, and the host reaches them.

    Raises:
        EngineError: The Engine refused, or the network has no gateway.
    """
    try:
        client = docker.APIClient(version="auto")
        if not client.networks(names=[f"^{name}$"]):
            client.create_network(
                name, driver="bridge", options={"com.docker.network.bridge.enable_icc": "false"}
            )
        found: dict[str, Any] = client.inspect_network(name)
    except (DockerException, RequestException) as error:
        raise EngineError(f"The Docker network {name} cannot be made: {error}") from error
    gateways = [config.get("Gateway") for config in found["IPAM"]["Config"]]
    if not gateways or not gateways[0]:
        raise EngineError(f"The Docker network {name} has no gateway. Remove it (docker network rm {name}).")
    return str(gateways[0])


def remove_network(name: str) -> None:
    """Remove the network; one that is gone or still in use stays as it is."""
    try:
        docker.APIClient(version="auto").remove_network(name)
    except (DockerException, RequestException):
        return
