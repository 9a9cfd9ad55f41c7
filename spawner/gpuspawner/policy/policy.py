"""The policy file: groups, people, courses and pools, as an administrator writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from gpuspawner.core.coursework import Coursework, Notebooks
from gpuspawner.core.policy import LIMITS, Course, IdleSessions, Person, Policy, Rule
from gpuspawner.core.sessions import WARN_MINUTES
from gpuspawner.core.sharing import Mount, Places
from gpuspawner.core.words import mark

from .contradictions import require_consistent
from .directories import Material, NotebooksEntry, OtherMount
from .shareable import require_shareable
from .units import (
    or_unlimited,
    or_zero,
    read_bytes,
    read_count,
    read_duration,
    read_hours,
    read_names,
    read_positive,
    read_share,
)
from .yamlfile import STRICT, read_yaml

Count = Annotated[int | None, BeforeValidator(or_unlimited(read_count))]
Time = Annotated[timedelta | None, BeforeValidator(or_unlimited(read_duration))]
Bytes = Annotated[int | None, BeforeValidator(or_unlimited(read_bytes))]
Names = Annotated[frozenset[str] | None, BeforeValidator(read_names)]


class _Section(BaseModel):
    model_config = STRICT


class Limits(_Section):
    """What one rule says; what it leaves out it says nothing about."""

    gpus_per_person: Annotated[Count, Field(description="GPUs in all servers of a person.")] = None
    gpus_per_server: Annotated[Count, Field(description="GPUs in one server.")] = None
    models: Annotated[Names, Field(description="GPU models, by their full names.")] = None
    pools: Annotated[
        list[str], Field(description="Pools of GPUs; together with the models.", min_length=1)
    ] = []
    slices: Annotated[Names, Field(description="MIG profiles, such as 1g.10gb; [] is none.")] = None
    memory: Annotated[Bytes, Field(description="Memory of one server.")] = None
    cpus: Annotated[
        float | None,
        BeforeValidator(or_unlimited(read_positive)),
        Field(description="Processors of one server."),
    ] = None
    shm: Annotated[
        int | None, BeforeValidator(read_bytes), Field(description="Size of /dev/shm of one server.")
    ] = None
    longest_session: Annotated[Time, Field(description="How long one server may run.")] = None
    extension: Annotated[
        timedelta,
        BeforeValidator(or_zero(read_duration)),
        Field(description="How far beyond it a person may extend a server by themselves."),
    ] = timedelta(0)
    idle_gpu: Annotated[Time, Field(description="How long GPUs may lie idle while nobody waits.")] = None
    idle_gpu_wanted: Annotated[
        Time,
        Field(
            description="The same while somebody waits for them; three times that for one that has worked."
        ),
    ] = None
    keep: Annotated[
        timedelta | None,
        BeforeValidator(or_unlimited(or_zero(read_duration))),
        Field(description="How long in all an idle server may be kept while somebody waits."),
    ] = None
    idle_cpu: Annotated[Time, Field(description="How long a server may go without any activity.")] = None
    gpu_hours_per_week: Annotated[
        float | None,
        BeforeValidator(or_unlimited(read_hours)),
        Field(description="Hours, times GPUs, that a person may hold in seven days."),
    ] = None
    weight: Annotated[
        float, BeforeValidator(read_positive), Field(description="Weight in the line; 1 is usual.")
    ] = 1
    guaranteed_share: Annotated[
        float, BeforeValidator(read_share), Field(description="Part of the GPUs that is always theirs.")
    ] = 0
    ssh: Annotated[
        bool, Field(strict=True, description="Whether their servers can be reached by SSH (docs/ssh.md).")
    ] = True


class GroupEntry(Limits):
    """A group of the hub, or ``default``, in which everybody is."""

    images: Annotated[Names, Field(description="Images, by their names in the settings.")] = None
    data: Annotated[list[Material], Field(description="Directories to read, in every server.")] = []


class PersonEntry(Limits):
    """A person; limits here replace what their groups come to."""

    images: Annotated[Names, Field(description="Images, by their names in the settings.")] = None
    groups: Annotated[list[str], Field(description="Groups beside those that the hub knows of.")] = []


class CourseEntry(Limits):
    """A course; its limits are given to its people as by one more group."""

    group: Annotated[str, Field(description="Group of those who take part.")]
    teachers: Annotated[list[str], Field(description="People; they have an entry.")] = []
    assistants: Annotated[
        list[str], Field(description="People who help the teachers; they have an entry.")
    ] = []
    image: Annotated[str, Field(description="Image that gets the materials; allowed to all of the course.")]
    seats: Annotated[int | None, Field(description="How many may work at once.", strict=True, ge=1)] = None
    materials: Annotated[list[Material], Field(description="Directories to read.")] = []
    mounts: Annotated[list[OtherMount], Field(description="Other directories.")] = []
    notebooks: Annotated[
        NotebooksEntry | None, Field(description="A git repository that people work on a copy of.")
    ] = None
    hand_in: Annotated[bool, Field(description="Whether assignments are handed in, by nbgrader.")] = False
    assistants_grade: Annotated[
        bool, Field(description="Whether assistants grade what was handed in, as teachers do.")
    ] = False


def _read_minutes(value: object) -> tuple[int, ...]:
    if isinstance(value, list | tuple) and all(type(one) is int and 1 <= one <= 120 for one in value):
        minutes = sorted(set(value), reverse=True)
        if 1 <= len(minutes) <= 5:
            return tuple(minutes)
    raise ValueError(mark("write 1 to 5 whole numbers of minutes from 1 to 120, such as [15, 5, 1]"))


def _or_empty(value: object) -> object:
    return {} if value is None else value


class PolicyEntries(_Section):
    """A whole policy file."""

    pools: Annotated[dict[str, Names], Field(description="Models and UUIDs, by the name of the pool.")] = {}
    groups: Annotated[
        dict[str, Annotated[GroupEntry, BeforeValidator(_or_empty)]], Field(description="By name.")
    ] = {}
    people: Annotated[
        dict[str, Annotated[PersonEntry, BeforeValidator(_or_empty)]], Field(description="By user name.")
    ] = {}
    courses: Annotated[dict[str, CourseEntry], Field(description="By name.")] = {}
    idle_sessions: Annotated[
        Literal["stop", "report", "ignore"],
        Field(description="stop: warn and stop them; report: only write down what would be done."),
    ] = "stop"
    warn_minutes: Annotated[
        tuple[int, ...],
        BeforeValidator(_read_minutes),
        Field(description="Minutes before the end of a session at which its person is warned."),
    ] = WARN_MINUTES


def load_policy(
    path: Path,
    *,
    images: Collection[str] | None,
    home_dir: str = "/home/jovyan",
    places: Places | None = None,
) -> Policy:
    """Read and check a policy file. Its base is that of an installation without settings.

    Args:
        path: The file.
        images: Names in the catalogue; None when they are not known, and then they are not checked.
        home_dir: Where the home is in a server: nothing may be mounted over it.
        places: Directories of the installation; None when they are not known, and then they are not checked.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    file = read_yaml(path, kind="policy file", word="a key of the policy")
    entries = file.check(PolicyEntries)
    require_consistent(file, entries, images=images, home_dir=home_dir)
    require_shareable(file, entries, places)
    pools = entries.pools
    return Policy(
        groups={
            name: _rule("default" if name == "default" else mark(f"group `{name}`"), entry, pools)
            for name, entry in entries.groups.items()
        },
        people={
            name: Person(_rule(mark(f"person `{name}`"), entry, pools), frozenset(entry.groups))
            for name, entry in entries.people.items()
        },
        data={
            name: tuple(Mount(one.path, one.target) for one in entry.data)
            for name, entry in entries.groups.items()
            if entry.data
        },
        courses=tuple(_course(name, entry, pools) for name, entry in entries.courses.items()),
        pools=pools,
        idle_sessions=IdleSessions(entries.idle_sessions),
        warn_minutes=entries.warn_minutes,
    )


def _rule(name: str, entry: Limits, pools: Mapping[str, frozenset[str] | None]) -> Rule:
    said: dict[str, Any] = {key: getattr(entry, key) for key in LIMITS if key in entry.model_fields_set}
    if {"models", "pools"} & entry.model_fields_set:
        lists = [entry.models] if "models" in entry.model_fields_set else []
        lists += [pools[pool] for pool in entry.pools]
        said["cards"] = None if None in lists else frozenset().union(*(one for one in lists if one))
    return Rule(name, said)


def _course(name: str, entry: CourseEntry, pools: Mapping[str, frozenset[str] | None]) -> Course:
    rule = _rule(mark(f"course `{name}`"), entry, pools)
    mounts = [Mount(one.path, one.target) for one in entry.materials]
    mounts += [Mount(one.path, one.target, one.mode == "ro") for one in entry.mounts]
    return Course(
        name=name,
        group=entry.group,
        teachers=frozenset(entry.teachers),
        image=entry.image,
        rule=Rule(rule.name, {**rule.limits, "images": frozenset({entry.image})}),
        seats=entry.seats,
        mounts=tuple(mounts),
        work=Coursework(entry.hand_in, _notebooks(entry.notebooks), entry.assistants_grade),
        assistants=frozenset(entry.assistants),
    )


def _notebooks(entry: NotebooksEntry | None) -> Notebooks | None:
    return Notebooks(entry.repository, entry.branch, entry.open or "") if entry else None
