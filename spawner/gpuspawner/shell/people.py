"""``gpuspawner people``: who has logged in or has an account, which name each has, and who may not come."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click

from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_ledger, find_settings
from gpuspawner.allocator.accounts import Accounts
from gpuspawner.allocator.identities import Identities
from gpuspawner.core.accounts import INVITATION_LASTS
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.identity import Identity, Subject
from gpuspawner.policy.settings import load_settings

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

settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The settings file, for the address of the hub [default: ${SETTINGS_VARIABLE}, or the usual one].",
)
_HEADINGS = ("NAME", "CALLED THERE", "SUBJECT", "SERVICE", "FIRST SEEN", "LAST SEEN", "GROUPS")
_FEW = 3


@click.group(short_help="Show who has logged in; invite, remove and restore people.")
def people() -> None:
    """See who has logged in by the login service, and under which name each works here; who may not any more.

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


@people.command(short_help="Invite somebody to an account with a password here.")
@click.argument("name")
@click.option("--group", "groups", multiple=True, help="A group for the policy; may be given several times.")
@click.option("--email", default="", help="Where messages to them go.")
@click.option(
    "--old-home",
    is_flag=True,
    help="Hand over the home that is there under NAME, from before the name was anybody's.",
)
@ledger_option
@host_option
@settings_option
@json_option
def invite(
    *,
    name: str,
    groups: tuple[str, ...],
    email: str,
    old_home: bool,
    ledger: Path | None,
    host: str,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Make an account NAME, and print the link by which its person chooses a password.

    For an installation with `login: {provider: local}`. The link is good once, for three days; whoever has it
    can choose the password.
    """
    hub = _find_hub(settings_file, ledger)
    with open_ledger(ledger, host, change=True) as opened:
        found, secret = Accounts(opened).invite(name, groups, email, actor=shell_actor(), old_home=old_home)
        with opened.read() as unit:
            home = unit.home_of(found.name)
    _print_link(found.name, hub, secret, as_json=as_json)
    if home is not None and not as_json:
        click.echo(clean(f"Their home is the one from before: {home.kind.value} {home.source}."))


@people.command(short_help="Make somebody choose a new password.")
@click.argument("name")
@ledger_option
@host_option
@settings_option
@json_option
def reset(*, name: str, ledger: Path | None, host: str, settings_file: Path | None, as_json: bool) -> None:
    """Make the password of NAME void, and print the link by which a new one is chosen.

    Where they are logged in, they have to log in again within `refresh` (5 min); their servers run on.
    """
    hub = _find_hub(settings_file, ledger)
    with open_ledger(ledger, host, change=True) as opened:
        secret = Accounts(opened).reset(name, actor=shell_actor())
    _print_link(name, hub, secret, as_json=as_json)


@people.command(short_help="Say which groups an account is in.")
@click.argument("name")
@click.argument("names", metavar="[GROUP]...", nargs=-1)
@ledger_option
@host_option
@json_option
def groups(*, name: str, names: tuple[str, ...], ledger: Path | None, host: str, as_json: bool) -> None:
    """Put the account NAME into these groups and no others; without any, into none.

    Holds for who is logged in within `refresh` (5 min).
    """
    with open_ledger(ledger, host, change=True) as opened:
        found = Accounts(opened).regroup(name, names, actor=shell_actor())
    if as_json:
        print_json({"schema": 1, "person": _to_json(found)})
    else:
        click.echo(clean(f"{name} is in: {', '.join(found.groups) or 'no group'}."))


@people.command(short_help="Let somebody not come any more.")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept in the audit trail.")
@ledger_option
@host_option
@json_option
def remove(*, name: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Let NAME not log in any more. Their home is kept, and so is their name, which nobody else gets.

    The controller stops their servers, and voids their API tokens and logins, within a minute.
    """
    with open_ledger(ledger, host, change=True) as opened:
        found = Identities(opened).remove(name, actor=shell_actor(), reason=reason)
        with opened.read() as unit:
            home = unit.home_of(name)
    if as_json:
        print_json({"schema": 1, "removed": _to_json(found), "home": home.source if home else None})
        return
    click.echo(
        clean(f"{name} cannot log in any more. The controller stops their servers and voids their API")
    )
    click.echo("tokens and logins within a minute; without a controller, delete them at /hub/admin.")
    kept = f"{home.kind.value} {home.source}" if home else "they never had one"
    click.echo(clean(f"Their home is kept: {kept}. `gpuspawner people restore {name}` lets them in again."))


@people.command(short_help="Let somebody come again who was removed.")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept in the audit trail.")
@ledger_option
@host_option
@json_option
def restore(*, name: str, reason: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Let NAME log in again, to the home of before, if the rules under `login` let them."""
    with open_ledger(ledger, host, change=True) as opened:
        found = Identities(opened).restore(name, actor=shell_actor(), reason=reason)
    if as_json:
        print_json({"schema": 1, "restored": _to_json(found)})
    else:
        click.echo(clean(f"{name} may log in again."))


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


def _find_hub(settings_file: Path | None, ledger: Path | None) -> str:
    """The address of the hub, as far as the settings say it; of this ledger's and of no other.

    Raises:
        SettingsError: The settings are another installation's, or nobody logs in by an account there.
    """
    path, book = find_settings(settings_file), find_ledger(ledger)
    if path is None:
        return "/hub/"
    settings = load_settings(path)
    if settings.ledger_path.resolve() != book.resolve():
        raise SettingsError(
            f"{path} is of another installation: its ledger is {settings.ledger_path}, and not {book}. Give "
            "--settings and --ledger of the same one."
        )
    if settings.login is None or settings.login.provider != "local":
        raise SettingsError(
            f"{path} does not say `login: {{provider: local}}`, so nobody logs in by an account here."
        )
    if settings.notices.hub is None and settings.network.subdomain_host:
        return f"{settings.network.subdomain_host}{settings.base_url}hub/"
    return f"{settings.address}hub/"


def _print_link(name: str, hub: str, secret: str, *, as_json: bool) -> None:
    link = f"{hub}invitation?token={secret}"
    hours = round(INVITATION_LASTS.total_seconds() / 3600)
    if as_json:
        print_json({"schema": 1, "name": name, "link": link, "hours": hours})
        return
    click.echo(clean(f"{name} chooses a password here, once, within {hours} h:"))
    click.echo(clean(f"  {link}"))
    if _is_of_this_host(hub):
        click.echo("That address is good on this host only. Put the hub's own in its place; the settings can")
        click.echo("say it for the next time: `notices: {hub: https://hub.example.org}`.")
    click.echo("Give it to nobody else: whoever has it can choose the password.")


def _is_of_this_host(hub: str) -> bool:
    """Whether an address says no host, or one that is another on each machine."""
    host = urlsplit(hub).hostname or "localhost"
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


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
        "removed" if one.removed_at else few + more,
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
        "removed": one.removed_at.isoformat() if one.removed_at else None,
    }


def _show(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
