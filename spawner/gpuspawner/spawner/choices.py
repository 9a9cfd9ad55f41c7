"""What a person may choose at a start, and what the start page tells them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gpuspawner.adapters.docker_calls import ENGINE_FAILURES, NotFound
from gpuspawner.allocator import Stock, utc_now
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.errors import GpuSpawnerError, InvalidRequest, LedgerError, PassportError, Refused
from gpuspawner.core.images import find_fleet
from gpuspawner.language import choose_language
from gpuspawner.passport.model import Passport
from gpuspawner.policy.options import write_options

from .containers import ContainerSpawner
from .coursechoices import preselect_course
from .refusals import refuse_for
from .startform import render_page
from .startpage import build_page, read_form

LOOK_SECONDS = 3.0
"""How long the start page waits for what the Engine says of the images."""


class ChoosingSpawner(ContainerSpawner):
    """A spawner with a start page; how servers come and go is decided elsewhere."""

    _failed_start: bool = False
    """Whether the last start failed, or was cancelled."""

    async def check_options(self, options: object) -> None:
        """JupyterHub's one hook that form, link and API all pass before a start.

        JupyterHub has stored the options already; ones that are refused are forgotten again.
        """
        await self.find_access()
        try:
            self.judge_request(options)
        except (InvalidRequest, Refused) as error:
            raise refuse_for(error) from None

    async def render_start_page(self) -> str:
        """The options form: what there is, what is free now, and how the last server ended."""
        access = await self.find_access()
        options = self.orm_spawner.user_options
        last = options if isinstance(options, dict) else {}
        # What is told of reservations and seats is that of the course which the page has chosen first.
        courses, course = access.courses(), last.get("course")
        image = last.get("image") or courses.get(str(course)) or next(iter(self.catalogue), "")
        party = access.party(preselect_course(courses, [image], course))
        try:
            stock = await self._off_loop(
                self.allocator.stock, self.user.name, self.name, party, access.terms(party)
            )
        except GpuSpawnerError as error:
            stock = Stock(problem=str(error))
        passports = await self.look_at_images()
        page = build_page(
            stock,
            access.allowance,
            now=utc_now(),
            images=list(self.catalogue),
            candidates=self.candidates,
            last_days=self.last_days,
            last=last,
            passports=passports,
            fleet=await self._find_fleet(),
            queue_url=self.queue_url,
            problem=self.describe_policy_problem(),
            ended=await self.find_last_end(),
            refused=self._failed_start,
            notebooks={course: image for course, (image, _) in access.notebooks().items()},
            courses=courses,
        )
        return render_page(page, self.find_language())

    async def look_at_images(self) -> dict[str, Passport]:
        """The passports of the images that are offered, as far as they are known in time; for pages."""
        found: dict[str, Passport] = {}
        if self.shelf is None:
            return found
        with suppress(TimeoutError, *ENGINE_FAILURES):
            async with asyncio.timeout(LOOK_SECONDS):
                for name, reference in self.catalogue.items():
                    passport = await self._look_at_image(reference)
                    if passport is not None:
                        found[name] = passport
        return found

    async def find_held_back(self) -> frozenset[str]:
        """Images that were not tried on all that is here, as far as that is known: no start's default."""
        passports, fleet = await self.look_at_images(), await self._find_fleet()
        return frozenset(name for name, found in passports.items() if not found.may_be_default(fleet))

    async def _find_fleet(self) -> tuple[str, ...]:
        try:
            return await self._off_loop(self.allocator.fleet)
        except LedgerError:
            return find_fleet(())

    async def _look_at_image(self, reference: str) -> Passport | None:
        try:
            about = await self.docker("inspect_image", reference)
            return await self.find_passport(about["Id"])
        except (NotFound, PassportError) as error:
            self.log.warning("The start page knows nothing of the image %s: %s", reference, error)
            return None

    def find_language(self) -> str:
        """The language of who looks: JupyterHub sets the handler before it asks for the form."""
        headers = self.handler.request.headers if self.handler else {}
        return choose_language(None, headers.get("Accept-Language", ""))

    async def find_last_end(self) -> LastEnd | None:
        """How this server ended last time, if its person did not end it; for pages."""
        try:
            return await self._off_loop(self.allocator.last_end, self.user.name, self.name)
        except LedgerError:
            return None

    async def options_from_query(self, query: dict[str, list[str]]) -> dict[str, object]:
        """Options of a link: by their names, or those of an earlier start, as ``opt-again``.

        A link is no form: JupyterHub gives this one what is in the address, of which anybody may have
        written anything. What comes of it is judged like all options.
        """
        if "again" not in query:
            return read_form(query)
        try:
            return write_options(
                await self._off_loop(self.allocator.choices, self.user.name, query["again"][0])
            )
        except GpuSpawnerError as error:
            raise refuse_for(error) from error
