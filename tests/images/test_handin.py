"""Hand-in by nbgrader in real containers, with what the hub mounts for each person; and what people try."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from gpuspawner.core.sharing import Mount
from gpuspawner.setup.images import ImageEntry
from support.classroom import COURSE, Classroom, Seat
from support.coursework import PROBLEM, grading_folder, hand_in, list_scores

pytestmark = pytest.mark.docker

GRADING = grading_folder(COURSE)
HAND_IN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ UTC"


@pytest.fixture(scope="module")
def classroom(image: ImageEntry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classroom]:
    top = tmp_path_factory.mktemp("courses")
    base = top / "base"
    mounts = []
    for name, target in (("data", "/materials"), ("scans", "/scans"), ("tools", "/opt/tools")):
        (top / name).mkdir()
        (top / name / "it.txt").write_text(name)
        mounts.append(Mount(str(top / name), target))
    room = Classroom(image, base, mounts[0], others=tuple(mounts[1:]))
    yield room
    room.close()
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def teacher(classroom: Classroom) -> Seat:
    seat = classroom.seat("grace", grades=True)
    seat(f"mkdir -p {GRADING}/source/ps1")
    seat.write(f"{GRADING}/source/ps1/problem.ipynb", PROBLEM)
    seat(f"cd {GRADING} && nbgrader generate_assignment ps1 --create && nbgrader release_assignment ps1")
    return seat


@pytest.fixture(scope="module")
def ada(classroom: Classroom, teacher: Seat) -> Seat:
    seat = classroom.seat("ada")
    hand_in(seat, "def double(x): return of_ada(x)\nof_ada = lambda x: 2 * x")
    return seat


@pytest.fixture(scope="module")
def bob(classroom: Classroom, teacher: Seat) -> Seat:
    seat = classroom.seat("bob")
    hand_in(seat, "def double(x): return of_bob(x)\nof_bob = lambda x: 3 * x")
    return seat


def grade(teacher: Seat) -> str:
    steps = (
        "collect ps1 --update", "autograde ps1 --create --force", "generate_feedback ps1 --force",
        "release_feedback ps1",
    )  # fmt: skip
    return teacher(f"cd {GRADING} && " + " && ".join(f"nbgrader {step} 2>&1" for step in steps))


def scores(teacher: Seat) -> dict[str, float]:
    return dict(json.loads(teacher(list_scores(COURSE, "ps1")).splitlines()[-1]))


def test_from_handing_out_to_feedback(teacher: Seat, ada: Seat, bob: Seat) -> None:
    grade(teacher)
    assert scores(teacher) == {"ada": 2, "bob": 0}
    for seat, other in ((ada, "of_bob"), (bob, "of_ada")):
        seat("nbgrader fetch_feedback ps1")
        pages = seat("cat ps1/feedback/*/problem.html")
        assert "double" in pages
        assert other not in pages, "each has their own"
    assert "cs231 ps1" in ada("nbgrader list 2>&1")
    assert re.search(rf"cs231 bob ps1 {HAND_IN}", teacher("nbgrader list --inbound 2>&1"))


def test_a_student_has_nothing_of_others_and_of_the_teacher(ada: Seat, bob: Seat) -> None:
    mine = ada("ls -A /exchange/cs231/inbound").splitlines()
    assert mine
    assert all(name.startswith("ada+ps1+") for name in mine)
    for line in ("find / -name gradebook.db -not -path '/opt/*'", "find /exchange /courses -name '*bob*'"):
        assert ada(f"{line} 2>/dev/null; true") == ""
    assert "No such file" in ada.fails(f"cat {GRADING}/source/ps1/problem.ipynb")
    for place in ("outbound/x", "outbound/ps1/problem.ipynb", "feedback/x", "x"):
        said = ada.fails(f"touch /exchange/cs231/{place}")
        assert "Read-only" in said or "denied" in said, place


def test_who_grades_can_change_nothing_that_was_handed_in(teacher: Seat, ada: Seat) -> None:
    assert "Read-only" in teacher.fails("rm -rf /exchange/cs231/inbound/ada/*")
    assert "Read-only" in teacher.fails("ln -s /etc /exchange/cs231/inbound/eve")
    assert "denied" in teacher.fails("ln -s /etc /exchange/cs231/feedback/eve")


def test_nobody_hands_in_for_another(teacher: Seat, ada: Seat, bob: Seat) -> None:
    forged = "/exchange/cs231/inbound/bob+ps1+2030-01-01 00:00:00.000000 UTC+x"
    ada(f"cp -r ps1 '{forged}' && echo '2030-01-01 00:00:00 UTC' > '{forged}/timestamp.txt'")
    ada(f"rm -rf '{forged}/feedback'; echo x > '{forged}/submission_secret.txt'")
    ada(f"sed -i 's/of_ada/forged/' '{forged}/problem.ipynb'")
    try:
        teacher(f"cd {GRADING} && nbgrader collect ps1 --update")
        assert "forged" not in teacher(f"cat {GRADING}/submitted/bob/ps1/problem.ipynb")
        assert "forged" in teacher(f"cat {GRADING}/submitted/ada/ps1/problem.ipynb"), "it is ada's own"
    finally:
        ada(f"rm -rf '{forged}'")
        teacher(f"rm -rf {GRADING}/submitted/ada")


@pytest.mark.parametrize(
    "trick",
    [
        f"ln -s {GRADING}/gradebook.db $it/notes.txt",
        f"rm -rf $it && ln -s {GRADING}/source/ps1 $it",
        "mkfifo $it/pipe",
        "rm -rf $it && mkfifo $it",
        "rm -rf $it && touch $it",
        "mkdir $it/deep && ln -s / $it/deep/root",
        "mv $it $box/ada+ps1+yesterday+x",
        "mv $it $box/ada+ps1+9999999999-01-01+x",
        "mv $it $box/ada+ps1",
    ],
)
def test_a_hand_in_that_is_a_trap_is_left_out_and_the_others_are_collected(
    teacher: Seat, ada: Seat, bob: Seat, trick: str
) -> None:
    box = "/exchange/cs231/inbound"
    ada(f"box={box}; it=$box/ada+ps1+2031-01-01+trap; mkdir $it && touch $it/trap && {trick}")
    try:
        teacher(f"rm -rf {GRADING}/submitted; cd {GRADING} && nbgrader collect ps1")
        found = teacher(f"cd {GRADING}/submitted && find . -type f | sort")
        assert "./bob/ps1/problem.ipynb" in found
        assert "./ada/ps1/problem.ipynb" in found, "the good one before it"
        assert not set(found.split()) & {"./ada/ps1/trap", "./ada/ps1/notes.txt", "./ada/ps1/pipe"}
    finally:
        ada(f"cd {box} && rm -rf *trap ada+ps1 *yesterday* *9999*")


def test_a_teacher_of_another_course_has_nothing_of_this_one(classroom: Classroom, ada: Seat) -> None:
    eve = classroom.seat("eve", grades=True, course="ml")
    assert eve("ls /courses /exchange").split() == ["/courses:", "ml", "/exchange:", "ml"]
    assert eve("ls -A /exchange/ml/inbound") == ""
    assert eve("find / -path '*cs231*' -not -path '/proc/*' 2>/dev/null | head -1; true") == ""


SPY = """
import json, os, pathlib, shutil, socket, subprocess
def attempt(what):
    try:
        return repr(what())
    except Exception as error:
        return type(error).__name__
told = {
    "source": attempt(lambda: open("/courses/cs231/grading/source/ps1/problem.ipynb").read()),
    "grades": attempt(lambda: open("/home/jovyan/courses/cs231/grading/gradebook.db", "rb").read(9)),
    "others": attempt(lambda: os.listdir("/exchange/cs231/inbound")),
    "home": attempt(lambda: os.listdir("/home/jovyan")),
    "write": attempt(lambda: open("/courses/cs231/grading/x", "w")),
    "link": attempt(lambda: os.symlink("/courses/cs231/grading/gradebook.db", "evil.html")),
    "runtime": attempt(lambda: os.listdir("/tmp/jupyter-runtime")),
    "net": attempt(lambda: socket.create_connection(("127.0.0.1", 8888), 3)),
    "environ": attempt(lambda: [n for n in os.environ if "TOKEN" in n or n.startswith("JUPYTERHUB")]),
    "parent": attempt(lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(9)),
    "first": attempt(lambda: open("/proc/1/environ", "rb").read(9)),
    "kill": attempt(lambda: os.kill(os.getppid(), 0)),
    "child": attempt(lambda: subprocess.run(["ls", "/home/jovyan"], capture_output=True, check=True)),
    "lab": attempt(lambda: open("/scans/it.txt").read()),
    "tools": attempt(lambda: open("/opt/tools/it.txt").read()),
    "agent": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/home/jovyan/agent")),
    "own": attempt(lambda: pathlib.Path("made.txt").write_text("x")),
    "data": attempt(lambda: open("/materials/it.txt").read()),
    "copy": attempt(lambda: shutil.copy2("made.txt", "copied.txt")),
    "mode": attempt(lambda: os.chmod("/home/jovyan/courses/cs231/grading/gradebook.db", 0o777)),
}
pathlib.Path("told.json").write_text(json.dumps(told))
def double(x): return 2 * x
"""


def test_what_is_graded_reaches_nothing_of_who_grades_it(classroom: Classroom, teacher: Seat) -> None:
    hand_in(classroom.seat("mallory"), SPY)
    where, mode = f"{GRADING}/autograded/mallory/ps1", f"stat -c %a {GRADING}/gradebook.db"
    before = teacher(mode)
    listen = (
        "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('agent'); s.listen(); time.sleep(600)"
    )
    teacher(f'cd; python3 -c "{listen}" >/dev/null 2>&1 &')
    teacher(
        f"cd {GRADING} && nbgrader collect ps1 --update && nbgrader autograde ps1 --create --student=mallory"
    )
    told = json.loads(teacher(f"cat {where}/told.json"))
    assert told.pop("own") == "1"
    assert told.pop("data") == "'data'", "what all of the course can read"
    assert told.pop("copy") == "'copied.txt'"
    assert told.pop("mode") == "None"
    assert teacher(mode) == before
    assert told.pop("environ") == "[]"
    assert told.pop("child") == "CalledProcessError"
    assert set(told.values()) == {"PermissionError"}, told
    assert scores(teacher)["mallory"] == 2
    assert teacher("ls -d /tmp/sealed-* 2>/dev/null; true") == ""


def test_when_something_was_handed_in_is_not_for_the_student_to_say(
    classroom: Classroom, teacher: Seat
) -> None:
    zoe = classroom.seat("zoe")
    hand_in(zoe, "def double(x): return 2 * x")
    box, old = "/exchange/cs231/inbound", "2020-01-01 00:00:00.000000 UTC"
    zoe(f"cd {box} && chmod -R u+w . && echo '{old}' > zoe+ps1+*/timestamp.txt")
    zoe(f"cd {box} && touch -d 2020-01-01 zoe+ps1+*/* zoe+ps1+* && mv zoe+ps1+* 'zoe+ps1+{old}+x'")
    said = teacher(f"cd {GRADING} && nbgrader collect ps1 --student=zoe 2>&1")
    assert "by its own word of 2020-01-01 00:00:00, and was written at" in said
    at = teacher(f"cat {GRADING}/submitted/zoe/ps1/timestamp.txt")
    assert re.fullmatch(HAND_IN, at.strip())
    assert not at.startswith("2020")
    assert re.search(rf"cs231 zoe ps1 {old} .*\(written {at[:16]}", teacher("nbgrader list --inbound 2>&1"))


def test_formgrader_is_for_who_grades(teacher: Seat, ada: Seat) -> None:
    page = teacher.session.get("formgrader")
    assert page.status_code == 200
    assert "manage_assignments" in page.url
    assert "gradebook" in page.text.lower()
    released = teacher.session.get("formgrader/api/assignments").json()
    assert [(one["name"], one["status"]) for one in released] == [("ps1", "released")]
    assert ada.session.get("formgrader").status_code == 404
    assert ada.session.get("formgrader/api/assignments").status_code == 404
