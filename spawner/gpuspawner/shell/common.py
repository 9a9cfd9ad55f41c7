"""What the commands share: which ledger, which host, who types, and how a table looks."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.whereabouts import LEDGER_VARIABLE, SETTINGS_VARIABLE, find_ledger, find_settings
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import find_zone
from gpuspawner.policy.reservations import PolicyNames, load_names
from gpuspawner.policy.settings import load_settings

Command = Callable[..., Any]

ledger_option = click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The ledger's database file [default: ${LEDGER_VARIABLE}, or the demo's].",
)
host_option = click.option(
    "--host", default=socket.gethostname, show_default="this host's name", help="Name of the host."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
reason_option = click.option("--reason", required=True, help="Why; kept in the audit trail.")


@contextmanager
def open_ledger(path: Path | None, host: str, *, change: bool = False) -> Iterator[Ledger]:
    """The ledger that is meant, closed at the end.

    Args:
        path: What was given on the command line.
        host: The host that is meant; where the ledger knows only others, that is said on stderr.
        change: Whether the command writes: only then an old ledger is brought up to date.

    Raises:
        SettingsError: No ledger is named, or it does not exist.
    """
    book = Ledger(find_ledger(path), migrate=change)
    try:
        _tell_of_others(book, host)
        yield book
    finally:
        book.close()


def _tell_of_others(book: Ledger, host: str) -> None:
    """A host's name that is set in the settings is easily forgotten here, and then all seems empty."""
    with book.read() as unit:
        hosts = unit.hosts()
    if hosts and host not in hosts:
        names = ", ".join(f"--host {clean(name)}" for name in hosts)
        click.echo(f"note: this ledger knows no card of host {clean(host)}. Give {names}.", err=True)


def policy_options(command: Any) -> Any:
    """The options that say where the policy is."""
    command = click.option("--policy", type=click.Path(path_type=Path), help="The policy file.")(command)
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"The settings file, which names the policy [default: ${SETTINGS_VARIABLE}, or the usual ones].",
    )(command)


def find_names(policy: Path | None, settings: Path | None, pool: str | None = None) -> PolicyNames:
    """What the policy that is meant has names for; nothing is checked where there is none.

    Raises:
        SettingsError: Policy or settings are wrong.
        InvalidRequest: A pool is named, and no policy is known.
    """
    where = find_settings(settings)
    path = policy or (load_settings(where).policy if where else None)
    if path is None and pool:
        raise InvalidRequest("pool: no policy is known here. Give --policy PATH, or --settings PATH.")
    return load_names(path) if path else PolicyNames()


def find_local_zone() -> str:
    """The time zone of this host, or UTC where it cannot be told."""
    named = os.environ.get("TZ", "").removeprefix(":")
    linked = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]
    for name in (named, linked):
        try:
            return find_zone(name).key
        except InvalidRequest:
            continue
    return "UTC"


def complete(given: str, ids: Iterable[str], what: str) -> str:
    """The id that begins so; what is given itself where none does.

    Raises:
        InvalidRequest: Several begin so.
    """
    found = [one for one in ids if given and one.startswith(given)]
    if given in found or not found:
        return given
    if len(found) > 1:
        raise InvalidRequest(f"{given!r} means several {what}: {', '.join(found[:10])}; give more of one.")
    return found[0]


def actor() -> str:
    """Who types, for the audit trail."""
    return getpass.getuser()


def shell_actor() -> Actor:
    """Who types, where a user of the hub may have the same name."""
    return Actor(actor(), ActorKind.SHELL)


def require_reason(reason: str) -> str:
    """The reason without the space around it. Raises: InvalidRequest: There is none."""
    if not reason.strip():
        raise InvalidRequest("Give a reason: it is what others will read of this.")
    return reason.strip()


def print_json(data: object) -> None:
    """For programs."""
    click.echo(json.dumps(data, indent=2))


def clean(text: str) -> str:
    """What others named cannot move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines, the headings first."""
    cells = [list(headings), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(headings))]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
