"""The SSH server of a session: its configuration, as OpenSSH itself reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from gpuspawner.gateway.config import Setup
from gpuspawner.gateway.config import build_config as build_gateway
from gpuspawner_session import sshd
from gpuspawner_session.cli import main
from gpuspawner_session.sshd import PENALTIES, build_config, choose_environment, write_config
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


@pytest.mark.parametrize(
    "name",
    [
        "TOKEN", "HF_TOKEN", "GITHUB_TOKEN_2", "COURSE_TOKEN", "AUTHTOKEN", "API_TOKENS", "CLIENT_SECRET",
        "SECRETS", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "SECRETKEY", "SSH_PRIVATE_KEY", "API_KEYS",
        "PGPASSWORD",
        "PASSWORD_FILE", "DB_PASSWD", "GOOGLE_APPLICATION_CREDENTIALS", "AWS_CREDENTIAL_FILE", "OPENAI_KEY",
        "WANDB_APIKEY", "MyApiKey", "GITHUB_PAT", "PAT", "MYSQL_PWD", "AZURE_STORAGE_KEY", "PASSPHRASE",
    ],
)  # fmt: skip
def test_a_name_of_a_secret_is_known_by_its_words(name: str) -> None:
    assert choose_environment({name: "x", name.lower(): "x"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        "TOKENIZERS_PARALLELISM", "MAX_TOKENS", "PATH", "DATA_PATH", "PATTERN", "PATIENCE", "KEYBOARD",
        "MONKEY", "KEYMAP", "SECRETARY", "GIT_CONFIG_KEY_0", "GPUSPAWNER_DEVICES", "COURSE_DATA",
    ],
)  # fmt: skip
def test_a_name_that_only_looks_like_one_is_handed_on(name: str) -> None:
    assert choose_environment({name: "x"}) == {name: "x"}


def test_an_address_with_a_password_stays_out() -> None:
    left_out = {
        "DATABASE_URL": "postgres://u:pw@host/db",
        "REDIS_URL": "redis://:pw@host",
        "PLACES": "https://one.example https://u:p%40w@two.example",
    }
    kept = {
        "HUB": "https://hub.example:8000/a@b",
        "PLACE": "ssh://git@host/path",
        "SCHEDULE": "http://[2001:db8::1]:80/",
    }
    assert choose_environment({**left_out, **kept}) == kept


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


def test_as_many_keys_may_be_tried_as_at_the_gateway(tmp_path: Path) -> None:
    def tries(text: str) -> int:
        (line,) = [one for one in text.splitlines() if one.startswith("MaxAuthTries ")]
        return int(line.split()[1])

    setup = Setup(
        tmp_path, ("127.0.0.1",), 2222, "nobody", Path("/usr/bin/python3"), "", "gpuspawner-ssh-test"
    )
    assert tries(build_config(tmp_path, {})) >= tries(build_gateway(setup))


@pytest.mark.parametrize(
    ("says", "written"),
    [
        ("exit 0", f"Port 2222\n{PENALTIES}"),
        ('echo "$3: line 2: Bad configuration option: PerSourcePenalties" >&2; exit 255', "Port 2222\n"),
        ("echo 'Missing privilege separation directory: /run/sshd' >&2; exit 255", f"Port 2222\n{PENALTIES}"),
    ],
)
def test_the_relay_is_not_punished_where_openssh_would(tmp_path: Path, says: str, written: str) -> None:
    program = tmp_path / "sshd"
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2" = \'-t -f\' ] || exit 9\ngrep -q PerSource "$3" || exit 0\n{says}\n'
    )
    program.chmod(0o755)
    write_config(tmp_path / "config", "Port 2222\n", str(program))
    assert (tmp_path / "config").read_text() == written


@pytest.mark.ssh
def test_this_openssh_takes_what_is_written(tmp_path: Path) -> None:
    read(tmp_path, {})
    write_config(tmp_path / "config", build_config(tmp_path, {}, tmp_path), str(SSHD))
    done = subprocess.run(
        [str(SSHD), "-T", "-f", tmp_path / "config"], capture_output=True, text=True, check=True
    )
    assert "maxauthtries 20" in done.stdout
    assert "persourcepenalties" not in done.stdout or "persourcepenalties no" in done.stdout


def test_a_server_that_is_started_again_uses_its_folder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, mount, folder = tmp_path / "sshd", tmp_path / "mount", tmp_path / "own"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    mount.mkdir()
    monkeypatch.setattr(sshd, "MOUNT", mount)
    monkeypatch.setattr(sshd, "PROGRAM", str(program))
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: became.append(words))
    assert main(["sshd", "--folder", str(folder)]) == 2, "the entrypoint does not try again"
    for key in ("first", "second"):
        (mount / "host_key").write_text(key)
        assert main(["sshd", "--folder", str(folder)]) == 0
        assert (folder / "host_key").read_text() == key
        assert (folder / "host_key").stat().st_mode & 0o777 == 0o600
    assert became == [[str(program), "-D", "-e", "-f", f"{folder}/config"]] * 2
    assert sorted(one.name for one in folder.iterdir()) == ["config", "host_key"]
