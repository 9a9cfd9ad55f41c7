"""Where things are: the checkout, and the one directory in it that holds what is made."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
"""Root of the checkout that this file is in."""
RELEASE_MARK = "RELEASE"
"""A file that a release has and a checkout has not (ansible/): its programs are for other users too."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths of one checkout."""

    root: Path = CHECKOUT

    @property
    def state(self) -> Path:
        """Everything that is made here; ``make clean`` removes it."""
        return self.root / ".gpuspawner"

    @property
    def instance(self) -> str:
        """What the demo of this checkout is called: its containers, its network, its simulated cards."""
        return f"demo-{sha256(str(self.state).encode()).hexdigest()[:8]}"

    @property
    def logs(self) -> Path:
        """Output of long commands, one file for each."""
        return self.state / "logs"

    @property
    def is_release(self) -> bool:
        """Whether this is a release on a server, and no checkout."""
        return (self.root / RELEASE_MARK).exists()

    @property
    def programs(self) -> Path:
        """Where environment and proxy are. A server's services cannot look into the state directory."""
        return self.root if self.is_release else self.state

    @property
    def venv(self) -> Path:
        """The Python environment."""
        return self.programs / "venv"

    @property
    def python(self) -> Path:
        """The Python of that environment."""
        return self.venv / "bin" / "python"

    @property
    def node(self) -> Path:
        """configurable-http-proxy, with a ``bin/`` that runs it."""
        return self.programs / "node"

    @property
    def ansible(self) -> Path:
        """The environment of Ansible."""
        return self.state / "ansible"

    @property
    def ansible_lock(self) -> Path:
        """What Ansible needs."""
        return self.root / "ansible" / "requirements.lock"

    @property
    def oidc(self) -> Path:
        """The login provider of the tests."""
        return self.state / "oidc"

    @property
    def oidc_sources(self) -> Path:
        """What it is made from."""
        return self.root / "tests" / "support" / "oidc"

    @property
    def registry(self) -> Path:
        """The image registry of the tests: the files of Debian's package docker-registry."""
        return self.state / "registry"

    @property
    def work(self) -> Path:
        """Files of an image build that is under way."""
        return self.state / "images"

    @property
    def images(self) -> Path:
        """The image catalogue and its build contexts."""
        return self.root / "images"

    @property
    def session(self) -> Path:
        """The distribution gpuspawner-session: what runs inside a session."""
        return self.images / "session"

    @property
    def lab(self) -> Path:
        """JupyterLab's builder, and the extension that it builds."""
        return self.state / "lab"

    @property
    def setup(self) -> Path:
        """This package, for the data files in it."""
        return self.root / "spawner" / "gpuspawner" / "setup"

    @property
    def runtime_lock(self) -> Path:
        """What the hub needs."""
        return self.root / "spawner" / "requirements.lock"

    @property
    def tests_lock(self) -> Path:
        """What the hub and the tests need."""
        return self.root / "tests" / "requirements.lock"

    @property
    def build_lock(self) -> Path:
        """What the editable install of the project needs."""
        return self.setup / "build.lock"

    @property
    def engine_pid(self) -> Path:
        """Which Docker Engine was started from here, where no systemd does it."""
        return self.state / "dockerd.json"
