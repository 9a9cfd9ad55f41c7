"""What a teacher brings to a course: notebooks in a repository, and an assignment; and an answer to it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

from .installation import Installation


def grading_folder(course: str) -> str:
    """Of all who grade a course, in their servers."""
    return f"/home/jovyan/courses/{course}/grading"


def make_repository(folder: Path) -> None:
    """Make ``notebooks.git`` in a folder, with ``start.ipynb`` on its branch ``main``."""
    run = lambda *words: subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)  # noqa: E731
    run("init", "-q", "--bare", "-b", "main", "notebooks.git")
    run("clone", "-q", "notebooks.git", "work")
    (folder / "work/start.ipynb").write_text(notebook())
    run("-C", "work", "add", "start.ipynb")
    run("-C", "work", "-c", "user.name=g", "-c", "user.email=g@example.org", "commit", "-q", "-m", "start")
    run("-C", "work", "push", "-q", "origin", "HEAD:main")
    shutil.rmtree(folder / "work")


def cell(source: str, grade_id: str, **about: Any) -> dict[str, Any]:
    """A cell that nbgrader knows."""
    known = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": grade_id,
        "metadata": {"nbgrader": {**known, "grade_id": grade_id, **about}},
        "outputs": [],
        "source": source,
    }


def notebook(*cells: dict[str, Any]) -> str:
    """The text of a notebook."""
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5})


SOLUTION = "### BEGIN SOLUTION\ndef double(x): return 2 * x\n### END SOLUTION"
PROBLEM = notebook(
    cell(SOLUTION, "answer", solution=True),
    cell("assert double(2) == 4", "test", grade=True, locked=True, points=2),
)
"""Two points for who doubles."""


class Desk(Protocol):
    """Where somebody types."""

    def __call__(self, line: str) -> str:
        """What a line of shell prints. Raises: AssertionError: It failed; with what it printed."""

    def write(self, path: str, text: str) -> None:
        """Put a text into a file."""


def hand_in(desk: Desk, answer: str) -> None:
    """Fetch the assignment, answer it and hand it in, as a student does."""
    desk("nbgrader fetch_assignment ps1")
    problem = json.loads(desk("cat ps1/problem.ipynb"))
    assert "2 * x" not in json.dumps(problem), "the solution is not handed out"
    problem["cells"][0]["source"] = answer
    desk.write("ps1/problem.ipynb", json.dumps(problem))
    desk("nbgrader submit ps1")


def list_scores(course: str, assignment: str) -> str:
    """A line of shell, for who grades, that prints everybody's points as JSON."""
    code = (
        "from nbgrader.api import Gradebook; import json;"
        f"gb = Gradebook('sqlite:///{grading_folder(course)}/gradebook.db');"
        f"print(json.dumps({{s.student.id: s.score for s in gb.assignment_submissions('{assignment}')}}))"
    )
    return f'python3 -c "{code}"'


class Workplace:
    """Somebody's server of an installation, in which they type.

    Args:
        installation: Where.
        person: Whose.
    """

    def __init__(self, installation: Installation, person: str) -> None:
        self._installation, self._person = installation, person

    def __call__(self, line: str) -> str:
        """What a line of shell prints. Raises: AssertionError: It failed; with what it printed."""
        engine, command = self._installation.engine, ["gpuspawner-entrypoint", "bash", "-lc", line]
        id_ = engine.exec_create(self._installation.container(self._person)["Id"], command)["Id"]
        printed = bytes(engine.exec_start(id_)).decode()
        assert engine.exec_inspect(id_)["ExitCode"] == 0, f"{line} of {self._person}: {printed}"
        return printed

    def write(self, path: str, text: str) -> None:
        """Put a text into a file."""
        self(f"printf %s {shlex.quote(text)} > {path}")
