"""What SSH servers read: the same host key for a person for ever, and whole files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gpuspawner.adapters.ssh_files import SshFiles
from support.ssh import KEYS


def test_a_person_s_host_key_stays_and_is_nobody_else_s(tmp_path: Path) -> None:
    files = SshFiles(tmp_path / "ssh")
    ada = files.person_key("ada")
    assert SshFiles(tmp_path / "ssh").person_key("ada").public == ada.public
    others = {files.person_key("bob").public, files.gateway_key().public, files.person_key("gateway").public}
    assert len({ada.public, *others}) == 4
    assert SshFiles(tmp_path / "other").person_key("ada").public != ada.public, (
        "another installation has another secret"
    )
    assert (tmp_path / "ssh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ssh" / "secret").stat().st_mode & 0o777 == 0o600


def test_openssh_reads_the_key(tmp_path: Path) -> None:
    made = SshFiles(tmp_path).person_key("ada")
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(made.private)
    shown = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True).stdout
    assert shown.split()[1] == made.fingerprint
    public = subprocess.run(["ssh-keygen", "-yf", file], capture_output=True, text=True, check=True).stdout
    assert public.split()[:2] == made.public.split()


def test_the_folder_of_a_person_follows_their_keys(tmp_path: Path) -> None:
    files = SshFiles(tmp_path / "ssh")
    files.put_keys("ada", KEYS)
    assert not (tmp_path / "ssh").exists(), "nobody has a folder before their first server"
    folder = files.ensure_person("ada", KEYS[:1])
    assert files.ensure_person("../bob", ()).parent == folder.parent
    assert sorted(one.name for one in folder.iterdir()) == ["authorized_keys", "host_key"]
    assert (folder / "authorized_keys").read_text() == f"{KEYS[0]}\n"
    files.put_keys("ada", KEYS)
    assert (folder / "authorized_keys").read_text().splitlines() == list(KEYS)
    assert all(one.stat().st_mode & 0o777 == 0o644 for one in folder.iterdir())
    before = (folder / "authorized_keys").stat().st_ino
    files.put_keys("ada", KEYS)
    assert (folder / "authorized_keys").stat().st_ino == before, "what is the same is not written"


def test_host_keys_are_closed_to_others_on_the_host_whoever_makes_their_folder_first(tmp_path: Path) -> None:
    SshFiles(tmp_path / "first").ensure_person("ada", ())
    (tmp_path / "second").mkdir(mode=0o755)
    SshFiles(tmp_path / "second").ensure_person("ada", ())
    for folder in ("first", "second"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
