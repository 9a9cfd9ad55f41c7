"""What is in whose server: folders by role and team, names that lead nowhere else, links to notebooks."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from gpuspawner.core.coursework import (
    Coursework,
    Folder,
    Notebooks,
    Part,
    course_link,
    describe_parts,
    name_folder,
    plan_folders,
    pull_path,
    why_not_branch,
    why_not_file,
    why_not_repository,
)
from gpuspawner.core.roster import Role
from gpuspawner.core.sharing import Mount
from hypothesis import given
from hypothesis import strategies as st

HAND_IN = Coursework(hand_in=True)
NOTEBOOKS = Notebooks("https://git.example.org/vision 1.git?a=b&c", "main", "week 1/start.ipynb")


def student(course: str = "cs231", team: str = "", work: Coursework = HAND_IN) -> Part:
    return Part(course, work, Role.STUDENT, team)


def grader(course: str = "cs231", work: Coursework = HAND_IN) -> Part:
    return Part(course, work, Role.TEACHER)


def test_a_student_has_a_team_a_box_and_feedback_of_their_own() -> None:
    assert plan_folders("ada", [student(team="blue")]) == (
        Folder(("cs231", "teams", "blue"), "/courses/cs231/team"),
        Folder(("cs231", "outbound"), "/exchange/cs231/outbound", read_only=True),
        Folder(("cs231", "inbound", "ada"), "/exchange/cs231/inbound"),
        Folder(("cs231", "feedback", "ada"), "/exchange/cs231/feedback", read_only=True),
    )


def test_who_grades_has_those_of_all_and_cannot_change_what_was_handed_in() -> None:
    assert plan_folders("grace", [grader()]) == (
        Folder(("cs231", "teams"), "/courses/cs231/teams", given=False),
        Folder(("cs231", "grading"), "/courses/cs231/grading"),
        Folder(("cs231", "outbound"), "/exchange/cs231/outbound"),
        Folder(("cs231", "inbound"), "/exchange/cs231/inbound", read_only=True, given=False),
        Folder(("cs231", "feedback"), "/exchange/cs231/feedback", given=False),
    )


def test_an_assistant_grades_where_the_course_says_so() -> None:
    grades = Part("cs231", Coursework(hand_in=True, assistants_grade=True), Role.ASSISTANT)
    assert plan_folders("amy", [grades]) == plan_folders("amy", [grader()])
    assert describe_parts([grades]) == {"GPUSPAWNER_COURSES": "cs231=grader"}


def test_an_assistant_who_does_not_grade_has_all_teams_and_else_what_a_student_has() -> None:
    helps = Part("cs231", HAND_IN, Role.ASSISTANT)
    assert plan_folders("amy", [helps]) == (
        Folder(("cs231", "teams"), "/courses/cs231/teams", given=False),
        *plan_folders("amy", [student()]),
    )
    assert describe_parts([helps]) == {"GPUSPAWNER_COURSES": "cs231=student"}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("assistants", [False, True])
def test_nobody_grades_where_nothing_is_handed_in(role: Role, assistants: bool) -> None:
    assert not Part("cs231", Coursework(assistants_grade=assistants), role).grades


def test_who_grades_is_told_what_all_of_the_course_can_read_as_far_as_it_is_there() -> None:
    own, lab = Mount("/srv/a", "/courses/cs231/data"), Mount("/srv/lab", "/scans")
    hidden = Mount("/srv/b", "/data")
    data = (own, hidden)
    mounts = [own, lab, Mount("/srv/of another", "/data")]
    known = describe_parts([Part("cs231", HAND_IN, Role.TEACHER, data=data)], mounts)
    assert known["GPUSPAWNER_COURSE_DATA"] == '{"cs231": ["/courses/cs231/data"]}'
    assert "GPUSPAWNER_COURSE_DATA" not in describe_parts(
        [Part("cs231", HAND_IN, Role.STUDENT, data=data)], mounts
    )


def test_without_hand_in_and_team_there_is_nothing() -> None:
    assert plan_folders("ada", [student(work=Coursework())]) == ()
    assert describe_parts([student(work=Coursework())]) == {}


def test_a_teacher_of_one_course_has_nothing_of_another() -> None:
    folders = plan_folders("grace", [grader("one"), student("two", team="red")])
    assert {folder.way for folder in folders if folder.way[0] == "two"} == {
        ("two", "teams", "red"),
        ("two", "outbound"),
        ("two", "inbound", "grace"),
        ("two", "feedback", "grace"),
    }
    assert describe_parts([grader("one"), student("two")]) == {"GPUSPAWNER_COURSES": "one=grader,two=student"}


def test_a_mount_is_below_the_base() -> None:
    mount = Folder(("a", "b"), "/x", read_only=True).at("/srv/courses")
    assert (mount.path, mount.target, mount.read_only) == ("/srv/courses/a/b", "/x", True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cs231", "cs231"),
        ("Vision (1)", "Vision%20%281%29"),
        ("..", "%2E."),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("-rf", "%2Drf"),
        ("红队", "红队"),
        ("a+b=c,d", "a%2Bb%3Dc%2Cd"),
        ("ada@example.org", "ada@example.org"),
    ],
)
def test_names_of_folders(text: str, name: str) -> None:
    assert name_folder(text) == name


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_a_name_is_one_folder_and_that_of_nobody_else(one: str, other: str) -> None:
    try:
        one.encode(), other.encode()
    except UnicodeEncodeError:  # half of a character: no name of anybody has it
        return
    name = name_folder(one)
    assert 0 < len(name.encode()) <= 160
    assert name not in (".", "..")
    assert not {"/", "\0", "+", "=", ",", "{", "}"} & set(name)
    assert (name == name_folder(other)) == (one == other)


def test_long_names_stay_apart() -> None:
    assert name_folder("x" * 300) != name_folder("x" * 299)
    assert len(name_folder("红" * 300).encode()) <= 120


def test_a_link_says_it_all_and_nothing_else() -> None:
    path = pull_path("cs 231", NOTEBOOKS)
    parts = urlsplit(path)
    assert parts.path == "git-pull"
    assert {key: value[0] for key, value in parse_qs(parts.query).items()} == {
        "repo": NOTEBOOKS.repository,
        "branch": "main",
        "targetpath": "cs%20231",
        "urlpath": "lab/tree/cs%2520231/week%201/start.ipynb",
    }
    for hub, start in (("https://hub.example.org/a/hub/", "/a/hub/"), ("/hub/", "/hub/")):
        link = urlsplit(course_link(hub, "cs 231", NOTEBOOKS))
        assert link.geturl().startswith(f"{hub}spawn?")
        assert parse_qs(link.query) == {
            "opt-notebooks": ["cs 231"],
            "next": [f"{start}user-redirect/{path}"],
        }
    assert unquote(pull_path("c", Notebooks("https://h/r", "main"))).endswith("urlpath=lab/tree/c")


@pytest.mark.parametrize(
    "address",
    ["https://git.example.org/a/b.git", "http://127.0.0.1:8000/b", "file:///courses/cs231/data.git"],
)
def test_addresses_of_repositories(address: str) -> None:
    assert why_not_repository(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "git@example.org:a/b", "https://ada:secret@example.org/a", "https://token@example.org/a", "ssh://a/b",
        "--upload-pack=touch /x", "https://h", "ext::sh -c id", "https://h/a b", "https://h/a\nb", "file://x/y",
        "https://h/a?token=x", "https://h\\@x/a",
    ],
)  # fmt: skip
def test_addresses_that_are_none_or_have_a_password(address: str) -> None:
    assert why_not_repository(address) is not None


@pytest.mark.parametrize("name", ["-b", "a..b", "a b", "", "/a", "a/", "a.lock", "a/.b", "a~1"])
def test_branches_that_are_none(name: str) -> None:
    assert why_not_branch(name) is not None


@pytest.mark.parametrize("name", ["main", "2026/spring", "v1.0", "feature/a_b-c"])
def test_branches(name: str) -> None:
    assert why_not_branch(name) is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "", "a//b", "a/.git/config", "a\nb"])
def test_files_outside_of_the_repository(path: str) -> None:
    assert why_not_file(path) is not None
