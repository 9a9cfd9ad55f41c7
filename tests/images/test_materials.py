"""Notebooks of a course by nbgitpuller, folders of teams and shared data, in real containers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from gpuspawner.core.coursework import Notebooks, pull_path
from gpuspawner.core.sharing import Mount
from gpuspawner.setup.images import ImageEntry
from support.classroom import COURSE, Classroom, Seat

pytestmark = pytest.mark.docker

TEAM = f"/courses/{COURSE}/team"
DATA = f"/courses/{COURSE}/data"
NOTEBOOKS = Notebooks(f"file://{DATA}/repository.git", "main", "week1/start.ipynb")


class Teacher:
    """Somebody with a git repository on the host, in a directory that the course can read."""

    def __init__(self, folder: Path) -> None:
        self.work, self.shared = folder / "work", folder / "shared"
        self.shared.mkdir()
        self.git("init", "-q", "--bare", "-b", "main", str(self.shared / "repository.git"), where=folder)
        self.git("clone", "-q", str(self.shared / "repository.git"), str(self.work), where=folder)
        self.publish("week1/start.ipynb", "{}")

    def git(self, *words: str, where: Path | None = None) -> None:
        settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *settings, *words], cwd=where or self.work, check=True, capture_output=True)

    def publish(self, name: str, text: str) -> None:
        (self.work / name).parent.mkdir(exist_ok=True)
        (self.work / name).write_text(text)
        self.git("checkout", "-q", "-B", "main")
        self.git("add", name)
        self.git("commit", "-q", "-m", name)
        self.git("push", "-q", "origin", "main")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return Teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def classroom(
    image: ImageEntry, teacher: Teacher, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Classroom]:
    base = tmp_path_factory.mktemp("courses") / "base"
    room = Classroom(image, base, Mount(str(teacher.shared), DATA))
    yield room
    room.close()
    shutil.rmtree(base, ignore_errors=True)


def pull(seat: Seat) -> list[str]:
    """What the page of a course's link does: the phases that nbgitpuller tells."""
    page = seat.session.get(pull_path(COURSE, NOTEBOOKS))
    assert page.status_code == 200
    assert f"lab/tree/{COURSE}/week1/start.ipynb" in page.text
    ask = {"repo": NOTEBOOKS.repository, "branch": NOTEBOOKS.branch, "targetpath": COURSE}
    told = seat.session.get(f"git-pull/api?{urlencode(ask)}").text
    lines = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    return [str(json.loads(line)["phase"]) for line in lines]


def test_what_a_student_changed_survives_the_next_pull(classroom: Classroom, teacher: Teacher) -> None:
    ada = classroom.seat("ada", team="blue")
    assert pull(ada)[-1] == "finished"
    ada.write(f"{COURSE}/week1/start.ipynb", '{"mine": 1}')
    ada.write(f"{COURSE}/own.txt", "own")
    teacher.publish("week1/start.ipynb", '{"theirs": 1}')
    teacher.publish("week2/more.ipynb", "{}")
    assert pull(ada)[-1] == "finished"
    assert ada(f"cat {COURSE}/week1/start.ipynb") == '{"mine": 1}'
    assert ada(f"cat {COURSE}/own.txt {COURSE}/week2/more.ipynb") == "own{}"


def test_shared_data_can_be_read_and_not_written(classroom: Classroom) -> None:
    ada = classroom.seat("ada", team="blue")
    assert ada(f"ls {DATA}").split() == ["repository.git"]
    for line in (f"touch {DATA}/x", f"rm -rf {DATA}/repository.git", f"mv {DATA}/repository.git {DATA}/y"):
        assert "Read-only file system" in ada.fails(line)


@pytest.mark.parametrize("umask", ["022", "077"])
@pytest.mark.parametrize(("person", "uid"), [("bob", 1000), ("zoe", 4711)])
def test_two_of_a_team_change_what_the_other_made(
    classroom: Classroom, person: str, uid: int, umask: str
) -> None:
    ada, other = classroom.seat("ada", team="blue"), classroom.seat(person, team="blue", uid=uid)
    name = f"{person}-{umask}"
    ada(f"umask {umask}; mkdir -p {TEAM}/{name}; echo ada > {TEAM}/{name}/a.txt")
    other(f"umask {umask}; echo {person} >> {TEAM}/{name}/a.txt; echo new > {TEAM}/{name}/b.txt")
    ada(f"echo again >> {TEAM}/{name}/b.txt; mv {TEAM}/{name}/b.txt {TEAM}/{name}/c.txt")
    assert other(f"cat {TEAM}/{name}/a.txt {TEAM}/{name}/c.txt").split() == ["ada", person, "new", "again"]
    assert other(f"stat -c %g {TEAM}/{name}").strip() == "1000"
    made = other.session.post(f"api/contents/courses/{COURSE}/team/{name}", {"type": "notebook"})
    ada(f"echo >> '{TEAM}/{name}/{made['name']}'")
    other(f"rm -r {TEAM}/{name}")


def test_a_team_works_in_one_git_repository(classroom: Classroom) -> None:
    ada, zoe = classroom.seat("ada", team="blue"), classroom.seat("zoe", team="blue", uid=4711)
    commit = "git -c user.name=x -c user.email=x@example.org commit -q"
    ada(f"git init -q {TEAM}/project && cd {TEAM}/project && echo a > a && git add a && {commit} -m a")
    zoe(f"cd {TEAM}/project && echo b >> a && git add a && {commit} -m b")
    assert (
        len(ada(f"cd {TEAM}/project && {commit} --allow-empty -m c && git log --oneline").splitlines()) == 3
    )


def test_another_team_sees_nothing_of_it_and_who_grades_sees_all(classroom: Classroom) -> None:
    classroom.seat("ada", team="blue")(f"echo secret > {TEAM}/secret.txt")
    eve = classroom.seat("eve", team="red")
    assert eve(f"ls -A {TEAM}") == ""
    assert eve("find / -name secret.txt -not -path '/proc/*' 2>/dev/null; true") == ""
    alone = classroom.seat("alone")
    assert "No such file" in alone.fails(f"ls {TEAM}")
    grace = classroom.seat("grace", grades=True)
    assert grace(f"ls /courses/{COURSE}/teams").split() == ["blue", "red"]
    grace(f"echo good > /courses/{COURSE}/teams/blue/secret.txt")
    assert "denied" in grace.fails(f"mv /courses/{COURSE}/teams/blue /courses/{COURSE}/teams/green")
    assert classroom.seat("ada")(f"cat {TEAM}/secret.txt").strip() == "good"


def test_courses_are_seen_in_the_home_unless_something_is_there(classroom: Classroom) -> None:
    ada = classroom.seat("ada", team="blue")
    assert ada("readlink ~/courses").strip() == "/courses"
    ada("rm ~/courses; mkdir ~/courses; touch ~/courses/mine")
    assert ada("ls ~/courses").split() == ["mine"], "a start later, theirs is still there"
    ada("rm -r ~/courses")
    assert ada("readlink ~/courses").strip() == "/courses"
