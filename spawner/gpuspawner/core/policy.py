"""Who may use what: rules, and what they come to for one person.

Everybody is in the group ``default``, and what that says nothing about is taken from the settings. A person
in several groups gets the best of each limit. *Best* is the larger number, the longer time, the union of
lists; no limit at all is better than any. The entry of a person replaces what their groups come to, in both
directions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from .claims import EVERYBODY, Holder, Terms
from .coursework import Coursework, Notebooks, Part
from .errors import RefusalKind, Refused
from .idleness import IdleLimits, Limits
from .model import Party, SpawnRequest
from .roster import NOBODY, Enrolment, Role
from .sessions import WARN_MINUTES
from .sharing import Mount
from .words import mark

T = TypeVar("T")

IDLE_GPU = timedelta(minutes=120)
"""How long GPUs may lie idle where no policy says it."""
IDLE_GPU_WANTED = timedelta(minutes=30)
"""The same while somebody waits for them."""
KEEP = timedelta(hours=4)
"""How long in all an idle server may be kept while somebody waits, where no policy says it."""
SETTINGS = "settings"
"""Name of the rule that the installation's settings are."""
DEFAULT = EVERYBODY
"""Name of the group that everybody is in, and of its rule."""


@dataclass(frozen=True, slots=True)
class Limit(Generic[T]):
    """One limit of one person, and where it comes from."""

    value: T | None
    """None is no limit."""
    rules: tuple[str, ...]
    """The rules that give it: one, or for lists all that add something."""

    @property
    def rule(self) -> str:
        """The rules in words, such as ``group `vision-lab```."""
        return " and ".join(filter(None, (", ".join(self.rules[:-1]), self.rules[-1])))

    @property
    def because(self) -> str:
        """The rule in brackets, to follow on the value in a sentence; nothing for the settings."""
        return "" if self.rules == (SETTINGS,) else f" ({self.rule})"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Everything that one person may use."""

    gpus_per_person: Limit[int]
    """Devices in all servers of the person together."""
    gpus_per_server: Limit[int]
    """Devices in one server."""
    cards: Limit[frozenset[str]]
    """Models and UUIDs that may be used."""
    slices: Limit[frozenset[str]]
    """MIG profiles that may be used, such as ``1g.10gb``."""
    images: Limit[frozenset[str]]
    """Names in the image catalogue."""
    memory: Limit[int]
    """Memory of one server, in bytes."""
    cpus: Limit[float]
    """Processors of one server."""
    shm: Limit[int]
    """Size of /dev/shm in one server, in bytes."""
    longest_session: Limit[timedelta]
    """How long one server may run."""
    extension: Limit[timedelta]
    """How far beyond the longest session a person may extend one server by themselves, in total."""
    idle_gpu: Limit[timedelta]
    """How long the GPUs of a server may lie idle while nobody waits for them."""
    idle_gpu_wanted: Limit[timedelta]
    """The same while somebody waits; three times that for one that has worked, but never more than
    ``idle_gpu``."""
    keep: Limit[timedelta]
    """How long in all a person may keep an idle server while somebody waits for what it holds."""
    idle_cpu: Limit[timedelta]
    """How long a server, with or without GPUs, may go without any activity."""
    gpu_hours_per_week: Limit[float]
    """Hours in which the person held a GPU, times how many."""
    weight: Limit[float]
    """Weight in the line: twice the weight may use twice as much for the same place."""
    guaranteed_share: Limit[float]
    """Part of the devices, 0 to 1, that the group can always get back."""
    ssh: Limit[bool]
    """Whether their servers can be reached by SSH, where the installation has a gateway."""


LIMITS = tuple(part.name for part in fields(Allowance))
"""Names of all limits, in the order in which they are shown."""
_LISTS = frozenset({"cards", "slices", "images"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What one entry of the policy says: by name of the limit, None for *no limit*; the rest is not said."""

    name: str
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """A person's own entry."""

    rule: Rule
    groups: frozenset[str] = frozenset()
    """Groups beside those that the hub knows of."""


@dataclass(frozen=True, slots=True)
class Course:
    """A group with teachers, an image and materials."""

    name: str
    group: str
    teachers: frozenset[str]
    image: str
    """Its name in the catalogue. A server with this image gets the mounts."""
    rule: Rule
    """What the people of the course may use, like another group of theirs."""
    seats: int | None = None
    """How many may work at once; None is no limit."""
    mounts: tuple[Mount, ...] = ()
    work: Coursework = field(default_factory=Coursework)
    assistants: frozenset[str] = frozenset()

    def role_of(self, person: str, groups: Collection[str]) -> Role | None:
        """What somebody in these groups is in the course; None where they are not in it."""
        if person in self.teachers:
            return Role.TEACHER
        if person in self.assistants:
            return Role.ASSISTANT
        return Role.STUDENT if self.group in groups else None


def settings_rule(**limits: Any) -> Rule:
    """What holds where no policy says anything: one GPU, some hours idle, no extension, no other limit."""
    base: dict[str, Any] = dict.fromkeys(LIMITS)
    base |= {"idle_gpu": IDLE_GPU, "idle_gpu_wanted": IDLE_GPU_WANTED, "keep": KEEP}
    base |= {"gpus_per_person": 1, "gpus_per_server": 1, "weight": 1.0, "guaranteed_share": 0.0}
    base |= {"extension": timedelta(0), "ssh": True}
    return Rule(SETTINGS, base | limits)


class IdleSessions(StrEnum):
    """What is done about sessions in which nothing is done."""

    STOP = "stop"
    """They are warned, then stopped."""
    REPORT = "report"
    """What would be done is shown and written down; nobody is told or stopped."""
    IGNORE = "ignore"
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy, checked."""

    base: Rule = field(default_factory=settings_rule)
    """What the settings say; it says something of every limit."""
    groups: Mapping[str, Rule] = field(default_factory=dict)
    """In the order of the file, ``default`` included."""
    people: Mapping[str, Person] = field(default_factory=dict)
    courses: tuple[Course, ...] = ()
    pools: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Models and UUIDs by the name of the pool; None for all."""
    idle_sessions: IdleSessions = IdleSessions.STOP
    warn_minutes: tuple[int, ...] = WARN_MINUTES
    """So many minutes before an end its person is warned; at least one."""
    everybodys_images: frozenset[str] | None = None
    """What *all* images are: those that are no candidates. None: there is no candidate."""
    data: Mapping[str, tuple[Mount, ...]] = field(default_factory=dict)
    """What the people of a group can read in every server, by the name of the group."""
    enrolment: Enrolment = NOBODY
    """What the courses' rosters say, which the ledger keeps."""

    def groups_of(self, person: str, groups: Collection[str]) -> frozenset[str]:
        """The hub's groups of a person, those of their own entry, and those of their rosters' courses."""
        roles = self.enrolment.of(person)
        return self._own_groups(person, groups) | {one.group for one in self.courses if one.name in roles}

    def _own_groups(self, person: str, groups: Collection[str]) -> frozenset[str]:
        entry = self.people.get(person)
        return frozenset(groups) | (entry.groups if entry else frozenset())

    def courses_of(self, person: str, groups: Collection[str]) -> tuple[Course, ...]:
        """The courses that a person belongs to.

        Args:
            person: The hub's user name.
            groups: The person's groups in the hub. A group that a roster gives makes nobody one of another
                course that has the same group.
        """
        return tuple(course for course, _ in self._roles(person, groups))

    def roles_of(self, person: str, groups: Collection[str] = ()) -> dict[str, Role]:
        """What a person is in each of their courses; without groups, only what entries and rosters say."""
        return {course.name: role for course, role in self._roles(person, groups)}

    def _roles(self, person: str, groups: Collection[str]) -> Iterable[tuple[Course, Role]]:
        mine, enrolled = self._own_groups(person, groups), self.enrolment.of(person)
        for course in self.courses:
            said = (course.role_of(person, mine), enrolled.get(course.name))
            roles = [role for role in said if role is not None]
            if roles:
                yield course, max(roles, key=lambda role: role.rank)


def resolve_allowance(
    policy: Policy, person: str, groups: Collection[str], courses: Collection[Course] | None = None
) -> Allowance:
    """What a person may use, each limit with the rule that gives it.

    Args:
        policy: The rules.
        person: The hub's user name.
        groups: The person's groups in the hub; the policy need not know them.
        courses: Those whose rules count; unless given, all of the person's.
    """
    mine = policy.groups_of(person, groups)
    courses = policy.courses_of(person, groups) if courses is None else courses
    default = policy.groups.get(DEFAULT, Rule(DEFAULT))
    rules = [rule for name, rule in policy.groups.items() if name in mine and name != DEFAULT]
    rules += [course.rule for course in courses]
    entry = policy.people.get(person)
    found: dict[str, Any] = {}
    for name in LIMITS:
        if entry and name in entry.rule.limits:
            said = [entry.rule]
        else:
            everybody = default if name in default.limits else policy.base
            said = [everybody, *(rule for rule in rules if name in rule.limits)]
        if name == "images":
            said = [_leave_candidates_out(rule, policy.everybodys_images) for rule in said]
        found[name] = (_join if name in _LISTS else _choose_largest)(name, said)
    return Allowance(**found)


def find_seated_images(policy: Policy, person: str, groups: Collection[str]) -> frozenset[str]:
    """Images that somebody may use by courses with a number of seats alone.

    A server for no course has none of them, since whoever finds no seat could start one.
    """
    mine = policy.courses_of(person, groups)
    others = [course for course in mine if course.seats is None]
    free = resolve_allowance(policy, person, groups, others).images.value
    if free is None:
        return frozenset()
    return frozenset(course.image for course in mine if course.seats is not None) - free


def _leave_candidates_out(rule: Rule, everybodys: frozenset[str] | None) -> Rule:
    """A rule that allows all images allows no candidate: whoever is to try one has a rule that names it."""
    return Rule(rule.name, {"images": everybodys}) if rule.limits["images"] is None else rule


def find_party(policy: Policy, person: str, groups: Collection[str], course: str | None) -> Party:
    """Whom a session counts for, beside the person: all of their groups, and the one course it is for."""
    mine = policy.groups_of(person, groups)
    known = sorted(name for name in mine if name in policy.groups and name != DEFAULT)
    return Party(tuple(known), (course,) if course else ())


def find_terms(policy: Policy, party: Party, allowance: Allowance) -> Terms:
    """What the line needs to know of what a person may use."""
    rules = {
        Holder("group", name): policy.groups[name]
        for name in (DEFAULT, *party.groups)
        if name in policy.groups
    }
    courses = [course for course in policy.courses if course.name in party.courses]
    rules |= {Holder("course", course.name): course.rule for course in courses}
    shares = [(holder, float(rule.limits.get("guaranteed_share") or 0)) for holder, rule in rules.items()]
    return Terms(
        cards=allowance.cards.value,
        slices=allowance.slices.value,
        longest=allowance.longest_session.value,
        weight=allowance.weight.value or 1.0,
        shares=tuple((holder, share) for holder, share in shares if share),
        gpus_per_person=allowance.gpus_per_person.value,
        gpu_hours=allowance.gpu_hours_per_week.value,
        seats=tuple((course.name, course.seats) for course in courses if course.seats is not None),
    )


def find_idle_limits(allowance: Allowance, warn_minutes: tuple[int, ...] = WARN_MINUTES) -> Limits:
    """How long somebody's session may do nothing, and when they are warned before it is stopped."""
    free, wanted = allowance.idle_gpu.value, allowance.idle_gpu_wanted.value
    if free is not None:
        wanted = free if wanted is None else min(free, wanted)
    gpus = (
        None
        if free is None and wanted is None
        else IdleLimits(free, wanted, timedelta(minutes=max(warn_minutes)))
    )
    return Limits(gpus, allowance.idle_cpu.value, warn_minutes=warn_minutes)


def allow(gpus_per_server: int = 1, gpus_per_person: int = 1, **limits: Any) -> Allowance:
    """The allowance of everybody where there is no policy."""
    base = settings_rule(gpus_per_server=gpus_per_server, gpus_per_person=gpus_per_person, **limits)
    return resolve_allowance(Policy(base), "", ())


def choose_mounts(
    policy: Policy, person: str, groups: Collection[str], course: str | None
) -> tuple[Mount, ...]:
    """What a person's server gets mounted: their groups' data, and what the course has that it is for.

    Each target is there once.
    """
    mine = policy.groups_of(person, groups) | {DEFAULT}
    mounts = [mount for name, data in policy.data.items() if name in mine for mount in data]
    courses = policy.courses_of(person, groups)
    mounts += [mount for one in courses if one.name == course for mount in one.mounts]
    return tuple({mount.target: mount for mount in mounts}.values())


def find_part(policy: Policy, person: str, groups: Collection[str], course: str | None) -> Part | None:
    """How a person takes part in a course; None where it is none of theirs."""
    role, team = policy.roles_of(person, groups).get(course or ""), policy.enrolment.teams_of(person)
    for one in policy.courses:
        if one.name == course and role is not None:
            return Part(one.name, one.work, role, team.get(one.name, ""), find_data(policy, one))
    return None


def find_data(policy: Policy, course: Course) -> tuple[Mount, ...]:
    """What all people of a course can read: its own directories, those of its group and everybody's."""
    data = (*policy.data.get(DEFAULT, ()), *policy.data.get(course.group, ()), *course.mounts)
    return tuple(mount for mount in data if mount.read_only)


def find_notebooks(policy: Policy, person: str, groups: Collection[str]) -> dict[str, tuple[str, Notebooks]]:
    """By course of a person that has notebooks: the image that opens them, and where they come from."""
    return {
        course.name: (course.image, course.work.notebooks)
        for course in policy.courses_of(person, groups)
        if course.work.notebooks
    }


def choose_notebooks(
    request: SpawnRequest, known: Mapping[str, tuple[str, Notebooks]]
) -> tuple[SpawnRequest, Notebooks | None]:
    """The notebooks that a request is for, and the request with the image that they are opened in.

    Raises:
        Refused: ``NOT_ALLOWED``: they are of no course of the person, or for another image.
    """
    if request.notebooks is None:
        return request, None
    if request.notebooks not in known:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You are in no course {request.notebooks!r} that has notebooks. "
            f"You can choose: {', '.join(known) or mark('none')}.",
        )
    image, notebooks = known[request.notebooks]
    if request.image not in (None, image):
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"The notebooks of {request.notebooks!r} are opened in the image {image!r}. "
            "Choose that image, or no notebooks.",
        )
    return replace(request, image=image), notebooks


def _choose_largest(name: str, rules: Sequence[Rule]) -> Limit[Any]:
    best = rules[0]
    for rule in rules[1:]:
        value, known = rule.limits[name], best.limits[name]
        if known is not None and (value is None or value > known):
            best = rule
    return Limit(best.limits[name], (best.name,))


def _join(name: str, rules: Sequence[Rule]) -> Limit[Any]:
    unlimited = next((rule for rule in rules if rule.limits[name] is None), None)
    if unlimited:
        return Limit(None, (unlimited.name,))
    joined: frozenset[str] = frozenset()
    adding = []
    for rule in rules:
        if not rule.limits[name] <= joined:
            adding.append(rule.name)
        joined |= rule.limits[name]
    return Limit(joined, tuple(adding) or (rules[0].name,))
