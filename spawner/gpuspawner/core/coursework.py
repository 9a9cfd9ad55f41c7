"""What the people of a course work with: notebooks to pull, team folders, hand-ins. All pure.

Every server runs as the same user, so nothing between two people rests on who owns a file: what somebody must
not see is not in their server at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote, urlencode

from .roster import Role
from .sharing import Mount
from .words import mark

COURSES = "/courses"
"""Where servers have a course's folders; people see it as ``courses`` in their home."""
EXCHANGE = "/exchange"
"""Where nbgrader has assignments, hand-ins and feedback."""
COURSES_VARIABLE = "GPUSPAWNER_COURSES"
"""Tells a session which courses it hands in to (``cs231=student``) or grades (``cs231=grader``)."""
DATA_VARIABLE = "GPUSPAWNER_COURSE_DATA"
"""Tells a session by course that is graded in it what all people of the course can read:
``{"cs231": ["/courses/cs231/data"]}``. What was handed in reads that when it is graded, and nothing else.
"""
LANDING_VARIABLE = "JUPYTERHUB_DEFAULT_URL"
"""JupyterHub's own: what is opened when somebody comes to their server."""

_LONGEST = 120
"""Bytes of a folder's name, of the 255 that file systems allow; nbgrader adds to it."""


@dataclass(frozen=True, slots=True)
class Notebooks:
    """A git repository that people work on their own copy of."""

    repository: str
    """Its address, without a password."""
    branch: str
    open: str = ""
    """What is opened, below its folder; empty for the folder."""


@dataclass(frozen=True, slots=True)
class Coursework:
    """What a course has beside directories that are there already."""

    hand_in: bool = False
    """Whether assignments are handed out and in by nbgrader."""
    notebooks: Notebooks | None = None
    assistants_grade: bool = False
    """Whether assistants grade as teachers do."""

    @property
    def graders(self) -> frozenset[Role]:
        """Who hands assignments out and grades; nobody where nothing is handed in."""
        if not self.hand_in:
            return frozenset()
        return frozenset({Role.TEACHER, Role.ASSISTANT} if self.assistants_grade else {Role.TEACHER})


@dataclass(frozen=True, slots=True)
class Part:
    """How somebody takes part in a course."""

    course: str
    work: Coursework
    role: Role
    team: str = ""
    """Those who share a folder; empty for none."""
    data: tuple[Mount, ...] = ()
    """What all people of the course can read."""

    @property
    def grades(self) -> bool:
        """Whether they grade what was handed in."""
        return self.role in self.work.graders


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is made for a course when it is first needed, and never deleted."""

    way: tuple[str, ...]
    """Names from the directory of all courses down to it."""
    target: str
    """Absolute, in the server."""
    read_only: bool = False
    given: bool = True
    """Whether servers own it; else the hub does, and servers can add nothing to it but in what is below."""

    def at(self, base: str) -> Mount:
        """What is mounted.

        Args:
            base: The directory of all courses.
        """
        return Mount("/".join((base, *self.way)), self.target, self.read_only)


def name_folder(text: str) -> str:
    """The name of a folder for anything that people call something; two different texts have two names.

    Letters and digits of all alphabets stay, and so do ``._-@``. There is no way out of the folder that it is
    in, and no name is hidden or looks like an option.
    """
    kept = "".join(one if one.isalnum() or one in "._-@" else quote(one, safe="") for one in text)
    if kept[:1] in (".", "-"):
        kept = f"%{ord(kept[0]):02X}{kept[1:]}"
    if len(kept.encode()) <= _LONGEST:
        return kept
    digest = sha256(text.encode()).hexdigest()[:32]
    # No other name has %~ in it.
    return f"{kept.encode()[: _LONGEST - 40].decode(errors='ignore')}%~{digest}"


def plan_folders(person: str, parts: Iterable[Part]) -> tuple[Folder, ...]:
    """The folders of somebody's courses that belong in a server of theirs.

    A student has the folder of their team, teachers and assistants those of all teams. Who grades has what
    all handed in (to read), the feedback of all, and the course's own folder; everybody else has their own
    box for hand-ins and their own feedback: an assistant who does not grade can try an assignment.
    """
    found: list[Folder] = []
    for part in parts:
        course, own = name_folder(part.course), name_folder(person)
        here, exchange = f"{COURSES}/{course}", f"{EXCHANGE}/{course}"
        if part.role is not Role.STUDENT:
            found.append(Folder((course, "teams"), f"{here}/teams", given=False))
        elif part.team:
            found.append(Folder((course, "teams", name_folder(part.team)), f"{here}/team"))
        if part.grades:
            found += [
                Folder((course, "grading"), f"{here}/grading"),
                Folder((course, "outbound"), f"{exchange}/outbound"),
                Folder((course, "inbound"), f"{exchange}/inbound", read_only=True, given=False),
                Folder((course, "feedback"), f"{exchange}/feedback", given=False),
            ]
        elif part.work.hand_in:
            found += [
                Folder((course, "outbound"), f"{exchange}/outbound", read_only=True),
                Folder((course, "inbound", own), f"{exchange}/inbound"),
                Folder((course, "feedback", own), f"{exchange}/feedback", read_only=True),
            ]
    return tuple(found)


def describe_parts(parts: Collection[Part], mounts: Collection[Mount] = ()) -> dict[str, str]:
    """Variables that tell a session about its courses; nothing is kept secret by them, mounts do that.

    Args:
        parts: How its person takes part in courses.
        mounts: What else is mounted in the server.
    """
    handed = [part for part in parts if part.work.hand_in]
    if not handed:
        return {}
    said = {name_folder(part.course): "grader" if part.grades else "student" for part in handed}
    data = {
        name_folder(part.course): [one.target for one in part.data if one in mounts]
        for part in handed
        if part.grades
    }
    roles = {COURSES_VARIABLE: ",".join(f"{name}={role}" for name, role in sorted(said.items()))}
    return roles | ({DATA_VARIABLE: json.dumps(data, sort_keys=True)} if any(data.values()) else {})


def pull_path(course: str, notebooks: Notebooks) -> str:
    """Where a server pulls a course's notebooks and then opens them: a path below its own address.

    They come into a folder of the course's name in the home. What somebody changed there stays theirs at each
    further pull (nbgitpuller).
    """
    folder = name_folder(course)
    shown = quote(f"{folder}/{notebooks.open}".rstrip("/"))
    query = {
        "repo": notebooks.repository,
        "branch": notebooks.branch,
        "targetpath": folder,
        "urlpath": f"lab/tree/{shown}",
    }
    return f"git-pull?{urlencode(query)}"


def course_link(hub: str, course: str, notebooks: Notebooks) -> str:
    """An address that opens a course's notebooks for whoever follows it, in their own server.

    A server that runs pulls them at once; else one is started with the image of the course, and opens them.

    Args:
        hub: Where the hub's own pages are, as ``https://hub.example.org/hub/``, or its path alone.
        course: Its name.
        notebooks: What is pulled.
    """
    path = f"/{hub.partition('://')[2].partition('/')[2]}" if "://" in hub else hub
    query = {"opt-notebooks": course, "next": f"{path}user-redirect/{pull_path(course, notebooks)}"}
    return f"{hub}spawn?{urlencode(query)}"


_REPOSITORY = re.compile(r"(?:https?://[^\s/@\\?#]+|file://)/[^\s\\?#]+")
_BRANCH = re.compile(r"(?!/)(?:[A-Za-z0-9_][A-Za-z0-9._+-]*/)*[A-Za-z0-9_][A-Za-z0-9._+-]*")


def why_not_repository(address: str) -> str | None:
    """Say what is wrong with the address of a git repository; None if it is right."""
    if not address.isprintable() or not _REPOSITORY.fullmatch(address):
        return mark(
            "write an address such as https://git.example.org/cs231.git, or file:///courses/cs231/data.git "
            "for one in a directory that the server has; without a password, since all people see it"
        )
    return None


def why_not_branch(name: str) -> str | None:
    """Say what is wrong with the name of a branch; None if it is right."""
    good = _BRANCH.fullmatch(name) and ".." not in name and not name.endswith((".lock", "."))
    return None if good else mark("write the name of a branch, such as main")


def why_not_file(path: str) -> str | None:
    """Say what is wrong with a file of a repository; None if it is right."""
    parts = path.split("/")
    good = path.isprintable() and not {"", ".", ".."} & set(parts) and ".git" not in parts
    return None if good else mark("write a path inside of the repository, such as week1/start.ipynb")
