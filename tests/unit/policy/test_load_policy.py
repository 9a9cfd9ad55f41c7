"""The policy file: what it comes to, and each error with its line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import Course, Person, Rule, settings_rule
from gpuspawner.core.sharing import Mount
from gpuspawner.policy.policy import load_policy

GOOD = """\
pools:
  teaching: [NVIDIA L40S, GPU-7]
groups:
  default:
    gpus_per_person: 1
    longest_session: 8 h
    images: [base]
  lab:
    gpus_per_person: 4
    gpus_per_server: 2
    models: [NVIDIA A100]
    pools: [teaching]
    slices: []
    memory: 64G
    shm: 8G
    cpus: unlimited
    guaranteed_share: 50 %
  students:
people:
  ada:
    groups: [lab]
    images: all
  grace:
courses:
  cs231:
    group: students
    teachers: [grace]
    image: torch
    seats: 30
    gpu_hours_per_week: 10 h
    weight: 0.5
    idle_gpu: 30 min
    idle_cpu: unlimited
    materials:
      - {path: /srv/cs231, target: /materials}
    mounts:
      - path: /srv/hand-in/
        target: /hand-in
        mode: rw
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yml"


def refusal(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_policy(file, images=["base", "torch"])
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(file), "FILE")


def test_good(file: Path) -> None:
    file.write_text(GOOD)
    policy = load_policy(file, images=["base", "torch"])
    assert policy.base == settings_rule()
    assert policy.groups == {
        "default": Rule(
            "default",
            {
                "gpus_per_person": 1,
                "longest_session": timedelta(hours=8),
                "images": frozenset({"base"}),
            },
        ),
        "lab": Rule(
            "group `lab`",
            {
                "gpus_per_person": 4,
                "gpus_per_server": 2,
                "cards": frozenset({"NVIDIA A100", "NVIDIA L40S", "GPU-7"}),
                "slices": frozenset(),
                "memory": 64 * 2**30,
                "shm": 8 * 2**30,
                "cpus": None,
                "guaranteed_share": 0.5,
            },
        ),
        "students": Rule("group `students`"),
    }
    assert policy.people == {
        "ada": Person(Rule("person `ada`", {"images": None}), frozenset({"lab"})),
        "grace": Person(Rule("person `grace`")),
    }
    assert policy.courses == (
        Course(
            name="cs231",
            group="students",
            teachers=frozenset({"grace"}),
            image="torch",
            seats=30,
            mounts=(
                Mount("/srv/cs231", "/materials", read_only=True),
                Mount("/srv/hand-in", "/hand-in", read_only=False),
            ),
            rule=Rule(
                "course `cs231`",
                {
                    "gpu_hours_per_week": 10.0,
                    "weight": 0.5,
                    "idle_gpu": timedelta(minutes=30),
                    "idle_cpu": None,
                    "images": frozenset({"torch"}),
                },
            ),
        ),
    )


@pytest.mark.parametrize(
    ("models", "cards"),
    [
        ("models: all\n    pools: [teaching]", None),
        ("models: []\n    pools: [teaching]", {"NVIDIA L40S", "GPU-7"}),
        ("pools: [teaching]", {"NVIDIA L40S", "GPU-7"}),
        ("models: [X]", {"X"}),
    ],
)
def test_models_and_pools(file: Path, models: str, cards: set[str] | None) -> None:
    file.write_text(GOOD.replace("models: [NVIDIA A100]\n    pools: [teaching]", models))
    assert load_policy(file, images=None).groups["lab"].limits["cards"] == cards


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # keys that do not exist, or are there twice, or missing
        (
            "groups:\n  d",
            "group:\n  d",
            "line 3: group is not a key of the policy; did you mean 'groups'?",
        ),
        (
            "    gpus_per_server: 2",
            "    gpu_per_server: 2",
            "line 10: groups.lab.gpu_per_server is not a key of the policy; did you mean 'gpus_per_",
        ),
        (
            "image: torch",
            "images: [torch]",
            "line 28: courses.cs231.images is not a key of the policy; did",
        ),
        (
            "target: /materials}",
            "targt: /m}",
            "line 35: courses.cs231.materials.0.targt is not a key",
        ),
        (
            "mode: rw",
            "mod: rw",
            "line 39: courses.cs231.mounts.0.mod is not a key of the policy; did you mean 'mode'?",
        ),
        (
            "    images: all",
            "    mode: 1",
            "line 22: people.ada.mode is not a key of the policy; did you",
        ),
        ("    group: students\n", "", "FILE, line 25: courses.cs231.group is missing. Add it."),
        ("    image: torch\n", "", "FILE, line 25: courses.cs231.image is missing. Add it."),
        ("  students:", "  lab:", "FILE, line 18: lab is there twice. Remove one."),
        ("mode: rw", "mode: rw\n        target: /b", "FILE, line 40: target is there twice. Remove one."),
        # values
        (
            "longest_session: 8 h",
            "longest_session: 8",
            "line 6: groups.default.longest_session: write a tim",
        ),
        ("longest_session: 8 h", "longest_session:", "line 6: groups.default.longest_session: write a tim"),
        ("gpus_per_person: 4", "gpus_per_person: four", "line 9: groups.lab.gpus_per_person: write a whole"),
        ("memory: 64G", "memory: 64", "line 14: groups.lab.memory: write an amount with its unit"),
        ("shm: 8G", "shm: unlimited", "line 15: groups.lab.shm: write an amount with its unit"),
        ("cpus: unlimited", "cpus: 0", "line 16: groups.lab.cpus: write a number above 0"),
        ("share: 50 %", "share: 50", "line 17: groups.lab.guaranteed_share: write per cent"),
        ("weight: 0.5", "weight: unlimited", "line 31: courses.cs231.weight: write a number above 0"),
        ("seats: 30", "seats: 0", "line 29: courses.cs231.seats: Input should be greater than or equal to 1"),
        ("seats: 30", "seats: '30'", "line 29: courses.cs231.seats: Input should be a valid integer"),
        ("slices: []", "slices: 1g.10gb", "line 13: groups.lab.slices: write a list of names"),
        (
            "10 h",
            "ten",
            "line 30: courses.cs231.gpu_hours_per_week: write GPU-hours, such as 20 or 20 h, or",
        ),
        ("mode: rw", "mode: w", "line 39: courses.cs231.mounts.0.mode: Input should be 'ro' or 'rw'"),
        ("/srv/cs231", "srv", "line 35: courses.cs231.materials.0.path: write an absolute path"),
        ("/srv/cs231", "/srv/../etc", "line 35: courses.cs231.materials.0.path: write an absolute path"),
        (
            "target: /materials",
            "target: /",
            "line 35: courses.cs231.materials.0.target: write an absolute",
        ),
        ("[NVIDIA L40S, GPU-7]", "GPU-7", "line 2: pools.teaching: write a list of names"),
        (
            "    pools: [teaching]",
            "    pools: []",
            "line 12: groups.lab.pools: List should have at least 1",
        ),
        # names that stand for nothing
        (
            "pools: [teaching]",
            "pools: [teach]",
            "line 12: groups.lab.pools.0: there is no pool 'teach'; did",
        ),
        (
            "images: [base]",
            "images: [bas]",
            "line 7: groups.default.images: there is no image 'bas'; did you",
        ),
        (
            "image: torch",
            "image: jax",
            "cs231.image: there is no image 'jax'; there are: base, torch.",
        ),
        (
            "groups: [lab]",
            "groups: [lap]",
            "FILE, line 21: people.ada.groups.0: there is no group 'lap'; did you mean 'lab'?",
        ),
        ("groups: [lab]", "groups: [default]", "line 21: people.ada.groups.0: there is no group 'default'"),
        (
            "group: students",
            "group: cs",
            "line 26: courses.cs231.group: there is no group 'cs'; there are: l",
        ),
        (
            "teachers: [grace]",
            "teachers: [ada, grac]",
            "FILE, line 27: courses.cs231.teachers.1: there is no person 'grac'; did you mean 'grace'?",
        ),
        # contradictions
        (
            "gpus_per_server: 2",
            "gpus_per_server: 5",
            "FILE, line 10: groups.lab.gpus_per_server is 5, more than gpus_per_person with 4. Lower the one",
        ),
        ("gpus_per_server: 2", "gpus_per_server: unlimited", "gpus_per_server is unlimited, more than"),
        (
            "idle_gpu: 30 min",
            "idle_gpu: 3 h\n    longest_session: 2 h",
            "FILE, line 32: courses.cs231.idle_gpu is 3 h, more than longest_session with 2 h.",
        ),
        (
            "idle_cpu: unlimited",
            "idle_cpu: unlimited\n    longest_session: 2 h",
            "FILE, line 33: courses.cs231.idle_cpu is unlimited, more than longest_session with 2 h.",
        ),
        ("shm: 8G", "shm: 80G", "FILE, line 15: groups.lab.shm is 80G, more than memory with 64G."),
        (
            "  students:",
            "  students: {guaranteed_share: 51 %}",
            "FILE, line 18: groups.students.guaranteed_share: up to here 101 % of all GPUs are promised.",
        ),
        (
            "weight: 0.5",
            "guaranteed_share: 60 %",
            "FILE, line 31: courses.cs231.guaranteed_share: up to here 110 % of all GPUs are promised.",
        ),
        (
            "    images: all",
            "    guaranteed_share: 1 %",
            "FILE, line 22: people.ada.guaranteed_share: a share is guaranteed to a group or a course.",
        ),
        (
            "target: /materials",
            "target: /home/jovyan",
            "line 35: courses.cs231.materials.0.target: /home/jovyan would hide people's homes in /home",
        ),
        ("target: /materials", "target: /home", "/home would hide people's homes in /home/jovyan."),
        (
            "target: /hand-in",
            "target: /materials",
            "line 38: courses.cs231.mounts.0.target: course 'cs231' has something else at /materials.",
        ),
    ],
)
def test_wrong(file: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) == 1
    assert says in refusal(file, GOOD.replace(old, new))


OTHER = """\
  cs7:
    group: lab
    image: {image}
    {section}:
      - {{path: {path}, target: {target}{mode}}}
"""


def two_courses(
    image: str = "torch", path: str = "/srv/cs231", target: str = "/materials", mode: str = ""
) -> str:
    section = "mounts" if mode else "materials"
    return GOOD + OTHER.format(image=image, section=section, path=path, target=target, mode=mode)


@pytest.mark.parametrize(
    "changes", [{}, {"image": "base"}, {"path": "/srv/cs7"}, {"mode": ", mode: rw"}, {"target": "/y"}]
)
def test_each_course_has_places_of_its_own(file: Path, changes: dict[str, str]) -> None:
    """A server is of one course, so what another has at the same place, with the same image, is not in it."""
    file.write_text(two_courses(**changes))
    assert len(load_policy(file, images=["base", "torch"]).courses) == 2


def test_a_directory_in_the_home_hides_no_home(file: Path) -> None:
    file.write_text(GOOD.replace("target: /materials", "target: /home/jovyan/materials"))
    load_policy(file, images=None)
    file.write_text(GOOD.replace("target: /materials", "target: /home/jo"))
    load_policy(file, images=None)


def test_images_are_not_checked_where_they_are_not_known(file: Path) -> None:
    file.write_text(GOOD.replace("image: torch", "image: jax"))
    assert load_policy(file, images=None).courses[0].image == "jax"
    with pytest.raises(SettingsError, match="there is no image 'base'; there are: none"):
        load_policy(file, images=[])


@pytest.mark.parametrize("text", ["", "groups: [", "- a"])
def test_no_policy(file: Path, text: str) -> None:
    assert refusal(file, text).startswith("The policy file FILE ")


def test_missing(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"The policy file .*policy.yml cannot be read: No such file"):
        load_policy(file, images=None)


@pytest.mark.parametrize(
    ("written", "means"),
    [("0", timedelta(0)), ("90 min", timedelta(minutes=90)), ("1 d", timedelta(days=1))],
)
def test_an_extension_is_a_time_or_none(file: Path, written: str, means: timedelta) -> None:
    file.write_text(f"groups: {{default: {{extension: {written}}}}}")
    assert load_policy(file, images=None).groups["default"].limits == {"extension": means}


@pytest.mark.parametrize("written", ["unlimited", "2", "-1 h", "0 h", "true", "0.0"])
def test_an_extension_has_a_bound_and_a_unit(file: Path, written: str) -> None:
    said = refusal(file, f"groups: {{default: {{extension: {written}}}}}")
    assert "groups.default.extension: write a time" in said
    assert ", or 0" in said


@pytest.mark.parametrize(
    ("written", "means"), [("[15, 5, 1]", (15, 5, 1)), ("[1, 30, 1]", (30, 1)), ("[120]", (120,))]
)
def test_when_to_warn(file: Path, written: str, means: tuple[int, ...]) -> None:
    file.write_text(f"warn_minutes: {written}\n{GOOD}")
    assert load_policy(file, images=None).warn_minutes == means


@pytest.mark.parametrize(
    "written", ["[]", "15", "[0]", "[121]", "[1.5]", "[true]", "['5']", "[1, 2, 3, 4, 5, 6]", "5 min"]
)
def test_when_to_warn_is_a_few_numbers(file: Path, written: str) -> None:
    says = refusal(file, f"warn_minutes: {written}\n{GOOD}")
    assert "warn_minutes" in says
    assert "such as [15, 5, 1]" in says
