"""The step that brings messages to people: into their terminals, by mail, to a webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from gpuspawner.adapters.mail import MailServer
from gpuspawner.adapters.webhook import Webhook
from gpuspawner.allocator.outbox import NOBODY, SENT, Outbox
from gpuspawner.core.errors import GpuSpawnerError, LedgerError
from gpuspawner.core.model import LeaseState
from gpuspawner.core.notices import Channel, Notice, write_call, write_letter, write_line
from gpuspawner.ports import ContainerEngine

from .hubcalls import HubCalls

Deliver = Callable[[], None]
"""Delivers a message. Raises: DeliveryError, EngineError."""
Prepare = Callable[[Notice], Deliver | None]
"""Says how a message is delivered; None where there is nobody to deliver it to."""


class TellPeople:
    """The step: each message on each channel, in threads, some at once and no second try before a pause.

    Args:
        outbox: What is due, and what became of it.
        channels: How messages are delivered on each channel.
        make_calls: Makes what calls are made with; each channel has its own, so that none waits for another.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[Channel, Prepare],
        make_calls: Callable[[], HubCalls] = HubCalls,
    ) -> None:
        self._outbox, self._channels = outbox, channels
        self._calls = {channel: make_calls() for channel in channels}
        # A ledger that can be read but not written calls them due all the time.
        self._unrecorded: dict[tuple[Channel, int], tuple[Notice, str]] = {}

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError, after every channel had its turn."""
        problems: list[str] = []
        broken: LedgerError | None = None
        for channel, prepare in self._channels.items():
            try:
                problems += self._calls[channel].collect()
                for notice in self._outbox.due(channel):
                    self._deliver(channel, notice, prepare)
                self._record(channel)
                self._outbox.give_up(channel)
            except LedgerError as error:
                broken = broken or error
        if broken is not None:
            raise broken
        return problems

    def finish(self, wait_seconds: float) -> None:
        """Wait for the deliveries that are under way, and write down what became of them."""
        for channel, calls in self._calls.items():
            calls.finish(wait_seconds)
            with suppress(GpuSpawnerError):  # what is not written down is delivered once more
                calls.collect()
                self._record(channel)

    def _record(self, channel: Channel) -> None:
        """Write down what has ended. Raises: LedgerError; what is not written down is kept for later."""
        for key, (notice, outcome) in list(self._unrecorded.items()):
            if key[0] is channel:
                self._outbox.end(notice, channel, outcome)
                del self._unrecorded[key]

    def _deliver(self, channel: Channel, notice: Notice, prepare: Prepare) -> None:
        if (channel, notice.id) in self._unrecorded:
            return
        deliver = prepare(notice)
        if deliver is None:
            self._unrecorded[channel, notice.id] = notice, NOBODY
            return

        def note(error: GpuSpawnerError | None) -> None:
            if error is None:
                self._unrecorded[channel, notice.id] = notice, SENT
            else:
                self._outbox.fail(notice, channel, error)

        self._calls[channel].begin(f"{channel.value}-{notice.id}", deliver, note)


def in_terminals(engine: ContainerEngine, servers: str) -> Prepare:
    """A line in every terminal of the session that a message is about.

    Args:
        engine: Runs the containers.
        servers: Where its person can do something about it.
    """

    def prepare(notice: Notice) -> Deliver | None:
        lease = notice.lease
        if lease is None or lease.state is not LeaseState.ACTIVE or lease.container_id is None:
            return None
        container, line = lease.container_id, write_line(notice.message, servers)
        return lambda: engine.write_to_terminals(container, line)

    return prepare


def by_mail(server: MailServer, domain: str, servers: str, ledger_id: Callable[[], str]) -> Prepare:
    """A mail to whom a message is for.

    Args:
        server: Takes it.
        domain: Of everybody's address.
        servers: Where its person can do something about it.
        ledger_id: Tells the mails of one installation from those of others.
    """

    def prepare(notice: Notice) -> Deliver | None:
        letter = write_letter(notice, domain, servers)
        if letter is None:
            return None
        name = f"gpuspawner.{ledger_id()}.{notice.id}"
        return lambda: server.send(letter, name)

    return prepare


def by_webhook(webhook: Webhook, servers: str) -> Prepare:
    """A call of a program of the site."""
    return lambda notice: lambda: webhook.send(write_call(notice, servers))
