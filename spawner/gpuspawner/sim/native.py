"""Builds the simulated library and the two tools with gcc, once per version of their sources."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gpuspawner.sim.errors import SimError

LIBRARY = "libnvidia-ml.so.1"

_SOURCES = Path(__file__).parent / "native"
_COMMON = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
_SHARED = ["-shared", "-fPIC", "-fvisibility=hidden", f"-Wl,-soname,{LIBRARY}"]
_TARGETS = {
    LIBRARY: [*_SHARED, "state.c", "handles.c", "device.c", "mig.c", "links.c", "wiring.c", "events.c"],
    "nvidia-smi": ["-static", "state.c", "wiring.c", "smi.c"],
    "gpu-load": ["-static", "state.c", "load.c"],
}


@dataclass(frozen=True, slots=True)
class NativeFiles:
    """What a build made; all files are readable and the tools executable by anyone."""

    directory: Path

    @property
    def library(self) -> Path:
        """The simulated libnvidia-ml.so.1."""
        return self.directory / LIBRARY

    @property
    def smi(self) -> Path:
        """The nvidia-smi stand-in, static."""
        return self.directory / "nvidia-smi"

    @property
    def load(self) -> Path:
        """gpu-load, static."""
        return self.directory / "gpu-load"


def sources_hash() -> str:
    """Names one version of the sources and of how they are compiled: 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((_COMMON, _TARGETS)).encode())
    for source in sorted(_SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def build(build_dir: Path) -> NativeFiles:
    """The built files, in a folder of build_dir named by the sources' hash; compiles only if it is not there.

    Two processes may build at the same time: each compiles aside, and the first to finish wins.

    Raises:
        SimError: no gcc or libc headers, with the package to install, or the compiler's message.
    """
    files = NativeFiles(build_dir.absolute() / sources_hash())
    if files.directory.is_dir():
        return files
    compiler = shutil.which("gcc")
    if compiler is None:
        raise SimError("gcc is missing, it compiles the simulated GPU library: apt-get install gcc libc6-dev")
    build_dir.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".build-", dir=build_dir))
    try:
        for name, arguments in _TARGETS.items():
            _compile(compiler, arguments, aside / name)
        aside.chmod(0o755)
        try:
            aside.rename(files.directory)
        except OSError:
            if not files.directory.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return files


def _compile(compiler: str, arguments: list[str], target: Path) -> None:
    command = [compiler, *_COMMON, "-o", str(target), *arguments]
    done = subprocess.run(command, cwd=_SOURCES, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SimError(
            f"gcc could not build {target.name}; if headers or libc.a are missing:"
            f" apt-get install gcc libc6-dev. Its message:\n{done.stderr.strip()}"
        )
    target.chmod(0o755)


def environment(files: NativeFiles, root: Path) -> dict[str, str]:
    """What a host process needs in its environment, from its start, for its pynvml to see the simulation."""
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    own = str(files.directory)
    others = [part for part in inherited.split(":") if part and part != own]
    return {"LD_LIBRARY_PATH": ":".join([own, *others]), "GPUSPAWNER_SIM_ROOT": str(root)}
