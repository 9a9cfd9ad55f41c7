"""The SSH server of a session: its configuration, as OpenSSH itself reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from gpuspawner_session.sshd import build_config, choose_environment
from hypothesis import given, settings
from hypothesis import strategies as st

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
SEPARATE = Path("/run/sshd")
"""Root's own server wants it to be there."""


def test_secrets_stay_out_and_all_else_is_handed_on() -> None:
    found = choose_environment(
        {
            "PATH": "/opt/jupyter/bin:/usr/bin",
            "COURSE_DATA": "/data/course",
            "LD_PRELOAD": "libnss_wrapper.so",
            "JUPYTERHUB_API_TOKEN": "x",
            "JPY_API_TOKEN": "x",
            "wandb_api_key": "x",
            "DB_PASSWORD": "x",
            "SEVERAL": "a\nPermitRootLogin yes",
            "BAD NAME": "x",
            "PWD": "/",
        }
    )
    assert found == {
        "PATH": "/opt/jupyter/bin:/usr/bin",
        "COURSE_DATA": "/data/course",
        "LD_PRELOAD": "libnss_wrapper.so",
    }


def read(folder: Path, environ: dict[str, str]) -> list[str]:
    """What OpenSSH makes of it."""
    if os.getuid() == 0:
        SEPARATE.mkdir(exist_ok=True)
    key = folder / "host_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (folder / "config").write_text(build_config(folder, choose_environment(environ), folder))
    done = subprocess.run(
        [str(SSHD), "-T", "-f", folder / "config"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.ssh
@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["A", "B_1", "TERMCAP"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    )
)
def test_whatever_a_value_is_it_stays_a_value(
    tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "sshd"
    folder.mkdir(exist_ok=True)
    lines = read(folder, environ)
    kept = choose_environment(environ)
    assert [one for one in lines if one.startswith("setenv ")] == [
        f"setenv {name}={value}" for name, value in kept.items()
    ] or any(set(value) & set("\v\f\x1c\x1d\x1e\x85\u2028\u2029") for value in kept.values())
    assert "permitrootlogin no" in lines
    assert "x11forwarding no" in lines
    assert "allowagentforwarding no" in lines
