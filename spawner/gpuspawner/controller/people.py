"""What the policy in force says of people, for the controller."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gpuspawner.allocator import Rosters, utc_now
from gpuspawner.core.claims import Terms
from gpuspawner.core.coursechoice import find_courses, fit_image, keep_course, require_seat, settle_course
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.idleness import Limits as IdleLimits
from gpuspawner.core.images import find_fleet, list_everybodys, list_offered, order_for_default
from gpuspawner.core.model import DeviceRecord, ImageNeeds, Lease, Party, SpawnRequest
from gpuspawner.core.policy import (
    Allowance,
    IdleSessions,
    Limit,
    Policy,
    choose_notebooks,
    find_idle_limits,
    find_notebooks,
    find_party,
    find_seated_images,
    find_terms,
    resolve_allowance,
)
from gpuspawner.core.quota import choose_image, judge_devices, judge_quota
from gpuspawner.core.roster import NOBODY, Role
from gpuspawner.core.words import mark
from gpuspawner.passport.known import KnownImages, list_held_back
from gpuspawner.policy.options import UserOptions, read_options
from gpuspawner.policy.policyfile import PolicyFile
from gpuspawner.policy.reservations import PolicyNames, find_names
from gpuspawner.policy.settings import Settings

_MOST_GPUS = 1000
"""More than any server has: what the policy allows is judged apart, since that refusal names its rule."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, checked, with all that the line needs to know of it."""

    request: SpawnRequest
    image: str
    """Image reference."""
    party: Party
    terms: Terms


class PolicyReader:
    """The policy file, and the settings where it says nothing; read again when it has changed.

    Args:
        settings: The installation's.
        known: What is known of its images; nothing unless given.
        rosters: Who is in which course; without them, only what the policy says.
    """

    def __init__(
        self, settings: Settings, known: KnownImages | None = None, rosters: Rosters | None = None
    ) -> None:
        self._settings = settings
        self._known = known
        self._rosters = rosters
        self._base = settings.limits.as_rule()
        self._file = PolicyFile(settings.policy, images=settings.images) if settings.policy else None

    def current(self) -> Policy:
        """The policy in force, with what the courses' rosters say.

        Raises:
            SettingsError: It was never good.
            LedgerError: The rosters cannot be read.
        """
        policy, settings = self._file.current() if self._file else Policy(), self._settings
        everybodys = list_everybodys(settings.images, settings.candidates)
        enrolment = self._rosters.enrolment() if self._rosters and policy.courses else NOBODY
        return replace(policy, base=self._base, everybodys_images=everybodys, enrolment=enrolment)

    @property
    def _images(self) -> dict[str, str]:
        """What can be chosen today: image name → reference."""
        today = utc_now().astimezone().date()
        return list_offered(self._settings.images, self._settings.frozen, today)

    def roles_of(self, person: str) -> Mapping[str, Role]:
        """What somebody is in courses, as entries and rosters say. Raises: SettingsError, LedgerError."""
        return self.current().roles_of(person)

    def find_wish(
        self,
        person: str,
        groups: Collection[str],
        options: UserOptions,
        inventory: Sequence[DeviceRecord],
    ) -> Wish:
        """Judge what somebody asks for. Raises: InvalidRequest, Refused, SettingsError."""
        request = read_options(options, images=self._images, most_gpus=_MOST_GPUS)
        return self._judge(person, groups, request, inventory, asked_now=True)

    def judge(
        self,
        person: str,
        groups: Collection[str],
        request: SpawnRequest,
        inventory: Sequence[DeviceRecord],
    ) -> Wish:
        """Judge a request anew: what the policy never grants would wait for ever.

        What the person holds now is not looked at, since a place in line outlasts it. While it is not known
        what the image needs, what was known of it before holds.

        Raises:
            Refused: It is not allowed.
            SettingsError: The policy was never good.
        """
        return self._judge(person, groups, request, inventory, asked_now=False)

    def _judge(
        self,
        person: str,
        groups: Collection[str],
        request: SpawnRequest,
        inventory: Sequence[DeviceRecord],
        *,
        asked_now: bool,
    ) -> Wish:
        policy = self.current()
        allowance = resolve_allowance(policy, person, groups)
        courses = find_courses(policy, person, groups)
        if asked_now:
            request, _ = choose_notebooks(request, find_notebooks(policy, person, groups))
            request = fit_image(request, courses)
        image = choose_image(request, self._order_images(inventory), allowance)
        request = (settle_course if asked_now else keep_course)(request, image, courses)
        require_seat(request, image, courses, find_seated_images(policy, person, groups))
        known = self.image_needs()
        if request.gpus and asked_now and self._known and image not in known:
            why = self._known.find(image).problem
            unknown = mark(f"What the image {image} needs of a GPU is not known now. {why}")
            raise Refused(RefusalKind.NO_INVENTORY, unknown)
        request = replace(request, needs=known.get(image, request.needs) if request.gpus else None)
        judge_quota(request, person, (), allowance)
        judge_devices(request, inventory, allowance)
        party = find_party(policy, person, groups, request.course)
        return Wish(request, self._images.get(image, ""), party, find_terms(policy, party, allowance))

    def image_needs(self) -> Mapping[str, ImageNeeds | None]:
        """What images need of a card and its driver, by name, as far as it is known."""
        return self._known.needs() if self._known else {}

    def _order_images(self, inventory: Sequence[DeviceRecord]) -> tuple[str, ...]:
        """What can be chosen today, what a start takes that names none first."""
        fleet = find_fleet(record.device for record in inventory)
        held_back = list_held_back(self._known.all(), fleet) if self._known else frozenset()
        return order_for_default(self._images, held_back)

    def allowance(self, person: str, groups: Collection[str]) -> Allowance:
        """What somebody may use. Raises: SettingsError."""
        return resolve_allowance(self.current(), person, groups)

    def belonging(self, person: str, groups: Collection[str]) -> Party:
        """The groups and all courses that somebody belongs to, in order. Raises: SettingsError."""
        policy = self.current()
        mine, courses = policy.groups_of(person, groups), policy.courses_of(person, groups)
        return Party(
            tuple(sorted(name for name in mine if name in policy.groups)),
            tuple(sorted(course.name for course in courses)),
        )

    def names(self) -> PolicyNames:
        """What can be reserved for and from. Raises: SettingsError."""
        return find_names(self.current())

    def idle_limits(self, lease: Lease) -> IdleLimits:
        """How long a session may do nothing. Raises: SettingsError."""
        policy = self.current()
        allowance = resolve_allowance(policy, lease.owner, lease.party.groups)
        return find_idle_limits(allowance, policy.warn_minutes)

    def warn_minutes(self) -> tuple[int, ...]:
        """When people are warned before an end. Raises: SettingsError."""
        return self.current().warn_minutes

    def idle_sessions(self) -> IdleSessions:
        """What is done about sessions in which nothing is done. Raises: SettingsError."""
        return self.current().idle_sessions

    def gpu_hours(self, person: str, groups: Collection[str]) -> Limit[float]:
        """How many GPU-hours somebody may hold in seven days. Raises: SettingsError."""
        return self.allowance(person, groups).gpu_hours_per_week
