"""A fresh Debian server: a container with systemd, in which Docker runs too, made from packages alone."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gpuspawner.setup.environment import ca_bundle
from gpuspawner.setup.paths import CHECKOUT

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod"),
    *("python3", "ca-certificates", "openssl", "iproute2", "procps"),
)
"""What every Debian server has, and a container has not."""
MIRRORS = (("http://deb.debian.org/debian", ""), ("http://deb.debian.org/debian-security", "-security"))
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BOOT = (
    "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup &&"
    " ln -sf /dev/null /etc/systemd/system/getty@tty1.service && exec /sbin/init"
)
"""The host may mount its control groups in the old way, in which this systemd does not start. And it has one
first terminal, which the first of several servers takes."""
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
HOME = "/root/gpuspawner"
STATE = r"""
heading() { echo; echo "## $1"; }
# Databases, and what is simulated, are written while the hub runs.
look() {
    find /etc /opt /srv /usr/local /var/lib/gpuspawner /var/lib/caddy -xdev ! -name '*.sqlite*' \
        ! -path '/var/lib/gpuspawner/sim/*' "$@" 2>/dev/null || true
}
heading files; look -printf '%p %M %u %g %l\n' | sort
heading contents; look -type f -print0 | sort -z | xargs -0 sha256sum
heading packages
dpkg-query --show --showformat '${Package} ${Version} ${Status}\n'; apt-mark showhold
heading units; systemctl list-unit-files --no-legend
heading runs; systemctl list-units --no-legend --type=service,socket
heading since; systemctl show --property=Id,ActiveEnterTimestampMonotonic docker caddy 'gpuspawner-*'
heading rules; if command -v nft >/dev/null; then nft --stateless list ruleset; fi
if command -v docker >/dev/null; then
    heading containers
    # Not all of .State: it has what the last looks at a container's health said.
    docker ps --all --quiet --no-trunc |
        xargs -r docker inspect --format '{{.Id}} {{.State.Status}} {{.State.Pid}} {{.State.StartedAt}}'
    heading images; docker images --all --format '{{.ID}} {{.Repository}}:{{.Tag}}'
    heading networks; docker network ls --no-trunc
    heading volumes; docker volume ls
fi
"""


@dataclass(frozen=True, slots=True)
class FreshServer:
    """One that runs."""

    name: str

    def run(self, *command: str, minutes: float = 5, folder: str = HOME) -> subprocess.CompletedProcess[str]:
        """Run a command as root, with the variables of a login alone; all that it prints comes back."""
        return subprocess.run(
            [*self._enter(folder), *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=minutes * 60, check=False,
        )  # fmt: skip

    def _enter(self, folder: str) -> list[str]:
        # Not `docker exec`: it puts processes where the server's systemd has control groups of its own below,
        # and the kernel refuses that.
        found = _docker("inspect", "--format", "{{.State.Pid}}", self.name, must=True).stdout.strip()
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = ["HOME=/root", "LANG=C.UTF-8", f"PATH={search}"]
        return ["nsenter", "--target", found, *spaces, "env", "-i", "-C", folder, *variables]

    def must(self, *command: str, minutes: float = 5, folder: str = HOME) -> str:
        """Run a command that must succeed."""
        done = self.run(*command, minutes=minutes, folder=folder)
        said = f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-6000:]}"
        assert done.returncode == 0, said
        return done.stdout

    def shell(self, script: str, minutes: float = 5) -> str:
        """Run lines of a shell, as somebody types them; the first that fails ends it."""
        return self.must("bash", "-ec", script, minutes=minutes)

    def started(self) -> dict[str, str]:
        """When each of our processes, and each container, was started."""
        units = self.shell(
            "for unit in docker caddy gpuspawner-{firewall,sim,proxy,agent,hub,controller}; do"
            " echo $unit $(systemctl show --property=ActiveEnterTimestampMonotonic --value $unit); done"
        )
        containers = self.shell(
            "command -v docker >/dev/null || exit 0; docker ps --all --quiet |"
            " xargs --no-run-if-empty docker inspect --format '{{.Name}} {{.State.StartedAt}}'"
        )
        return dict(line.split() for line in (units + containers).splitlines())

    def write(self, file: str, text: str) -> None:
        """Write a file."""
        self.put(_tar({file.lstrip("/"): text.encode()}), "/")

    def state(self) -> dict[str, str]:
        """All that a deployment could change: files, packages, units, rules, what the Engine has."""
        parts = self.shell(STATE).split("\n## ")
        return dict(part.split("\n", 1) for part in parts[1:])

    def put(self, tar: bytes, folder: str) -> None:
        """Unpack a tar there."""
        subprocess.run([*self._enter(folder), "tar", "-x", "--no-same-owner"], input=tar, check=True)


@contextmanager
def fresh_server(release: str, purpose: str = "alone") -> Iterator[FreshServer]:
    """A new server with this checkout on it; it and all that was on its disk end with the block.

    Args:
        release: Of Debian, by its name.
        purpose: Tells two servers apart that are there at once.
    """
    image = _ensure_image(release)
    name = f"gpuspawner-test-server-{release}-{purpose}"
    _docker("rm", "--force", "--volumes", name)
    # A network of its own: other tests take Docker's usual one down.
    _docker("network", "create", name)
    try:
        _docker(
            "run", "--detach", "--name", name, "--hostname", "hub", "--network", name, "--privileged",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "--volume", "/var/lib/docker",
            image, "/bin/sh", "-c", BOOT, must=True,
        )  # fmt: skip
        server = FreshServer(name)
        _furnish(server)
        yield server
    finally:
        _docker("rm", "--force", "--volumes", name)
        _docker("network", "rm", name)


def _furnish(server: FreshServer) -> None:
    # Before systemd has begun there is nobody to be asked.
    deadline = time.monotonic() + 60
    while (state := server.run("systemctl", "is-system-running", folder="/").stdout.strip()) != "running":
        if time.monotonic() >= deadline:
            failed = server.run("systemctl", "--failed", "--no-legend", folder="/").stdout
            raise AssertionError(f"the server does not come up: {state}\n{failed}")
        time.sleep(0.5)
    server.must("mkdir", "-p", HOME, folder="/")
    # As this machine reaches its mirrors: its name server, and the authorities that it trusts.
    names = Path("/etc/resolv.conf").read_text()
    server.must("sh", "-c", f"printf %s '{names}' >/etc/resolv.conf", folder="/")
    bundle = ca_bundle()
    found = PEM.findall(bundle.read_text()) if bundle else []
    files = {f"host-{number}.crt": text.encode() for number, text in enumerate(found)}
    server.put(_tar(files), "/usr/local/share/ca-certificates")
    server.must("update-ca-certificates")
    listed = _here(["git", "ls-files", "-co", "--exclude-standard"]).decode().splitlines()
    kept = "\n".join(name for name in listed if (CHECKOUT / name).is_file())
    server.put(_here(["tar", "-c", "-T", "-"], kept.encode()), HOME)


def _here(command: list[str], given: bytes = b"") -> bytes:
    return subprocess.run(command, cwd=CHECKOUT, input=given, capture_output=True, check=True).stdout


def _tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _ensure_image(release: str) -> str:
    key = sha256(json.dumps([PACKAGES, MIRRORS]).encode()).hexdigest()[:8]
    image = f"gpuspawner-test/server-{release}:{key}"
    if _docker("image", "inspect", image).returncode == 0:
        return image
    lines = [f"deb [signed-by={KEYRING}] {uri} {release}{suffix} main" for uri, suffix in MIRRORS]
    with tempfile.TemporaryDirectory() as folder:
        tree = str(Path(folder) / "server.tar")
        include = f"--include={','.join(PACKAGES)}"
        command = ["mmdebstrap", "--variant=minbase", "--mode=root", include, release, tree, *lines]
        subprocess.run(command, check=True, capture_output=True)
        _docker("import", tree, image, must=True)
    return image


def _docker(*arguments: str, must: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not must, f"docker {arguments[0]}: {done.stderr}"
    return done
