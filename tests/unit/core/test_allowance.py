"""What rules come to for one person."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.idleness import IdleLimits, Limits
from gpuspawner.core.policy import (
    LIMITS,
    Course,
    Limit,
    Person,
    Policy,
    Rule,
    allow,
    choose_mounts,
    find_idle_limits,
    resolve_allowance,
    settings_rule,
)
from gpuspawner.core.sharing import Mount
from hypothesis import given
from hypothesis import strategies as st

HOUR = timedelta(hours=1)
LISTS = ("cards", "slices", "images")


def group(name: str, **limits: Any) -> tuple[str, Rule]:
    return name, Rule(name if name == "default" else f"group `{name}`", limits)


def person(*groups: str, **limits: Any) -> Person:
    return Person(Rule("person `ada`", limits), frozenset(groups))


def course(name: str = "cs231", **changes: Any) -> Course:
    values: dict[str, Any] = {
        "group": "students",
        "teachers": frozenset({"grace"}),
        "image": "torch",
        "rule": Rule(f"course `{name}`", {"gpus_per_person": 3}),
    }
    return Course(name, **values | changes)


POLICY = Policy(
    settings_rule(gpus_per_person=2, gpus_per_server=2),
    dict(
        [
            group("default", gpus_per_person=1, images=frozenset({"base"}), memory=8),
            group("lab", gpus_per_person=4, images=frozenset({"base", "torch"}), weight=2.0),
            group("big", gpus_per_person=4, memory=None, images=frozenset({"jax"})),
            group("small", gpus_per_person=0, memory=4, cards=frozenset({"T4"})),
        ]
    ),
    {"ada": person("lab"), "bob": person(gpus_per_person=0, images=None), "eve": person("big", memory=2)},
    (course(),),
)


@pytest.mark.parametrize(
    ("who", "groups", "limit", "value", "rule"),
    [
        ("zoe", (), "gpus_per_person", 1, "default"),
        ("zoe", (), "gpus_per_server", 2, "settings"),
        ("zoe", (), "cards", None, "settings"),
        ("zoe", (), "weight", 1.0, "settings"),
        ("zoe", (), "longest_session", None, "settings"),
        ("zoe", ("lab",), "gpus_per_person", 4, "group `lab`"),
        ("zoe", ("lab",), "weight", 2.0, "group `lab`"),
        ("zoe", ("lab",), "memory", 8, "default"),
        ("zoe", ("big", "lab"), "gpus_per_person", 4, "group `lab`"),
        ("zoe", ("big", "lab"), "memory", None, "group `big`"),
        ("zoe", ("small",), "gpus_per_person", 1, "default"),
        ("zoe", ("small",), "cards", None, "settings"),
        ("zoe", ("nobody-knows",), "gpus_per_person", 1, "default"),
        ("zoe", (), "images", {"base"}, "default"),
        ("zoe", ("lab",), "images", {"base", "torch"}, "default and group `lab`"),
        (
            "zoe",
            ("big", "lab"),
            "images",
            {"base", "torch", "jax"},
            "default, group `lab` and group `big`",
        ),
        ("zoe", ("small",), "images", {"base"}, "default"),
        ("ada", (), "gpus_per_person", 4, "group `lab`"),
        ("bob", ("lab",), "gpus_per_person", 0, "person `ada`"),
        ("bob", ("lab",), "images", None, "person `ada`"),
        ("eve", (), "memory", 2, "person `ada`"),
        ("eve", (), "gpus_per_person", 4, "group `big`"),
        ("zoe", ("students",), "gpus_per_person", 3, "course `cs231`"),
        ("grace", (), "gpus_per_person", 3, "course `cs231`"),
        ("zoe", ("students", "lab"), "gpus_per_person", 4, "group `lab`"),
    ],
)
def test_resolve(who: str, groups: tuple[str, ...], limit: str, value: Any, rule: str) -> None:
    found = getattr(resolve_allowance(POLICY, who, groups), limit)
    assert (found.value, found.rule) == (value, rule)


def test_longer_is_better() -> None:
    policy = Policy(
        groups=dict([group("default", idle_gpu=timedelta(hours=1)), group("x", idle_gpu=timedelta(hours=2))])
    )
    assert resolve_allowance(policy, "ada", ["x"]).idle_gpu.value == timedelta(hours=2)


def test_settings_are_no_reason_for_people() -> None:
    assert Limit(2, ("settings",)).because == ""
    assert Limit(2, ("default",)).because == " (default)"


def test_without_a_policy() -> None:
    allowance = allow(2, 3, memory=8)
    assert asdict(allowance) == {
        name: {"value": value, "rules": ("settings",)}
        for name, value in {
            **dict.fromkeys(LIMITS),
            "gpus_per_server": 2,
            "gpus_per_person": 3,
            "memory": 8,
            "extension": timedelta(0),
            "ssh": True,
            "idle_gpu": 2 * HOUR,
            "idle_gpu_wanted": HOUR / 2,
            "keep": 4 * HOUR,
            "weight": 1.0,
            "guaranteed_share": 0.0,
        }.items()
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Limits(IdleLimits(HOUR * 2, HOUR / 2), None)),
        ({"idle_gpu": HOUR / 4}, Limits(IdleLimits(HOUR / 4, HOUR / 4), None)),
        ({"idle_gpu": None}, Limits(IdleLimits(None, HOUR / 2), None)),
        ({"idle_gpu_wanted": None}, Limits(IdleLimits(HOUR * 2, HOUR * 2), None)),
        ({"idle_gpu": None, "idle_gpu_wanted": None, "idle_cpu": HOUR}, Limits(None, HOUR)),
    ],
)
def test_idle_limits(said: dict, expected: Limits) -> None:
    assert find_idle_limits(allow(**said)) == expected


def test_when_to_warn() -> None:
    found = find_idle_limits(allow(), (40, 10))
    assert found == Limits(IdleLimits(HOUR * 2, HOUR / 2, HOUR * 2 / 3), None, warn_minutes=(40, 10))


def test_mounts() -> None:
    """Those of the one course that a server is for, and of nobody else's course."""
    data, notes = Mount("/srv/data", "/data"), Mount("/srv/notes", "/notes")
    other = Mount("/srv/other", "/other", read_only=False)
    policy = Policy(
        courses=(
            course(mounts=(data, notes)),
            course("cs7", group="phd", teachers=frozenset(), mounts=(data, other)),
            course("cs8", image="base", mounts=(other,)),
        )
    )
    assert choose_mounts(policy, "zoe", (), "cs231") == ()
    assert choose_mounts(policy, "zoe", ("students",), "cs231") == (data, notes)
    assert choose_mounts(policy, "zoe", ("students",), "cs8") == (other,)
    assert choose_mounts(policy, "zoe", ("students",), "cs7") == ()
    assert choose_mounts(policy, "zoe", ("students", "phd"), "cs231") == (data, notes)
    assert choose_mounts(policy, "zoe", ("students", "phd"), "") == ()
    assert choose_mounts(policy, "grace", (), "cs231") == (data, notes)
    enrolled = Policy(people={"zoe": person("students")}, courses=policy.courses)
    assert choose_mounts(enrolled, "zoe", (), "cs231") == (data, notes)


# -- properties ---------------------------------------------------------------------------------------------

NAMES = ("default", "a", "b", "c")
VALUES = {name: st.integers(0, 5) for name in LIMITS} | {
    name: st.frozensets(st.sampled_from("xyz"), max_size=2) for name in LISTS
}
VALUES |= {
    name: st.integers(0, 5).map(timedelta) for name in ("extension", "idle_gpu", "idle_gpu_wanted", "keep")
}


def limits() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.none() | VALUES[name] for name in LIMITS})


def policies() -> st.SearchStrategy[Policy]:
    rules = st.fixed_dictionaries({}, optional={name: limits() for name in NAMES})
    entries = st.none() | limits()
    return st.builds(build, rules, entries, limits())


def build(rules: dict[str, Any], entry: dict[str, Any] | None, taught: dict[str, Any]) -> Policy:
    return Policy(
        groups=dict(group(name, **said) for name, said in rules.items()),
        people={} if entry is None else {"ada": person(**entry)},
        courses=(course(group="c", rule=Rule("course `cs231`", taught)),),
    )


def no_worse(new: Any, old: Any) -> bool:
    if new is None or old is None:
        return new is None
    return bool(new >= old)  # for sets: holds all of it


GROUPS = st.sets(st.sampled_from((*NAMES, "other")))


@given(policies(), GROUPS, st.sampled_from((*NAMES, "other")))
def test_one_more_group_makes_nothing_worse(policy: Policy, groups: set[str], more: str) -> None:
    old, new = (resolve_allowance(policy, "ada", g) for g in (groups, groups | {more}))
    for name in LIMITS:
        assert no_worse(getattr(new, name).value, getattr(old, name).value), name


@given(policies(), GROUPS)
def test_what_a_person_is_given_by_name_holds(policy: Policy, groups: set[str]) -> None:
    allowance = resolve_allowance(policy, "ada", groups)
    entry = policy.people.get("ada")
    for name, value in (entry.rule.limits if entry else {}).items():
        assert getattr(allowance, name) == Limit(value, ("person `ada`",))


@given(policies(), GROUPS)
def test_every_value_is_that_of_its_rules(policy: Policy, groups: set[str]) -> None:
    rules = [policy.base, *policy.groups.values(), *(c.rule for c in policy.courses)]
    rules += [entry.rule for entry in policy.people.values()]
    said = {rule.name: rule.limits for rule in rules}
    allowance = resolve_allowance(policy, "ada", groups)
    for name in LIMITS:
        limit = getattr(allowance, name)
        values = [said[rule][name] for rule in limit.rules]
        if name in LISTS and None not in values:
            assert limit.value == frozenset().union(*values)
        else:
            assert values == [limit.value]


EVERYBODYS = frozenset({"base", "torch"})
TRYING = Policy(
    settings_rule(),
    dict([group("testers", images=frozenset({"new"})), group("all", images=None)]),
    {"bob": person(images=None), "eve": person(images=frozenset({"new"}))},
    (course(image="next"),),
    everybodys_images=EVERYBODYS,
)


@pytest.mark.parametrize(
    ("who", "groups", "images"),
    [
        ("ada", [], EVERYBODYS),
        ("ada", ["all"], EVERYBODYS),
        ("bob", [], EVERYBODYS),
        ("bob", ["testers"], EVERYBODYS),
        ("ada", ["testers"], EVERYBODYS | {"new"}),
        ("ada", ["testers", "all"], EVERYBODYS | {"new"}),
        ("eve", [], {"new"}),
    ],
)
def test_a_candidate_is_for_those_whose_rules_name_it(who: str, groups: list[str], images: set[str]) -> None:
    assert resolve_allowance(TRYING, who, groups).images.value == images


def test_a_course_names_its_image() -> None:
    named = replace(TRYING.courses[0], rule=Rule("course `cs231`", {"images": frozenset({"next"})}))
    policy = replace(TRYING, courses=(named,))
    assert resolve_allowance(policy, "ada", ["students"]).images.value == EVERYBODYS | {"next"}
