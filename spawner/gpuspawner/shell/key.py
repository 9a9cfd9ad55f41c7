"""``gpuspawner key``: the keys by which people reach their servers by SSH."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.errors import InvalidRequest, NotFound
from gpuspawner.core.keys import MOST_CHARACTERS
from gpuspawner.core.ssh import SshKey

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

_HEADINGS = ("ID", "PERSON", "NAME", "FINGERPRINT", "ADDED", "LAST USED", "LAST REFUSED")


@click.group(short_help="Show, add and remove people's keys for SSH.")
def key() -> None:
    """See, add and remove the public keys by which people reach their servers by SSH (docs/ssh.md).

    People do the same for themselves on the page "SSH & editors".
    """


@key.command("list", short_help="Show keys.")
@click.argument("person", required=False)
@ledger_option
@host_option
@json_option
def list_(person: str | None, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show the keys of PERSON, or everybody's."""
    with open_ledger(ledger, host) as opened:
        found = SshKeys(opened).list(person)
    if as_json:
        print_json({"schema": 1, "keys": [_to_json(one) for one in found]})
    elif found:
        click.echo("\n".join(render_table(_HEADINGS, [_cells(one) for one in found])))
    else:
        click.echo("There are no keys.")


@key.command(short_help="Add a key for somebody.")
@click.argument("person")
@click.argument("file", type=click.File("rb"))
@click.option("--name", default="", help="What it is called; its comment unless given.")
@ledger_option
@host_option
@json_option
def add(*, person: str, file: IO[bytes], name: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Let PERSON in with the public key of FILE, such as id_ed25519.pub; - reads standard input."""
    try:
        pasted = file.read(MOST_CHARACTERS + 1).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The file is no text. Give the one that ends in .pub.") from None
    with open_ledger(ledger, host, change=True) as opened:
        found = SshKeys(opened).add(person, pasted, name, actor=shell_actor())
    if as_json:
        print_json({"schema": 1, "added": _to_json(found)})
    else:
        click.echo(clean(f"{found.owner} is let in with {found.name} ({found.fingerprint})."))


@key.command(short_help="Remove a key.")
@click.argument("which")
@ledger_option
@host_option
@json_option
def remove(*, which: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Remove the key WHICH, by its id or its fingerprint. What is open by it ends within a minute."""
    with open_ledger(ledger, host, change=True) as opened:
        keys = SshKeys(opened)
        found = next((one for one in keys.list() if which in (str(one.id), one.fingerprint)), None)
        if found is None:
            raise NotFound(f"There is no key {which[:100]!r}; `gpuspawner key list` shows all.")
        keys.remove(found.owner, found.id, actor=shell_actor())
    if as_json:
        print_json({"schema": 1, "removed": _to_json(found)})
    else:
        click.echo(clean(f"The key {found.name} of {found.owner} was removed."))


def _cells(one: SshKey) -> tuple[str, ...]:
    used = f"{one.used_at:%Y-%m-%d %H:%M} UTC" if one.used_at else "never"
    refused = f"{one.refused_at:%Y-%m-%d %H:%M} UTC: {one.refused}" if one.refused_at else "never"
    added = f"{one.added_at:%Y-%m-%d %H:%M} UTC"
    return (str(one.id), one.owner, one.name, one.fingerprint, added, used, refused)


def _to_json(one: SshKey) -> dict[str, object]:
    return {
        "id": one.id,
        "person": one.owner,
        "name": one.name,
        "key": one.text,
        "fingerprint": one.fingerprint,
        "added_at": one.added_at.isoformat(),
        "used_at": one.used_at.isoformat() if one.used_at else None,
        "refused_at": one.refused_at.isoformat() if one.refused_at else None,
        "refused": one.refused,
    }
