"""``gpuspawner calendar``: whose calendars can be read by a secret address, and ending that."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from gpuspawner.allocator.feeds import Feeds
from gpuspawner.core.feeds import Feed

from .common import (
    clean,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    print_json,
    reason_option,
    render_table,
    require_reason,
    shell_actor,
)

_HEADINGS = ("PERSON", "SINCE", "LAST READ")


@click.group(short_help="See and end the secret addresses of people's calendars.")
def calendar() -> None:
    """See whose calendar can be read by a secret address, without a login, and end it.

    The addresses themselves are stored nowhere.
    """


@calendar.command("list", short_help="Show who has an address.")
@ledger_option
@host_option
@json_option
def list_(ledger: Path | None, host: str, as_json: bool) -> None:
    """Show whose calendars have a secret address, since when, and when each was last read."""
    with open_ledger(ledger, host) as opened:
        found = Feeds(opened).list()
    if as_json:
        print_json({"schema": 1, "calendars": [_to_json(one) for one in found]})
    elif found:
        rows = [(one.owner, _show(one.made_at), _show(one.read_at)) for one in found]
        click.echo("\n".join(render_table(_HEADINGS, rows)))
    else:
        click.echo("No calendar has a secret address.")


@calendar.command(short_help="End somebody's address.")
@click.argument("person")
@reason_option
@ledger_option
@host_option
@json_option
def end(person: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """End the secret address of the calendar of PERSON: whoever has it reads nothing any more."""
    reason = require_reason(reason)
    with open_ledger(ledger, host, change=True) as opened:
        Feeds(opened).end(person, actor=shell_actor(), reason=reason)
    if as_json:
        print_json({"schema": 1, "ended": person})
    else:
        click.echo(clean(f"The secret address of the calendar of {person} works no more."))


def _to_json(one: Feed) -> dict[str, object]:
    return {
        "person": one.owner,
        "made_at": one.made_at.isoformat(),
        "read_at": one.read_at.isoformat() if one.read_at else None,
    }


def _show(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "never"
