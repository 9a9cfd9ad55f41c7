"""What a person may choose at a start, and what the start page tells them."""

from __future__ import annotations

from gpuspawner.allocator import Stock
from gpuspawner.core.endings import describe_end
from gpuspawner.core.errors import GpuSpawnerError, InvalidRequest, LedgerError, Refused
from gpuspawner.core.quota import find_most_gpus, why_no_gpus, why_not_image

from .containers import ContainerSpawner
from .refusals import refuse_for
from .startpage import build_page, render_page


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
        allowance, party = access.allowance, access.party()
        try:
            stock = await self._off_loop(
                self.allocator.stock, self.user.name, self.name, party, access.terms(party)
            )
        except GpuSpawnerError as error:
            stock = Stock((), None, str(error))
        options, images = self.orm_spawner.user_options, list(self.catalogue)
        reasons = {name: why_not_image(name, allowance) for name in images}
        return render_page(
            build_page(
                stock.offers,
                stock.any_gpu,
                queue=bool(self.queue_url),
                problem=stock.problem,
                notice=self.describe_policy_problem() or await self.describe_last_end(),
                images=images,
                last=options if isinstance(options, dict) else {},
                most_gpus=find_most_gpus(allowance, sum(offer.total for offer in stock.offers)),
                refused=self._failed_start,
                barred_images={name: reason for name, reason in reasons.items() if reason},
                barred_gpus=why_no_gpus(allowance),
            )
        )

    async def describe_last_end(self) -> str | None:
        """How this server ended last time, if its person did not end it; for pages."""
        try:
            last = await self._off_loop(self.allocator.last_lease, self.user.name, self.name)
        except LedgerError:
            return None
        return describe_end(last)
