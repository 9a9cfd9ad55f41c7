"""``gpuspawner people``: who has logged in by the login service, and which name each has here."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from gpuspawner.allocator.identities import Identities
from gpuspawner.core.identity import Identity, Subject

from .common import (
    clean,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    print_json,
    render_table,
    shell_actor,
)

_HEADINGS = ("NAME", "CALLED THERE", "SUBJECT", "SERVICE", "FIRST SEEN", "LAST SEEN", "GROUPS")
_FEW = 3


@click.group(short_help="Show who has logged in; link a home to somebody.")
def people() -> None:
    """See who has logged in by the login service, and under which name each works here.

    A name is given at the first login, belongs to that person for ever, and is never given to anybody else.
    """


@people.command("list", short_help="Show everybody.")
@ledger_option
@host_option
@json_option
def list_(ledger: Path | None, host: str, as_json: bool) -> None:
    """Show everybody who has logged in by the login service."""
    with open_ledger(ledger, host) as opened:
        found = Identities(opened).list()
    if as_json:
        print_json({"schema": 1, "people": [_to_json(one) for one in found]})
    elif found:
        click.echo("\n".join(render_table(_HEADINGS, [_cells(one) for one in found])))
    else:
        click.echo("Nobody has logged in by a login service yet.")


@people.command(short_help="Give a home from before to somebody.")
@click.argument("name")
@click.option("--service", required=True, help="Address of the login service, as in the settings file.")
@click.option(
    "--subject", required=True, help="What the service knows the person by, such as the claim `sub`."
)
@ledger_option
@host_option
@json_option
def link(*, name: str, service: str, subject: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Let the person whom the login service knows as SUBJECT have NAME, and its home.

    For homes from before there was a login service: who logs in first under an old name does not get its home
    by that alone.
    """
    with open_ledger(ledger, host, change=True) as opened:
        who = Subject(service.rstrip("/"), subject)
        found = Identities(opened).link(name, who, actor=shell_actor())
    if as_json:
        print_json({"schema": 1, "linked": _to_json(found)})
    else:
        click.echo(clean(f"{found.name} is now the name of {subject} at {found.subject.provider}."))


def _cells(one: Identity) -> tuple[str, ...]:
    few = ", ".join(one.groups[:_FEW])
    more = f" and {len(one.groups) - _FEW} more" if len(one.groups) > _FEW else ""
    subject = one.subject
    return (
        one.name,
        one.shown,
        subject.id,
        subject.provider,
        _show(one.first_seen),
        _show(one.last_seen),
        few + more,
    )


def _to_json(one: Identity) -> dict[str, object]:
    return {
        "name": one.name,
        "shown": one.shown,
        "subject": one.subject.id,
        "service": one.subject.provider,
        "first_seen": one.first_seen.isoformat(),
        "last_seen": one.last_seen.isoformat(),
        "groups": list(one.groups),
    }


def _show(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
