"""What the policy in force says of people, for the controller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from gpuspawner.core.model import Party, Terms
from gpuspawner.core.policy import Policy, resolve_allowance
from gpuspawner.core.quota import choose_image, judge_server
from gpuspawner.policy.options import parse_options
from gpuspawner.policy.policyfile import PolicyFile
from gpuspawner.policy.settings import Settings

from .services import Wish

_MOST_GPUS = 1000
"""More than any server has: what the policy allows is judged apart, since that refusal names its rule."""


class PolicyReader:
    """The policy file, and the settings where it says nothing; read again when it has changed.

    Args:
        settings: The installation's.
    """

    def __init__(self, settings: Settings) -> None:
        self._images = settings.images
        self._base = settings.limits.as_rule()
        self._file = PolicyFile(settings.policy, images=settings.images) if settings.policy else None

    def current(self) -> Policy:
        """The policy in force. Raises: SettingsError: It was never good."""
        return replace(self._file.current() if self._file else Policy(), base=self._base)

    def courses_taught(self, person: str) -> frozenset[str]:
        """Names of the courses that somebody teaches. Raises: SettingsError."""
        return frozenset(course.name for course in self.current().courses if person in course.teachers)

    def find_wish(self, person: str, groups: Collection[str], options: Mapping[str, Any]) -> Wish:
        """Judge what somebody asks for. Raises: InvalidRequest, Refused, SettingsError."""
        policy = self.current()
        allowance = resolve_allowance(policy, person, groups)
        request = parse_options(dict(options), images=self._images, most_gpus=_MOST_GPUS)
        judge_server(request, allowance)
        image = choose_image(request, list(self._images), allowance)
        courses = policy.courses_of(person, groups)
        party = Party(
            groups=tuple(sorted(policy.groups_of(person, groups) & set(policy.groups))),
            courses=tuple(course.name for course in courses if course.image == image),
        )
        terms = Terms(
            cards=allowance.cards.value,
            slices=allowance.slices.value,
            longest=allowance.longest_session.value,
            weight=allowance.weight.value or 1.0,
        )
        return Wish(request, self._images[image], party, terms)
