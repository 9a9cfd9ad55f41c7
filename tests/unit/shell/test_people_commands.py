"""``gpuspawner people``: who has logged in, is invited or removed, and whose a home from before is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.errors import Conflict, NotFound, SettingsError
from gpuspawner.core.identity import Subject
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.shell.people import people
from support.build import HOST, record

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    with opened.write() as unit:
        unit.put_device(record("GPU-0"))
        unit.put_home(Home("grace", HomeKind.VOLUME, "home-grace"), NOW)
    Identities(opened, clock=lambda: NOW).admit(
        Subject("https://login", "s-1"), Said("Ada\x1b[31m", ("a", "b", "c", "d"))
    )
    opened.close()
    return path


def run(ledger: Path, *arguments: str) -> Result:
    return CliRunner().invoke(people, [*arguments, "--ledger", str(ledger), "--host", HOST])


def test_everybody(ledger: Path) -> None:
    found = run(ledger, "list")
    assert found.exit_code == 0, found.output
    assert "\x1b" not in found.output
    assert "a, b, c and 1 more" in found.output
    (person,) = json.loads(run(ledger, "list", "--json").output)["people"]
    assert (person["name"], person["subject"], person["service"]) == ("ada-31m", "s-1", "https://login")


def test_a_home_from_before_is_given_once(ledger: Path) -> None:
    link = ("link", "grace", "--service", "https://login/", "--subject")
    assert run(ledger, *link, "s-2").output == "grace is now the name of s-2 at https://login.\n"
    assert isinstance(run(ledger, *link, "s-3").exception, Conflict)
    nobody = ("link", "nobody", "--service", "https://login", "--subject", "s-4")
    assert isinstance(run(ledger, *nobody).exception, NotFound)


# -- accounts, and people who leave -------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "gpuspawner.yml"
    path.write_text(
        f"""
state_dir: {tmp_path}
ledger: {tmp_path}/ledger.db
images: {{base: "demo/base:1"}}
notices: {{hub: "https://gpu.example.org"}}
login: {{provider: local, allow: {{everybody: true}}}}
"""
    )
    return path


def test_an_invitation_is_a_link(ledger: Path, settings: Path) -> None:
    invited = run(ledger, "invite", "bob", "--group", "ml", "--group", "staff", "--settings", str(settings))
    assert invited.exit_code == 0, invited.output
    assert "https://gpu.example.org/hub/invitation?token=" in invited.output
    (bob,) = [
        one for one in json.loads(run(ledger, "list", "--json").output)["people"] if one["name"] == "bob"
    ]
    assert (bob["groups"], bob["service"], bob["removed"]) == (["ml", "staff"], "local", None)
    again = json.loads(run(ledger, "reset", "bob", "--settings", str(settings), "--json").output)
    assert again["link"] not in invited.output
    assert run(ledger, "groups", "bob", "new").output == "bob is in: new.\n"
    assert run(ledger, "groups", "bob").output == "bob is in: no group.\n"
    assert isinstance(run(ledger, "invite", "bob", "--settings", str(settings)).exception, Conflict)
    assert isinstance(run(ledger, "reset", "eve", "--settings", str(settings)).exception, NotFound)


def test_an_invitation_to_a_home_from_before(ledger: Path, settings: Path) -> None:
    given = ("--settings", str(settings))
    refused = run(ledger, "invite", "grace", *given)
    assert "volume home-grace" in str(refused.exception)
    assert "`gpuspawner people invite grace --old-home`" in str(refused.exception)
    found = run(ledger, "invite", "grace", "--old-home", *given)
    assert "Their home is the one from before: volume home-grace." in found.output


@pytest.mark.parametrize(
    ("network", "hub", "link"),
    [
        (
            "bind_url: 'http://127.0.0.1:8000/jhub'",
            "https://gpu.example.org",
            "https://gpu.example.org/jhub/hub/",
        ),
        ("bind_url: 'http://127.0.0.1:8000'", "https://gpu.example.org/hub/", "https://gpu.example.org/hub/"),
        ("subdomain_host: 'https://gpu.example.org'", None, "https://gpu.example.org/hub/"),
        ("bind_url: 'http://:8000/'", None, "http://:8000/hub/"),
        ("bind_url: 'http://[::]:8000/'", None, "http://[::]:8000/hub/"),
        ("bind_url: 'http://10.1.2.3:8000/'", None, "http://10.1.2.3:8000/hub/"),
    ],
)
def test_where_an_invitation_leads(
    *, ledger: Path, settings: Path, network: str, hub: str | None, link: str
) -> None:
    notices = f"notices: {{hub: '{hub}'}}" if hub else "notices: {}"
    text = settings.read_text().replace('notices: {hub: "https://gpu.example.org"}', notices)
    settings.write_text(f"{text}network: {{{network}}}\n")
    found = run(ledger, "invite", "bob", "--settings", str(settings))
    assert f"  {link}invitation?token=" in found.output, found.output
    assert ("on this host only" in found.output) == (":8000/hub" in link and "10." not in link)


def test_no_link_to_the_hub_of_another_installation(ledger: Path, settings: Path) -> None:
    """Such as the demo's settings in the folder of the day, beside a ledger that a variable names."""
    settings.write_text(settings.read_text().replace("ledger.db", "another.db"))
    for command in ("invite", "reset"):
        found = run(ledger, command, "bob", "--settings", str(settings))
        assert "is of another installation" in str(found.exception)
    assert "bob" not in run(ledger, "list").output


def test_no_invitation_where_nobody_logs_in_by_accounts(ledger: Path, settings: Path) -> None:
    text = settings.read_text().replace("login: {provider: local, allow: {everybody: true}}", "")
    settings.write_text(text)
    found = run(ledger, "invite", "bob", "--settings", str(settings))
    assert isinstance(found.exception, SettingsError)
    assert "provider: local" in str(found.exception)


def test_removing_and_restoring(ledger: Path) -> None:
    name = "ada-31m"
    found = run(ledger, "remove", name, "--reason", "left")
    assert found.exit_code == 0, found.output
    assert "cannot log in any more" in found.output
    assert "home is kept: they never had one" in found.output
    assert "removed" in run(ledger, "list").output
    assert run(ledger, "restore", name).output == f"{name} may log in again.\n"
    assert "removed" not in run(ledger, "list").output
    assert isinstance(run(ledger, "remove", "nobody").exception, NotFound)
