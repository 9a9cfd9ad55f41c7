"""What the person of a server may use: the policy's word, and the spawner's traits where it says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jupyterhub.traitlets import ByteSpecification

from gpuspawner.allocator import Allocator
from gpuspawner.core.claims import Terms
from gpuspawner.core.coursechoice import find_courses, fit_image, require_seat, settle_course
from gpuspawner.core.coursework import Notebooks, Part
from gpuspawner.core.errors import InvalidRequest, LedgerError, Refused, SettingsError
from gpuspawner.core.idleness import Limits
from gpuspawner.core.images import list_everybodys, order_for_default
from gpuspawner.core.model import HomeKind, Party, SpawnRequest
from gpuspawner.core.policy import (
    SETTINGS,
    Allowance,
    Policy,
    Rule,
    choose_mounts,
    choose_notebooks,
    find_idle_limits,
    find_notebooks,
    find_part,
    find_party,
    find_seated_images,
    find_terms,
    resolve_allowance,
    settings_rule,
)
from gpuspawner.core.quota import choose_image, judge_server
from gpuspawner.core.roster import Enrolment
from gpuspawner.core.sharing import Mount, Places
from gpuspawner.core.words import mark
from gpuspawner.passport.model import Passport
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.options import parse_options
from gpuspawner.policy.policyfile import PolicyFile

from .refusals import refuse
from .settings import SpawnerSettings

_MOST_GPUS = 1000
"""More than any server has: what the policy allows is judged apart, since that refusal names its rule."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one person may use now."""

    person: str
    groups: frozenset[str]
    policy: Policy
    allowance: Allowance

    def party(self, course: str | None = None) -> Party:
        """Whom a session for this course, or for none, counts for, beside the person."""
        return find_party(self.policy, self.person, self.groups, course)

    def courses(self) -> dict[str, str]:
        """The images of the person's courses, by course."""
        return find_courses(self.policy, self.person, self.groups)

    def seated_images(self) -> frozenset[str]:
        """Images that the person may use on seats of their courses alone."""
        return find_seated_images(self.policy, self.person, self.groups)

    def terms(self, party: Party) -> Terms:
        """What the line needs to know of what the person may use."""
        return find_terms(self.policy, party, self.allowance)

    def idle_limits(self) -> Limits:
        """How long a session of theirs may do nothing, if it is started now."""
        return find_idle_limits(self.allowance, self.policy.warn_minutes)

    def mounts(self, course: str | None) -> tuple[Mount, ...]:
        """What a server for this course, or for none, gets mounted."""
        return choose_mounts(self.policy, self.person, self.groups, course)

    def notebooks(self) -> dict[str, tuple[str, Notebooks]]:
        """By course of theirs that has notebooks: its image, and where they come from."""
        return find_notebooks(self.policy, self.person, self.groups)

    def part(self, course: str | None) -> Part | None:
        """How the person takes part in this course; None where it is none of theirs."""
        return find_part(self.policy, self.person, self.groups, course)


class PersonalSpawner(SpawnerSettings):
    """A spawner that knows what its person may use."""

    access: Access | None = None
    """As it was looked up last; None before the first time."""

    async def find_access(self) -> Access:
        """Look up what the person may use now; the policy file is read again if it has changed.

        Groups come from JupyterHub's database session, which is not for threads.

        Raises:
            SpawnException: There is a policy, and it was never good: nobody knows what is allowed.
        """
        person, groups = self.user.name, frozenset(group.name for group in self.user.orm_user.groups)
        policy = replace(
            await self._read_policy(),
            base=self._own_rule(),
            everybodys_images=list_everybodys(self.known_images, self.candidates),
        )
        if policy.courses:
            policy = replace(policy, enrolment=await asyncio.to_thread(self._read_enrolment))
        self.access = Access(person, groups, policy, resolve_allowance(policy, person, groups))
        return self.access

    async def _read_policy(self) -> Policy:
        if not self.policy:
            return Policy()
        try:
            return await asyncio.to_thread(self.policy_file.current)
        except SettingsError as error:
            raise refuse(
                "No server can be started now: the policy, which says who may use what, cannot be read. The "
                "administrator should run `gpuspawner policy check`.",
                reason="policy_broken",
                status=503,
            ) from error

    def _read_enrolment(self) -> Enrolment:
        """What rosters say, or said before the ledger went away: a server without GPUs needs none."""
        rosters = self.run.rosters
        try:
            return rosters.enrolment()
        except LedgerError as error:
            self.log.warning("The rosters of courses cannot be read, and those of before hold: %s", error)
            return rosters.last_known

    @property
    def policy_file(self) -> PolicyFile:
        """The file that all spawners of this hub share."""
        return _share_policy_file(
            Path(self.policy).absolute(),
            frozenset(self.known_images),
            self.home_dir,
            tuple(self.private_places.items()),
            bool(self.course_base),
        )

    @property
    def private_places(self) -> dict[str, str]:
        """Directories of the host that are in no server as a whole, and what each holds."""
        private = {str(Path(self.ledger).absolute().parent): mark("the hub's own files")}
        if self.home_kind == HomeKind.BIND.value:
            private[str(Path(self.home_base).absolute())] = mark("people's homes")
        if self.course_base:
            private[self.course_base] = mark("folders of courses")
        return private

    def describe_policy_problem(self) -> str | None:
        """What is wrong with the policy file, for administrators; nobody else can mend it."""
        problem = self.policy_file.problem if self.policy and self.user.admin else None
        if problem is None:
            return None
        return mark(f"The policy file is broken, and the one before stays in force: {problem}")

    def _own_rule(self) -> Rule:
        """What the traits say; ``group_overrides`` may have set them for this person."""
        return settings_rule(
            gpus_per_server=self.gpus_per_server,
            gpus_per_person=self.gpus_per_person,
            memory=_read_bytes(self.mem_limit),
            cpus=self.cpu_limit or None,
            shm=self.shm_size,
        )

    @property
    def allowance(self) -> Allowance:
        """What was found last; before that what the traits say."""
        if self.access is not None:
            return self.access.allowance
        everybodys = list_everybodys(self.known_images, self.candidates)
        return resolve_allowance(Policy(self._own_rule(), everybodys_images=everybodys), "", ())

    @property
    def allocator(self) -> Allocator:
        """The use cases, under this person's own limits."""
        return Allocator(self.run.ledger, self.host, self.allowance, timedelta(seconds=self.stale_after))

    def parse_request(self, options: object) -> SpawnRequest:
        """Validate what the user sent. Raises: InvalidRequest."""
        most = _MOST_GPUS if self.policy else self.gpus_per_server
        return parse_options(options, images=self.catalogue, most_gpus=most)

    def judge_request(self, options: object, held_back: Collection[str] = ()) -> tuple[SpawnRequest, str]:
        """Validate what the user sent, and judge what can be judged without looking at the cards.

        Args:
            options: As it was sent.
            held_back: Images that it gets only if it names them, or if no other is allowed.

        Returns:
            The request, which says for which course it is, and the name of the image that it gets.

        Raises:
            InvalidRequest: It is malformed.
            Refused: It is not allowed to this person.
        """
        try:
            request = self.parse_request(options)
            judge_server(request, self.allowance)
            request, _ = choose_notebooks(request, self.access.notebooks() if self.access else {})
            courses = self.access.courses() if self.access else {}
            request = fit_image(request, courses)
            image = choose_image(request, order_for_default(self.catalogue, held_back), self.allowance)
            request = settle_course(request, image, courses)
            require_seat(request, image, courses, self.access.seated_images() if self.access else ())
        except (InvalidRequest, Refused):
            # JupyterHub has stored it already, and every later start without options would be refused for it.
            self.orm_spawner.user_options = {}
            raise
        return request, image

    @property
    def shelf(self) -> Shelf | None:
        """The images' passports, which all spawners of this hub share; None where there are none."""
        return _share_shelf(Path(self.passports).absolute()) if self.passports else None

    async def find_passport(self, digest: str) -> Passport | None:
        """The passport of an image. Raises: PassportError: It is damaged, so nobody knows what it needs."""
        return await asyncio.to_thread(self.shelf.find, digest) if self.shelf else None

    def sizes(self) -> dict[str, Any]:
        """DockerSpawner's traits of the container's size, where the policy sets them.

        DockerSpawner evaluates a callable of the site only once, and takes None for no memory limit only from
        itself; Docker's own word for that is 0.
        """
        allowance, found = self.allowance, dict[str, Any]()
        if allowance.memory.rules != (SETTINGS,):
            found["mem_limit"] = allowance.memory.value or 0
        if allowance.cpus.rules != (SETTINGS,):
            found["cpu_limit"] = allowance.cpus.value
        return found


@cache
def _share_policy_file(
    path: Path, images: frozenset[str], home_dir: str, private: tuple[tuple[str, str], ...], courses: bool
) -> PolicyFile:
    return PolicyFile(path, images=images, home_dir=home_dir, places=Places(dict(private), courses))


@cache
def _share_shelf(directory: Path) -> Shelf:
    return Shelf(directory)


def _read_bytes(limit: int | float | str | None) -> int | None:
    """A memory limit as DockerSpawner leaves it, which of a callable is whatever that returned."""
    return int(ByteSpecification().validate(None, limit)) if limit else None
