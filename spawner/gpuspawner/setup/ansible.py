"""The environment in which the playbooks are run and checked, apart from the hub's."""

from __future__ import annotations

import shutil

from .console import run_step
from .environment import find_python, pip_environment
from .errors import SetupError
from .packages import install_packages, update_lists
from .paths import Paths
from .stamps import digest_files, drop_stamp, read_stamp, write_stamp


def ensure_ansible(paths: Paths) -> None:
    """Make it from its lock, unless it was finished with that lock.

    Raises:
        SetupError: No Python here can make one, or the installation failed.
    """
    venv = paths.ansible
    stamp = venv / "gpuspawner-ready.json"
    wanted = {"venv": str(venv), "lock": digest_files([paths.ansible_lock])}
    if read_stamp(stamp) == wanted:
        return
    drop_stamp(stamp)
    if find_python() is None:
        update_lists(paths)
        install_packages(["python3-venv"], paths)
    python = find_python()
    if python is None:
        raise SetupError("No Python 3.11 or newer here can make an environment. apt-get install python3-venv")
    if venv.exists():
        shutil.rmtree(venv)
    log, pip = paths.logs / "ansible.log", [str(venv / "bin" / "python"), "-m", "pip", "install"]
    run_step("Making an environment for Ansible", [python, "-m", "venv", str(venv)], log=log)
    run_step(
        f"Installing Ansible ({paths.ansible_lock.relative_to(paths.root)})",
        [*pip, "--no-input", "--require-hashes", "-r", str(paths.ansible_lock)],
        log=log,
        environment=pip_environment(),
        fix="If it is about the network or a certificate, check `pip config list`; otherwise run again.",
    )
    write_stamp(stamp, wanted)
