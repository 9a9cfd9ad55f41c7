"""nbgrader's exchange where every server runs as the same user, so that no file's owner tells who made it.

Upstream's exchange is one directory for all, and rests on owners and modes. Here a student's server has a
box of its own in the place of ``inbound``, and feedback of its own in the place of ``feedback``; a grader's
server has the boxes of all, by student, to read. So the name of a box, which the hub gave, says whose a
hand-in is, and nothing in it is believed: no link is followed, what is no plain tree of files is left out,
and when it was handed in says the file system (:mod:`gpuspawner_session.boxes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.exchange import default
from nbgrader.utils import parse_utc

from .boxes import HandIn, Refused, choose_hand_in, collect_plain, list_hand_ins, read_hand_in

EXCHANGE = "/exchange"
"""Where the hub mounts it."""
VARIABLE = "GPUSPAWNER_COURSES"
"""``cs231=student,ml=grader``: set by the hub. To change it opens nothing, since folders are not there."""


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
            found = (one for box in boxes for one in list_hand_ins(box, self.coursedir.assignment_id or None))
            self.assignments = sorted({*self.assignments, *map(str, found)})

    def parse_assignment(self, assignment: str) -> dict[str, str]:
        """Take a path apart; the box says whose it is, and the file system since when it is there."""
        path = Path(assignment)
        if not (self.inbound and path.parent.parent.name == "inbound"):
            return dict(super().parse_assignment(assignment))
        flat = path.parent.parent / f"{path.parent.name}+{path.name.split('+', 1)[1]}"
        found = dict(super().parse_assignment(str(flat)))
        try:
            one = read_hand_in(path, parse_utc)
            found["written"] = f"{one.at} UTC" if one.differs else ""
        except (ValueError, OverflowError, OSError, Refused) as error:
            found["written"] = f"never: {error}"
        return found

    def format_inbound_assignment(self, info: dict[str, Any]) -> str:
        """A line for a hand-in; with the time that counts where its own word is another one."""
        written = f" (written {info['written']})" if info.get("written") else ""
        return f"{super().format_inbound_assignment(info)}{written}"


class Collect(_Mounted, default.ExchangeCollect):  # type: ignore[misc]
    """Collecting the newest hand-in of each student, or the newest in time."""

    def init_src(self) -> None:
        """Find them, by box. Raises: ExchangeError: There is no such course here."""
        self.check_owner = False
        self.inbound_path = str(Path(self.root, self.coursedir.course_id or "-", "inbound"))
        self.ensure_directory(self.inbound_path, 0)
        due = self._find_due_date() if self.before_duedate else None
        boxes = sorted(Path(self.inbound_path).glob(self.coursedir.student_id or "*"))
        chosen = (choose_hand_in(self._read(box), due) for box in boxes)
        self.src_records = [self._record(one) for one in chosen if one is not None]

    def _find_due_date(self) -> datetime | None:
        with Gradebook(self.coursedir.db_url, self.coursedir.course_id) as gradebook:
            try:
                due: datetime | None = gradebook.find_assignment(self.coursedir.assignment_id).duedate
            except MissingEntry:
                return None
            return due

    def _read(self, box: Path) -> Iterator[HandIn]:
        for path in list_hand_ins(box, self.coursedir.assignment_id):
            try:
                yield read_hand_in(path, parse_utc)
            except (ValueError, OverflowError, OSError, Refused) as error:
                self.log.warning("%r is left out: %s", str(path), error)

    def _record(self, one: HandIn) -> dict[str, Any]:
        if one.differs:
            self.log.warning("%r is by its own word of %s, and was written at %s UTC, which counts",
                             str(one.path), one.said, one.at)  # fmt: skip
        box = one.path.parent.name
        return {"username": box, "filename": f"{box}/{one.path.name}", "timestamp": one.at}

    def do_copy(self, src: str, dest: str, log: object = None) -> None:
        """Copy a hand-in; what became no plain tree of files meanwhile is left out."""
        try:
            collect_plain(Path(src), Path(dest), most_bytes=1000 * self.coursedir.max_dir_size)
        except (OSError, Refused) as error:
            self.log.error("%r is left out: %s", src, error)


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
