#!/usr/bin/python3 -I
"""Installs a lock file in this image while an image is built, and writes down which image it is.

As root it installs beside what is there. As this image's own user, in a Dockerfile of three lines, it uses a
folder of its own, which Python, Jupyter and PATH look into. Packages of the image keep their versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OPT = Path("/opt/gpuspawner")
LOCKS = OPT / "locks"
COURSE = OPT / "course"
PIP = "/opt/jupyter/bin/pip"
DEBIAN = OPT / "debian-packages.txt"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="gpuspawner-install", description=__doc__.split("\n")[0])
    parser.add_argument("lock", nargs="?", type=Path, help="lock file with a hash for every package")
    parser.add_argument(
        "--as",
        dest="names",
        metavar="NAME",
        help="this is the image NAME from now on; or all names of its chain, comma-separated",
    )
    parser.add_argument("--title", help="what people choose it by; its name unless given")
    parser.add_argument("--record-debian", action="store_true", help=f"write {DEBIAN}")
    wanted = parser.parse_args()
    if not wanted.lock and not wanted.names and not wanted.record_debian:
        parser.error("give a lock file, --as NAME or --record-debian")
    if wanted.lock:
        install(wanted.lock)
        record_lock(wanted.lock)
    if wanted.record_debian:
        record_debian()
    if wanted.names:
        describe(wanted.names, wanted.title)


def install(lock: Path) -> None:
    """Install every package of a lock, or end with what is wrong and the fix."""
    if not lock.is_file():
        sys.exit(f"gpuspawner-install: there is no file {lock}. COPY it into the image before.")
    environment = {**os.environ, "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    for name, variable in (("pip", "PIP_CONFIG_FILE"), ("ca", "PIP_CERT")):
        secret = Path("/run/secrets", name)
        if secret.exists():
            if not os.access(secret, os.R_OK):
                sys.exit(
                    f"gpuspawner-install: {secret} cannot be read. Write uid={os.getuid()} beside id={name}."
                )
            environment[variable] = str(secret)
    where = []
    if os.geteuid() == 0:
        environment |= {"HOME": "/root", "PIP_CACHE_DIR": "/root/.cache/pip"}
    else:
        environment["PYTHONUSERBASE"] = str(COURSE)
        where = ["--user", "--no-cache-dir"]
    # What the image has keeps its version: its lock hash would promise what is not there.
    above = [word for one in sorted(LOCKS.glob("*.lock")) for word in ("--constraint", str(one))]
    options = ["--no-input", "--disable-pip-version-check", "--root-user-action=ignore", "--progress-bar=off"]
    command = [PIP, "install", *options, *where, "--require-hashes", "-r", str(lock), *above]
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(
            f"gpuspawner-install: {lock.name} was not installed; pip says why above. A hash that "
            "differs: the package is not the one that was locked; find out why before you make the lock "
            "anew. Versions in conflict: the lock asks for another one than the image has; lock with the "
            f"image's own locks as constraints ({LOCKS} in it). No connection: build again, what was "
            "fetched is kept."
        )
    environment.pop("PIP_CONFIG_FILE", None)
    if subprocess.run([PIP, "check"], env=environment, check=False).returncode:
        sys.exit(
            f"gpuspawner-install: the packages of {lock.name} do not fit together; pip says which above."
        )


def record_lock(lock: Path) -> None:
    """Keep the lock, after those of the images below."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lock, LOCKS / f"{len(list(LOCKS.iterdir())):02}.lock")


def record_debian() -> None:
    """Write down all Debian packages with their versions."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}=${Version}\\n"], check=True, capture_output=True
    )
    DEBIAN.write_bytes(listed.stdout)


def describe(names: str, title: str | None) -> None:
    """Write ``image.json``: from now on this is that image."""
    file = OPT / "image.json"
    above = json.loads(file.read_text())["chain"] if file.exists() else []
    chain = names.split(",") if "," in names else [*above, names]
    locked = b"".join(lock.read_bytes() for lock in sorted(LOCKS.glob("*.lock")))
    image = {
        "name": chain[-1],
        "title": title or chain[-1],
        "chain": chain,
        "lock_hash": hashlib.sha256(locked).hexdigest(),
    }
    # The file may be root's, the folder is ours.
    partial = file.with_name("image.partial")
    partial.write_text(json.dumps(image, indent=1, ensure_ascii=False) + "\n")
    partial.replace(file)


if __name__ == "__main__":
    main()
