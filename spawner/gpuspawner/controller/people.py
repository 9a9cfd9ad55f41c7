"""What the policy in force says of people, for the controller."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gpuspawner.allocator import Rosters, utc_now
from gpuspawner.core.claims import Terms
from gpuspawner.core.idleness import Limits as IdleLimits
from gpuspawner.core.images import list_everybodys, list_offered
from gpuspawner.core.model import DeviceRecord, ImageNeeds, Lease, Party, SpawnRequest
from gpuspawner.core.policy import (
    Allowance,
    IdleSessions,
    Limit,
    Policy,
    find_idle_limits,
    find_party,
    find_terms,
    resolve_allowance,
)
from gpuspawner.core.quota import choose_image, judge_devices, judge_quota
from gpuspawner.core.roster import NOBODY, Role
from gpuspawner.passport.known import KnownImages
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
        return self.judge(person, groups, request, inventory)

    def judge(
        self,
        person: str,
        groups: Collection[str],
        request: SpawnRequest,
        inventory: Sequence[DeviceRecord],
    ) -> Wish:
        """Judge a request anew: what the policy never grants would wait for ever.

        What the person holds now is not looked at, since a place in line outlasts it.

        Raises:
            Refused: It is not allowed.
            SettingsError: The policy was never good.
        """
        policy = self.current()
        allowance = resolve_allowance(policy, person, groups)
        image = choose_image(request, list(self._images), allowance)
        request = replace(request, needs=self.image_needs().get(image) if request.gpus else None)
        judge_quota(request, person, (), allowance)
        judge_devices(request, inventory, allowance)
        party = find_party(policy, person, groups, image)
        return Wish(request, self._images.get(image, ""), party, find_terms(policy, party, allowance))

    def image_needs(self) -> Mapping[str, ImageNeeds]:
        """What images need of a card and its driver, by name, as far as it is known."""
        return self._known.needs() if self._known else {}

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
