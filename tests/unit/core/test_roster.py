"""Who is in a course, and what a roster gives and does not give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.core.coursechoice import find_courses
from gpuspawner.core.model import Party
from gpuspawner.core.policy import Course, Person, Policy, Rule, find_party, resolve_allowance, settings_rule
from gpuspawner.core.roster import RIGHTS, Entry, Kind, Right, Role, Who, compare, enrol, order_entries

ADA, BOB = Who(Kind.PERSON, "ada"), Who(Kind.MAIL, "bob@example.org")


def course(name: str, group: str) -> Course:
    limits = {"gpus_per_person": 3, "images": frozenset({"torch"})}
    return Course(name, group, frozenset({"grace"}), "torch", Rule(f"course `{name}`", limits))


POLICY = Policy(
    settings_rule(),
    {"students": Rule("group `students`", {"memory": 99}), "lab": Rule("group `lab`")},
    {"grace": Person(Rule("person `grace`"))},
    (course("cs231", "students"), course("cs999", "students"), course("cs7", "lab")),
    enrolment=enrol([("cs231", "ada", Role.STUDENT), ("gone", "ada", Role.TEACHER)]),
)


def test_a_roster_gives_the_course_its_limits_and_its_group() -> None:
    allowance = resolve_allowance(POLICY, "ada", ())
    assert allowance.gpus_per_person.rules == ("course `cs231`",)
    assert POLICY.groups_of("ada", ()) == {"students"}
    assert find_courses(POLICY, "ada", ()) == {"cs231": "torch"}
    assert find_party(POLICY, "ada", (), "cs231") == Party(("students",), ("cs231",))


def test_it_gives_no_other_course_of_the_same_group_and_nobody_else() -> None:
    assert [one.name for one in POLICY.courses_of("ada", ())] == ["cs231"]
    assert [one.name for one in POLICY.courses_of("ada", ("students",))] == ["cs231", "cs999"]
    assert POLICY.courses_of("Ada", ()) == ()
    assert resolve_allowance(POLICY, "eve", ()).gpus_per_person.value == 1


def test_the_highest_of_several_roles_counts() -> None:
    both = enrol([("cs231", "ada", Role.ASSISTANT), ("cs231", "ada", Role.STUDENT)])
    assert replace(POLICY, enrolment=both).roles_of("ada", ("students",))["cs231"] is Role.ASSISTANT
    assert POLICY.roles_of("grace", ("students",)) == dict.fromkeys(("cs231", "cs999", "cs7"), Role.TEACHER)


@pytest.mark.parametrize("right", list(Right))
def test_a_student_may_nothing_about_others_and_a_teacher_everything(right: Right) -> None:
    assert Role.STUDENT not in RIGHTS[right]
    assert Role.TEACHER in RIGHTS[right]


def test_a_difference_says_what_becomes_of_each() -> None:
    bound = Entry(BOB, Role.STUDENT, person="bob")
    before = [Entry(ADA, Role.STUDENT), bound]
    after = [Entry(BOB, Role.ASSISTANT, "red"), Entry(Who(Kind.SUBJECT, "7"), Role.STUDENT)]
    found = compare(before, after)
    assert [one.entry.who for one in found.added] == [Who(Kind.SUBJECT, "7")]
    assert [one.entry.who for one in found.removed] == [ADA]
    assert [(one.before, one.after) for one in found.roles] == [(bound, after[0])]
    assert not compare(before, [replace(bound, person=None), before[0]])
    assert compare([bound], [replace(bound, team="red")]).others


def test_teachers_come_first() -> None:
    entries = [Entry(ADA, Role.STUDENT), Entry(Who(Kind.PERSON, "zoe"), Role.TEACHER)]
    assert [one.who.value for one in order_entries(entries)] == ["zoe", "ada"]
