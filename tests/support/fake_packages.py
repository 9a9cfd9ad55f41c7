"""Sources of packages on a fresh server: signed as real ones are, with packages that only pretend.

What NVIDIA's and Docker's packages do cannot be tried without their servers and a card. What the playbooks
do with them can: which source and key is used, which version is taken, that it is pinned and held, and which
units are enabled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .fresh_server import FreshServer

KEY = "/srv/packages/key.asc"
SETTLE = "apt-get install -y --no-install-recommends gnupg apt-utils >/dev/null"
MAKE_KEY = (
    "mkdir -p /srv/packages && cd /srv/packages && chmod 700 /srv/packages &&"
    " gpg --batch --passphrase '' --quick-generate-key 'Pretended packages' rsa3072 sign never 2>/dev/null &&"
    " gpg --armor --export >key.asc && chmod 755 /srv/packages"
)
SIGN = "gpg --batch --yes --clearsign -o InRelease Release"


ABOUT = ("Maintainer: nobody <nobody@example.org>", "Description: It pretends to be one")


@dataclass(frozen=True, slots=True)
class Fake:
    """One package of one version."""

    name: str
    version: str
    depends: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """Path → text; what is in a bin directory can be run."""

    def script(self) -> str:
        """Lines of a shell that build it in the current directory."""
        folder = f"{self.name}_{self.version}"
        control = [f"Package: {self.name}", f"Version: {self.version}", "Architecture: amd64", *ABOUT]
        control += [f"Depends: {self.depends}"] if self.depends else []
        lines = [f"mkdir -p {folder}/DEBIAN", _write(f"{folder}/DEBIAN/control", "\n".join(control) + "\n")]
        for path, text in self.files.items():
            lines += [f"mkdir -p $(dirname {folder}{path})", _write(f"{folder}{path}", text)]
            lines += [f"chmod 755 {folder}{path}"] if "/bin/" in path else []
        return "\n".join(
            [*lines, f"dpkg-deb --root-owner-group --build {folder} >/dev/null", f"rm -r {folder}"]
        )


DROPPED = r"\|".join(
    ("Conflicts", "Breaks", "Replaces", "Provides", "Recommends", "Suggests", "Source", "Built-Using")
)
"""What a renamed package no longer says of others."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A package of the distribution under another name, which knows no others but by such names."""

    name: str
    version: str
    origin: str

    def script(self) -> str:
        """Lines of a shell that build it in the current directory."""
        control = f"{self.name}/DEBIAN/control"
        edits = (
            f"s/^Package: .*/Package: {self.name}/; s/^Version: .*/Version: {self.version}/;"
            f" /^\\({DROPPED}\\):/d;"
            " s/containerd ([^)]*)/containerd.io/; s/docker-cli ([^)]*)/docker-ce-cli/"
        )
        return (
            f"apt-get download -q {self.origin} >/dev/null && dpkg-deb -R {self.origin}_*.deb {self.name} &&"
            f" rm {self.origin}_*.deb && sed -i '{edits}' {control} &&"
            f" dpkg-deb -Znone --root-owner-group --build {self.name} >/dev/null && rm -r {self.name}"
        )


def _write(path: str, text: str) -> str:
    return f"cat >'{path}' <<'END-OF-FILE'\n{text}END-OF-FILE"


def make_source(server: FreshServer, name: str, packages: Sequence[Fake | Renamed], suite: str = "") -> str:
    """Make one; its address. With a suite it has the component ``stable``, and otherwise neither.

    The key of all is :data:`KEY`.
    """
    server.shell(f"test -f {KEY} || ({SETTLE}; {MAKE_KEY})")
    top = f"/srv/packages/{name}"
    pool, index = (f"{top}/pool", f"{top}/dists/{suite}") if suite else (top, top)
    listed = f"{index}/stable/binary-amd64" if suite else index
    build = "\n".join(package.script() for package in packages)
    said = {"Origin": "Pretended", "Suite": suite or name, "Codename": suite or name}
    said |= {"Components": "stable", "Architectures": "amd64"}
    about = " ".join(f"-o APT::FTPArchive::Release::{key}={value}" for key, value in said.items())
    server.shell(
        f"mkdir -p {pool} {listed} && cd {pool}\n{build}\n"
        f"cd {top} && apt-ftparchive packages {'pool' if suite else '.'} >{listed}/Packages\n"
        f"cd {index} && apt-ftparchive {about} release . >/tmp/Release && mv /tmp/Release Release && {SIGN}"
    )
    return f"file:{top}"


UNIT = "[Unit]\nDescription=It pretends\n{}\n[Install]\nWantedBy=multi-user.target\n"
DAEMON = UNIT.format("[Service]\nExecStart=/bin/sleep infinity")
CTK = """#!/bin/sh
case "$1" in
--version) echo "NVIDIA Container Toolkit CLI version VERSION"; echo "commit: 0000000" ;;
cdi) mkdir -p /var/run/cdi
     cat >/var/run/cdi/nvidia.yaml <<END
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- name: GPU-0
  containerEdits: {env: [A=b]}
END
     ;;
esac
"""
REFRESH = UNIT.format("[Service]\nType=oneshot\nExecStart=/usr/bin/nvidia-ctk cdi generate")
REFRESH_PATH = UNIT.format("[Path]\nPathChanged=/lib/modules/gpu")


def driver(version: str) -> list[Fake]:
    """Packages of NVIDIA's driver."""
    unit = {"/usr/lib/systemd/system/nvidia-persistenced.service": DAEMON}
    return [
        Fake("libcuda1", version),
        Fake("nvidia-driver-cuda", version, f"libcuda1 (= {version})"),
        Fake("nvidia-kernel-open-dkms", version),
        Fake("nvidia-persistenced", version, files=unit),
    ]


def toolkit(version: str) -> list[Fake]:
    """Packages of NVIDIA's container toolkit."""
    units = "/usr/lib/systemd/system/nvidia-cdi-refresh"
    base = {
        "/usr/bin/nvidia-ctk": CTK.replace("VERSION", version),
        f"{units}.service": REFRESH,
        f"{units}.path": REFRESH_PATH,
    }
    return [
        Fake("nvidia-container-toolkit", f"{version}-1", f"nvidia-container-toolkit-base (= {version}-1)"),
        Fake("nvidia-container-toolkit-base", f"{version}-1", files=base),
    ]


NEWER = """\
Package: *
Pin: release n=trixie*
Pin-Priority: -1

Package: docker.io docker-cli docker-buildx
Pin: release n=trixie*
Pin-Priority: 990
"""


@contextmanager
def newer_engine(server: FreshServer, release: str) -> Iterator[None]:
    """Where Debian's own Engine is too old to pretend with, the next Debian's can be had for a while."""
    if release != "bookworm":
        yield
        return
    pin, source = "/etc/apt/preferences.d/newer", "/etc/apt/sources.list.d/newer.list"
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    server.write(pin, NEWER)
    server.write(source, f"deb {key} http://deb.debian.org/debian trixie main\n")
    server.shell("apt-get update")
    try:
        yield
    finally:
        server.shell(f"rm {pin} {source}; apt-get update")


def engine() -> list[Fake | Renamed]:
    """Packages by the names of Docker's own; the Engine in them is the distribution's."""
    return [
        Renamed("docker-ce", "5:29.0.0-1", "docker.io"),
        Renamed("docker-ce-cli", "5:29.0.0-1", "docker-cli"),
        Renamed("containerd.io", "2.0.0-1", "containerd"),
        Renamed("docker-buildx-plugin", "0.30.0-1", "docker-buildx"),
    ]
