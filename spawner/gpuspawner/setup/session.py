"""The wheel of gpuspawner-session, with JupyterLab's extension in it, for the images."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .console import run_step
from .environment import pip_environment
from .npm import ensure_packages, find_node, npm_environment
from .paths import Paths
from .stamps import digest

MADE = {"__pycache__", "node_modules", "build", "lib", "labextension", "gpuspawner_session.egg-info"}
"""Names of what is made from the sources, or is there for whoever works on them."""
UNREAD = {".md"}
LAB = "lab"
"""The TypeScript in the distribution's folder."""
BUILDER = Path("node_modules") / "@jupyter" / "builder" / "lib" / "build-labextension.js"
CORE = Path("node_modules") / "@jupyterlab" / "core-meta" / "core.package.json"
"""What JupyterLab itself brings along, so that the extension does not."""


def list_sources(folder: Path) -> list[Path]:
    """The files that the wheel is made of, in order; none where there is no such distribution."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in UNREAD)
    return sorted(path for path in found if MADE.isdisjoint(path.relative_to(folder).parts))


def digest_sources(folder: Path) -> bytes:
    """What the contents of a wheel depend on."""
    parts = ((str(path.relative_to(folder)).encode(), path.read_bytes()) for path in list_sources(folder))
    return digest(part for pair in parts for part in pair).encode()


def build_wheel(paths: Paths, folder: Path) -> Path:
    """Build the wheel.

    Args:
        paths: Of the checkout.
        folder: Where to work; it is this function's own.

    Returns:
        The directory that holds the wheel and nothing else.

    Raises:
        SetupError: npm, the type checker, JupyterLab's builder or pip failed.
    """
    # A copy: setuptools would put into the wheel what an earlier build left in the sources' folder.
    sources, wheels = folder / "sources", folder / "wheel"
    _copy(list_sources(paths.session), paths.session, sources)
    shutil.copytree(_build_extension(paths, sources / LAB), sources / "labextension")
    wheels.mkdir()
    run_step(
        "Building the wheel of gpuspawner-session",
        [
            str(paths.python), "-m", "pip", "wheel", "--no-input", "--no-deps", "--no-build-isolation",
            "--wheel-dir", str(wheels), str(sources),
        ],
        log=paths.logs / "session.log",
        environment=pip_environment(),
    )  # fmt: skip
    return wheels


def _build_extension(paths: Paths, sources: Path) -> Path:
    """Check and build JupyterLab's extension; where it is then."""
    node = find_node(paths)
    ensure_packages(paths, "Installing JupyterLab's builder (npm)", sources, paths.lab)
    for made in ("src", "lib", "labextension"):
        shutil.rmtree(paths.lab / made, ignore_errors=True)
    _copy(sorted(path for path in sources.rglob("*") if path.is_file()), sources, paths.lab)
    core = ["--core-package-file", str(CORE)]
    for title, command in (
        ("Checking the types of JupyterLab's extension", ["node_modules/typescript/bin/tsc"]),
        ("Building JupyterLab's extension", [str(BUILDER), *core, "."]),
    ):
        run_step(
            title,
            [str(node), *command],
            log=paths.logs / "session.log",
            environment=npm_environment(node),
            cwd=paths.lab,
        )
    return paths.lab / "labextension"


def _copy(files: Iterable[Path], root: Path, to: Path) -> None:
    for file in files:
        target = to / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
