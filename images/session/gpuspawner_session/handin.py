"""nbgrader's exchange where every server runs as the same user, so that no file's owner tells who made it.

Upstream's exchange is one directory for all, and rests on owners and modes. Here a student's server has a
box of its own in the place of ``inbound``, and feedback of its own in the place of ``feedback``; a grader's
server has the boxes of all, by student, to read. So the name of a box, which the hub gave, says whose a
hand-in is, and nothing in it is believed: no link is followed, and what is no plain tree of files is left
out.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.exchange import ExchangeError, default
from nbgrader.utils import parse_utc

EXCHANGE = "/exchange"
"""Where the hub mounts it."""
VARIABLE = "GPUSPAWNER_COURSES"
"""``cs231=student,ml=grader``: set by the hub. To change it opens nothing, since folders are not there."""
_MOST_FILES = 10_000
"""In one hand-in."""
_SLACK = timedelta(minutes=10)
"""By how much a hand-in may be older by its own word than by the file system's."""


class Refused(ExchangeError):  # type: ignore[misc]
    """A hand-in is left out; says why."""


def read_roles(text: str) -> dict[str, str]:
    """Courses with hand-ins, and what somebody is in each."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {course: role for course, _, role in pairs}


def configure(c: Any, roles: dict[str, str], home: str) -> None:
    """Configure nbgrader: who grades does so in their first course; who hands in to one need not name it.

    Args:
        c: nbgrader's configuration.
        roles: What :func:`read_roles` returned.
        home: The home.
    """
    c.Exchange.root = EXCHANGE
    module = __name__
    c.ExchangeFactory.release_assignment = f"{module}.Release"
    c.ExchangeFactory.fetch_assignment = f"{module}.Fetch"
    c.ExchangeFactory.submit = f"{module}.Submit"
    c.ExchangeFactory.list = f"{module}.List"
    c.ExchangeFactory.collect = f"{module}.Collect"
    c.ExchangeFactory.release_feedback = f"{module}.ReleaseFeedback"
    c.ExchangeFactory.fetch_feedback = f"{module}.FetchFeedback"
    # Two courses may call an assignment the same.
    c.Exchange.path_includes_course = len(roles) > 1
    grades = sorted(course for course, role in roles.items() if role == "grader")
    if grades:
        c.CourseDirectory.course_id = grades[0]
        c.CourseDirectory.root = f"{home}/courses/{grades[0]}/grading"
        c.CourseDirectory.groupshared = True
        # What was handed in is run and shown by who grades: it reaches nothing of theirs, by code or by page.
        c.Execute.kernel_manager_class = "gpuspawner_session.sealedkernel.SealedKernelManager"
        c.HTMLExporter.sanitize_html = True
    elif len(roles) == 1:
        c.CourseDirectory.course_id = next(iter(roles))


class _Mounted:
    """The hub has made all directories; who may write where is a matter of mounts."""

    def ensure_root(self) -> None:
        """Nothing: nobody writes to the root."""

    def ensure_directory(self, path: str, mode: int) -> None:
        """Only look.

        Raises:
            ExchangeError: The folder is not in this server.
        """
        if not Path(path).is_dir():
            self.fail(f"{path} is not in this server: it is not for you, or your server has another image.")  # type: ignore[attr-defined]


class Release(_Mounted, default.ExchangeReleaseAssignment):  # type: ignore[misc]
    """Handing out."""


class Fetch(_Mounted, default.ExchangeFetchAssignment):  # type: ignore[misc]
    """Fetching what was handed out."""


class Submit(_Mounted, default.ExchangeSubmit):  # type: ignore[misc]
    """Handing in, to one's own box."""


class FetchFeedback(_Mounted, default.ExchangeFetchFeedback):  # type: ignore[misc]
    """Fetching one's own feedback."""


class List(_Mounted, default.ExchangeList):  # type: ignore[misc]
    """Listing; for a grader the boxes of all."""

    assignments: list[str]

    def init_dest(self) -> None:
        """Find what is listed."""
        super().init_dest()
        if self.inbound:
            course = self.coursedir.course_id or "*"
            boxes = Path(self.root).glob(f"{course}/inbound/*")
            found = (
                one for box in boxes for one in _list_hand_ins(box, self.coursedir.assignment_id or None)
            )
            self.assignments = sorted({*self.assignments, *map(str, found)})

    def parse_assignment(self, assignment: str) -> dict[str, str]:
        """Take a path apart; the box says whose it is."""
        path = Path(assignment)
        if self.inbound and path.parent.parent.name == "inbound":
            flat = path.parent.parent / f"{path.parent.name}+{path.name.split('+', 1)[1]}"
            return dict(super().parse_assignment(str(flat)))
        return dict(super().parse_assignment(assignment))


class Collect(_Mounted, default.ExchangeCollect):  # type: ignore[misc]
    """Collecting the newest hand-in of each student, or the newest in time."""

    def init_src(self) -> None:
        """Find them, by box. Raises: ExchangeError: There is no such course here."""
        self.check_owner = False
        self.inbound_path = str(Path(self.root, self.coursedir.course_id or "-", "inbound"))
        self.ensure_directory(self.inbound_path, 0)
        due = self._find_due_date() if self.before_duedate else None
        boxes = sorted(Path(self.inbound_path).glob(self.coursedir.student_id or "*"))
        chosen = (self._choose(box, due) for box in boxes)
        self.src_records = [record for record in chosen if record is not None]

    def _find_due_date(self) -> datetime | None:
        with Gradebook(self.coursedir.db_url, self.coursedir.course_id) as gradebook:
            try:
                due: datetime | None = gradebook.find_assignment(self.coursedir.assignment_id).duedate
            except MissingEntry:
                return None
            return due

    def _choose(self, box: Path, due: datetime | None) -> dict[str, Any] | None:
        found = []
        for path in _list_hand_ins(box, self.coursedir.assignment_id):
            try:
                at = parse_utc(path.name.split("+")[2])
                require_plain(path)
            except (ValueError, OverflowError, IndexError, OSError, Refused) as error:
                self.log.warning("%r is left out: %s", str(path), error)
                continue
            written = datetime.fromtimestamp(path.lstat().st_ctime, UTC).replace(tzinfo=None)
            if written - at > _SLACK:
                self.log.warning("%r is said to be of %s and was written at %s", str(path), at, written)
            found.append({"username": box.name, "filename": f"{box.name}/{path.name}", "timestamp": at})
        found.sort(key=lambda one: one["timestamp"], reverse=True)
        in_time = [one for one in found if due is None or one["timestamp"] <= due]
        return next(iter([*in_time, *found]), None)

    def do_copy(self, src: str, dest: str, log: object = None) -> None:
        """Copy a hand-in; what became no plain tree of files meanwhile is left out."""
        try:
            copy_plain(Path(src), Path(dest), most_bytes=1000 * self.coursedir.max_dir_size)
        except (OSError, Refused) as error:
            self.log.error("%r is left out: %s", src, error)
            shutil.rmtree(dest, ignore_errors=True)


class ReleaseFeedback(_Mounted, default.ExchangeReleaseFeedback):  # type: ignore[misc]
    """Feedback into the folder of the student whom it is for."""

    def init_dest(self) -> None:
        """Find the folders. Raises: ExchangeError: There is no such course here."""
        self.outbound_path = Path(self.root, self.coursedir.course_id or "-", "feedback")
        self.ensure_directory(str(self.outbound_path), 0)

    def copy_files(self) -> None:
        """Release, student by student."""
        wanted = self.coursedir.student_id or "*"
        whole = Path(self.coursedir.format_path(self.coursedir.feedback_directory, "-", "-")).parent.parent
        for student in sorted(whole.glob(wanted)):
            self.dest_path = str(self.outbound_path / student.name)
            self.src_path = str(student / self.coursedir.assignment_id)
            if not Path(self.dest_path).is_dir():
                self.log.warning(
                    "%s has never had a server of this course: no feedback is released", student.name
                )
            elif Path(self.src_path).is_dir():
                super().copy_files()


def _list_hand_ins(box: Path, assignment: str | None) -> list[Path]:
    """What lies in a box and is called like a hand-in."""
    if not box.is_dir() or box.is_symlink():
        return []
    named = (one for one in sorted(box.iterdir()) if len(one.name.split("+")) >= 3)
    return [one for one in named if assignment is None or one.name.split("+")[1] == assignment]


def require_plain(tree: Path) -> None:
    """Look through a hand-in.

    Raises:
        Refused: Something in it is no file and no directory, or there is too much of it.
        OSError: It cannot be read.
    """
    for _ in _walk_plain(tree):
        pass


def copy_plain(tree: Path, to: Path, *, most_bytes: int) -> None:
    """Copy a hand-in whose maker may change it meanwhile; nothing outside of it is ever read.

    Args:
        tree: The hand-in.
        to: Where to; it must not be there.
        most_bytes: Of all files together.

    Raises:
        Refused: Something in it is no file and no directory, or there is too much of it.
        OSError: It cannot be read or written.
    """
    to.mkdir(parents=True)
    left = most_bytes
    for where, name, opened in _walk_plain(tree):
        if opened is None:
            (to / where / name).mkdir()
            continue
        with os.fdopen(os.dup(opened), "rb") as source, (to / where / name).open("xb") as target:
            while block := source.read(min(1 << 20, left + 1)):
                left -= len(block)
                if left < 0:
                    raise Refused(f"it has more than {most_bytes // 10**6} MB")
                target.write(block)


def _walk_plain(tree: Path) -> Iterator[tuple[Path, str, int | None]]:
    """Each directory (None) and each file, opened to be read, of a tree, by its place in it.

    Files are opened below the directory that was looked at, and no link on the way is followed.
    """
    if tree.is_symlink():
        raise Refused("it is a link")
    count = 0
    for path, directories, files, at in os.fwalk(tree, follow_symlinks=False):
        where = Path(path).relative_to(tree)
        for name in [*directories, *files]:
            count += 1
            if count > _MOST_FILES:
                raise Refused(f"it has more than {_MOST_FILES} files")
            # Not one that waits for somebody to write, as a pipe would.
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            try:
                kind = os.fstat(opened).st_mode
                if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                    raise Refused(f"{where / name} is neither a file nor a directory")
                yield where, name, opened if stat.S_ISREG(kind) else None
            finally:
                os.close(opened)
