"""Who works here, and the policies between which an administrator changes."""

from __future__ import annotations

from datetime import timedelta

from gpuspawner.core.policy import Allowance, Course, Policy, Rule, resolve_allowance, settings_rule

HOUR = timedelta(hours=1)
GROUPS = {
    "ada": ("vision",),
    "bob": ("vision",),
    "cyd": ("students",),
    "dee": ("students",),
}
PEOPLE = tuple(GROUPS)
SERVERS = ("", "two")
CATALOGUE = {"base": "lab/base:1", "course": "lab/course:1"}

COURSE = Course(
    "cs1", "students", frozenset({"bob"}), "course", Rule("course `cs1`", {"gpus_per_person": 2}), seats=2
)
GENEROUS = Policy(settings_rule(gpus_per_server=4, gpus_per_person=4))
POLICIES = (
    GENEROUS,
    Policy(
        settings_rule(gpus_per_server=2, gpus_per_person=2, longest_session=2 * HOUR),
        {"vision": Rule("group `vision`", {"guaranteed_share": 0.5, "gpus_per_person": 3})},
        courses=(COURSE,),
    ),
    Policy(
        settings_rule(gpus_per_server=1, gpus_per_person=1, gpu_hours_per_week=6.0),
        {"students": Rule("group `students`", {"weight": 2.0, "longest_session": HOUR})},
        courses=(COURSE,),
    ),
)


def find_allowance(policy: Policy, person: str) -> Allowance:
    return resolve_allowance(policy, person, GROUPS[person])
