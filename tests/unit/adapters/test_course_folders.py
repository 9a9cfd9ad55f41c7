"""Folders of courses: whose they are, what is followed, and what a start that was cut off leaves."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from gpuspawner.adapters import course_folders
from gpuspawner.adapters.course_folders import CourseFolders, require_shared
from gpuspawner.core.coursework import Folder
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.sharing import Mount

UID, GID = 4321, 4322
TEAM = Folder(("cs231", "teams", "blue"), "/courses/cs231/team")
ALL = Folder(("cs231", "teams"), "/courses/cs231/teams", given=False)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: folders are given to other users")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "courses"


@pytest.fixture
def folders(base: Path) -> CourseFolders:
    return CourseFolders(base, uid=UID, gid=GID)


def look(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def test_a_team_owns_its_folder_and_the_hub_what_it_lies_in(folders: CourseFolders, base: Path) -> None:
    folders.ensure([TEAM])
    assert look(base / "cs231/teams/blue") == (UID, GID, 0o2770)
    assert look(base / "cs231/teams") == (0, 0, 0o755)
    assert look(base / "cs231") == (0, 0, 0o755)
    assert look(base) == (0, 0, 0o750)


def test_what_is_made_in_it_can_be_written_by_its_group(folders: CourseFolders, base: Path) -> None:
    folders.ensure([TEAM])
    before = os.umask(0o077)
    try:
        (base / "cs231/teams/blue/notes").mkdir()
        (base / "cs231/teams/blue/notes/a.txt").write_text("a")
    finally:
        os.umask(before)
    assert look(base / "cs231/teams/blue/notes")[1:] == (GID, 0o2770)
    assert look(base / "cs231/teams/blue/notes/a.txt")[1:] == (GID, 0o660)


def test_what_is_there_stays(folders: CourseFolders, base: Path) -> None:
    folders.ensure([TEAM])
    (base / "cs231/teams/blue/a.txt").write_text("a")
    (base / "cs231/teams/blue").chmod(0o700)
    folders.ensure([ALL, TEAM])
    assert (base / "cs231/teams/blue/a.txt").read_text() == "a"
    assert look(base / "cs231/teams/blue")[2] == 0o700


@pytest.mark.parametrize("place", ["cs231", "cs231/teams", "cs231/teams/blue"])
def test_a_link_is_not_followed(folders: CourseFolders, base: Path, tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (base / place).parent.mkdir(parents=True)
    (base / place).symlink_to(victim)
    with pytest.raises(SettingsError, match="cannot be made"):
        folders.ensure([TEAM])
    assert list(victim.iterdir()) == []
    assert look(victim) == (0, 0, 0o700)


def test_a_file_in_its_place_is_named(folders: CourseFolders, base: Path) -> None:
    (base / "cs231").mkdir(parents=True)
    (base / "cs231/teams").write_text("")
    with pytest.raises(SettingsError, match=r"cs231/teams .*cannot be made"):
        folders.ensure([TEAM])


def test_folders_in_the_hands_of_somebody_else_are_refused(folders: CourseFolders, base: Path) -> None:
    (base / "cs231/teams").mkdir(parents=True)
    os.chown(base / "cs231/teams", UID, GID)
    with pytest.raises(SettingsError, match="is not safe"):
        folders.ensure([ALL])
    os.chown(base / "cs231/teams", 0, 0)
    (base / "cs231/teams/blue").mkdir()
    os.chown(base / "cs231/teams/blue", 77, 77)
    with pytest.raises(SettingsError, match="chown -R 4321:4322"):
        folders.ensure([TEAM])


@pytest.mark.parametrize("call", ["setxattr", "fchmod", "fchown"])
def test_a_start_that_was_cut_off_is_made_good(
    folders: CourseFolders, base: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(course_folders.os, call, killed)
        with pytest.raises(KeyboardInterrupt):
            folders.ensure([TEAM])
    folders.ensure([TEAM])
    assert look(base / "cs231/teams/blue") == (UID, GID, 0o2770)


def test_a_hub_that_is_the_same_user_as_servers_is_refused(base: Path) -> None:
    with pytest.raises(SettingsError, match="Run the hub as another user"):
        CourseFolders(base, uid=0, gid=0).ensure([TEAM])
    assert not base.exists()


AS_ANOTHER = (
    "setpriv", "--reuid=4000", "--regid=4000", "--clear-groups", "--inh-caps=+chown", "--ambient-caps=+chown",
    "--bounding-set=-all,+chown",
)  # fmt: skip
"""As the hub's unit starts it: not root, and able to give files away."""
START = """
import os, sys
from pathlib import Path
from gpuspawner.adapters.course_folders import CourseFolders
from gpuspawner.core.coursework import Folder
os.umask(0o077)
team, teams = Folder(("cs231", "teams", "blue"), "/team"), Folder(("cs231", "teams"), "/teams", given=False)
CourseFolders(Path(sys.argv[1]), uid=4321, gid=4322).ensure([team, teams])
"""


def test_a_hub_that_is_not_root_makes_them_and_finds_them_again(base: Path) -> None:
    for place in [base.parent, *base.parent.parents]:
        if place.stat().st_mode & 0o001 == 0:
            place.chmod(place.stat().st_mode | 0o011)  # pytest's own folders are for nobody else
    base.mkdir()
    os.chown(base, 4000, 4000)
    path = str(Path(course_folders.__file__).parents[2])
    for _ in range(2):
        command = [*AS_ANOTHER, sys.executable, "-c", START, str(base)]
        done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert look(base / "cs231/teams/blue") == (UID, GID, 0o2770)
    assert look(base / "cs231/teams") == (4000, 4000, 0o755)


def test_a_directory_that_leads_to_private_ones_is_refused(tmp_path: Path) -> None:
    homes, data = tmp_path / "homes", tmp_path / "data"
    homes.mkdir()
    data.mkdir()
    (tmp_path / "link").symlink_to(homes)
    (tmp_path / "system").symlink_to("/etc")
    private = {str(homes): "people's homes"}
    require_shared([Mount(str(data), "/data"), Mount(str(tmp_path / "gone"), "/gone")], private)
    with pytest.raises(SettingsError, match="people's homes"):
        require_shared([Mount(str(tmp_path / "link"), "/data")], private)
    with pytest.raises(SettingsError, match="/etc belongs to the host"):
        require_shared([Mount(str(tmp_path / "system"), "/data")], private)
