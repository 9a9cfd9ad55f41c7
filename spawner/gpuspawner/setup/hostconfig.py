"""What this host uses to reach package mirrors, in the form in which an image build can be lent it.

It is mounted for single build steps as secrets, and so never becomes part of an image.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .apt_sources import Source, read_sources, translate_suite
from .console import capture
from .environment import ca_bundle
from .errors import SetupError
from .npm import find_system_settings
from .osrelease import BASE_RELEASE, read_release
from .private import make_private, write_private

MIRROR_VARIABLE = "GPUSPAWNER_DEBIAN_MIRROR"
APT_PREFIXES = (
    "Acquire::http",
    "Acquire::https",
    "Acquire::Check-",
    "Acquire::ForceIPv4",
    "Acquire::Retries",
)
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy", "retries")
NPM_KEYS = ("registry", "proxy", "https-proxy", "noproxy", "strict-ssl", "fetch-timeout", "fetch-retries")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def base_sources() -> tuple[Source, ...]:
    """Where the packages of the images come from: this host's own mirrors, with the release of the images.

    Raises:
        SetupError: No Debian mirror is set up here.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        return (Source(mirror, BASE_RELEASE, ("main",), KEYRING),)
    release = read_release()
    found = translate_suite(read_sources(), release.codename, BASE_RELEASE) if release.id == "debian" else ()
    if not found:
        raise SetupError(
            f"No Debian mirror for {release.codename or 'this system'} main is set up in /etc/apt, so the "
            f"images cannot be made. Name one: {MIRROR_VARIABLE}=https://… make images"
        )
    return found


def apt_lines() -> tuple[str, ...]:
    """How this host's apt reaches its mirrors: proxies, certificate checks, time-outs."""
    dumped = capture(["apt-config", "dump"]) or ""
    # A directive without a value only opens a scope.
    return tuple(
        line for line in dumped.splitlines() if line.startswith(APT_PREFIXES) and not line.endswith(' "";')
    )


def pip_config(listed: str, environment: Mapping[str, str]) -> str:
    """A pip.conf for a build, from the output of ``pip config list``.

    What points into this host's own files stays out: they do not exist in the build.
    """
    values: dict[str, str] = {}
    for line in listed.splitlines():
        name, found, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if found and section in ("global", "install", ":env:") and key in PIP_KEYS:
            words = [word for word in value.strip("'\"").split() if not word.startswith(("file:", "/"))]
            values.update({key: " ".join(words)} if words else {})
    for key in PIP_KEYS:
        value = environment.get(f"PIP_{key.upper().replace('-', '_')}", "")
        if value and not value.startswith(("file:", "/")):
            values[key] = value
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def npm_config(texts: Iterable[str], environment: Mapping[str, str]) -> str:
    """An npmrc for a build, from the texts of this host's, the most personal one last.

    What points into this host's own files stays out, and so does all that is not about reaching a registry.
    """
    values: dict[str, str] = {}
    for line in "\n".join(texts).splitlines():
        key, found, value = (part.strip() for part in line.partition("="))
        login = key.startswith("//") and not key.endswith(("certfile", "keyfile", "cafile"))
        if found and (login or key in NPM_KEYS):
            # npm would look for these in the build.
            values[key] = re.sub(r"\$\{(\w+)\}", lambda name: environment.get(name[1], ""), value)
    for key in NPM_KEYS:
        name = f"npm_config_{key.replace('-', '_')}"
        said = environment.get(name) or environment.get(name.upper())
        if said:
            values[key] = said
    return "".join(f"{key}={value}\n" for key, value in values.items())


@dataclass(frozen=True, slots=True)
class BootstrapFiles:
    """What mmdebstrap is told about this host's mirrors."""

    sources: Path
    """Sources in the one-line style; mmdebstrap knows it by ``.list``."""
    apt: Path
    """Settings of apt."""


def write_bootstrap_files(folder: Path) -> BootstrapFiles:
    """Write them where only this user can read them.

    Raises:
        SetupError: No Debian mirror is set up here.
    """
    make_private(folder)
    files = BootstrapFiles(folder / "debian.list", folder / "apt.conf")
    write_private(files.sources, "".join(f"{source.one_line()}\n" for source in base_sources()))
    write_private(files.apt, "".join(f"{line}\n" for line in apt_lines()))
    return files


def write_secrets(folder: Path) -> dict[str, Path]:
    """Write the files that a build is lent: ``sources``, ``apt``, ``auth``, ``pip``, ``npm`` and ``ca``."""
    make_private(folder)
    # The keyring of the image itself is used: this host's may lie elsewhere.
    inside = (Source(s.uri, s.suite, s.components, KEYRING) for s in base_sources())
    texts = {
        "sources": "".join(f"{source.one_line()}\n" for source in inside),
        "apt": "\n".join(
            [
                *apt_lines(),
                'Dir::Etc::sourcelist "/run/secrets/sources";',
                'Dir::Etc::netrc "/run/secrets/auth";',
                'APT::Install-Recommends "false";',
                # Without this, lists that cannot be fetched are a warning, and then no package has a name.
                'APT::Update::Error-Mode "any";',
                "",
            ]
        ),
        "auth": _read_logins(),
        "pip": pip_config(capture([sys.executable, "-m", "pip", "config", "list"]) or "", os.environ),
        "npm": npm_config(_read_npmrcs(), os.environ),
    }
    secrets: dict[str, Path] = {}
    for name, text in texts.items():
        secrets[name] = folder / name
        write_private(secrets[name], text)
    bundle = ca_bundle()
    if bundle is None:
        raise SetupError("This host has no certificates of authorities. apt-get install ca-certificates")
    return {**secrets, "ca": bundle}


def _read_logins() -> str:
    files = [Path("/etc/apt/auth.conf"), *sorted(Path("/etc/apt/auth.conf.d").glob("*.conf"))]
    return "".join(f"{file.read_text()}\n" for file in files if file.is_file())


def _read_npmrcs() -> list[str]:
    own = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    return [file.read_text() for file in (find_system_settings(), own) if file and file.is_file()]
