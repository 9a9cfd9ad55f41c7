"""People of a course at their servers: real containers, each with what the hub mounts for its person."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from gpuspawner.adapters.course_folders import CourseFolders
from gpuspawner.core.container import build_mounts
from gpuspawner.core.coursework import Coursework, Part, describe_parts, plan_folders
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.core.roster import Role
from gpuspawner.core.sharing import Mount
from gpuspawner.setup.images import ImageEntry

from .sessions import HOME, Session

COURSE = "cs231"
WORK = Coursework(hand_in=True)


class Seat:
    """Somebody's server, as the hub would make it.

    Args:
        session: The server.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, line: str) -> str:
        """What a line of shell prints. Raises: AssertionError: It failed; with what it printed."""
        return self.session.exec("bash", "-lc", line)

    def fails(self, line: str) -> str:
        """What a line of shell prints that must fail."""
        code, output = self.session.container.exec_run(["gpuspawner-entrypoint", "bash", "-lc", line])
        assert code != 0, f"{line}: {output.decode()}"
        return str(output.decode())

    def write(self, path: str, text: str) -> None:
        """Put a text into a file."""
        self.session.exec("python3", "-c", f"open({path!r}, 'w').write({text!r})")


class Classroom:
    """Everybody's seats, made when they are first asked for.

    Args:
        image: What all of them run.
        base: Where the hub makes folders of courses.
        shared: What all of the course have, as the policy says.
        others: What else is mounted in everybody's server.
    """

    def __init__(self, image: ImageEntry, base: Path, *shared: Mount, others: tuple[Mount, ...] = ()) -> None:
        self.base, self._image, self._shared, self._others = base, image, shared, others
        self._seats: dict[str, Seat] = {}
        self._stack = ExitStack()

    def seat(
        self, person: str, *, grades: bool = False, course: str = COURSE, team: str = "", uid: int = 1000
    ) -> Seat:
        """Somebody's seat, with JupyterLab running."""
        if person not in self._seats:
            role = Role.TEACHER if grades else Role.STUDENT
            part = Part(course, WORK, role, team, self._shared)
            folders = plan_folders(person, [part])
            CourseFolders(self.base, uid=1000, gid=1000).ensure(folders)
            own = self.base.parent / "homes" / person
            own.mkdir(parents=True)
            os.chown(own, uid, 1000)
            home = Home(person, HomeKind.BIND, str(own))
            mounts = [*self._shared, *self._others, *(folder.at(str(self.base)) for folder in folders)]
            session = Session(
                self._image,
                mounts=build_mounts(home, HOME, mounts),
                environment={"JUPYTERHUB_USER": person, **describe_parts([part], self._shared)},
                user=f"{uid}:1000",
            )
            self._stack.enter_context(session)
            assert session.health() == "healthy", session.log
            self._seats[person] = Seat(session)
        return self._seats[person]

    def close(self) -> None:
        """End all of it."""
        self._stack.close()
