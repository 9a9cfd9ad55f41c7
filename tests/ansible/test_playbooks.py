"""What the playbooks decide, without a server: their conditions, and the programs that they run there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.setup.paths import CHECKOUT
from gpuspawner.setup.versions import parse_version
from support.databases import form_of, make_hub_database, set_form, take_hub_back

ANSIBLE = CHECKOUT / "ansible"


def task(file: str, name: str) -> dict[str, Any]:
    """A task of a playbook or of a role's file, by its name."""
    read = yaml.safe_load((ANSIBLE / file).read_text())
    tasks = read[0]["tasks"] if "hosts" in read[0] else read
    tasks = [*tasks, *(inner for one in tasks for inner in one.get("block", []))]
    found = [one for one in tasks if one["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def is_version(found: str, wanted: str, how: str) -> bool:
    """Ansible's test of that name, as far as it is used here."""
    assert how == ">="
    return (parse_version(found) or ()) >= (parse_version(wanted) or ())


def holds(condition: str, **values: Any) -> bool:
    """Whether a condition of a task holds."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.tests["version"] = is_version
    environment.filters["b64decode"] = lambda text: b64decode(text).decode()
    environment.filters["from_json"] = json.loads
    return bool(environment.compile_expression(condition, undefined_to_none=False)(**values))


@pytest.mark.parametrize(
    ("found", "enough"), [("3.10.12", False), ("3.11.2", True), ("3.13.5", True), ("3.9.2", False)]
)
def test_a_python_that_is_too_old_is_refused_before_anything_is_touched(found: str, enough: bool) -> None:
    checks = "roles/gpuspawner/tasks/preflight.yml"
    that = task(checks, "Require one with which the hub runs")["ansible.builtin.assert"]["that"]
    assert holds(that, gpuspawner_python={"stdout": f"Python {found}"}) is enough


DOCKER = "roles/docker/tasks/preflight.yml"


@pytest.mark.parametrize(
    ("times", "differs", "allowed", "running", "goes_on"),
    [
        ((1.0, 2.0), False, False, ["a running"], True),
        ((3.0, 2.0), False, False, ["a running"], False),  # edited by hand, and not restarted since
        ((3.0, 2.0), False, True, ["a running"], True),
        ((3.0, 2.0), False, False, [], True),
        ((1.0, 2.0), True, False, ["a running"], False),
        ((None, 2.0), True, False, ["a running"], False),
        ((3.0, None), False, False, ["a running"], False),
    ],
)
def test_an_engine_is_restarted_under_people_only_by_permission(
    times: tuple[float | None, float | None], differs: bool, allowed: bool, running: list[str], goes_on: bool
) -> None:
    """``times``: when its configuration was written, and when it was started."""
    check = task(DOCKER, "Require permission to restart an Engine that has people on it")
    written, started = ({"stat": {} if at is None else {"mtime": at}} for at in times)
    stale = holds(check["vars"]["docker_stale"].strip("{} "), docker_times={"results": [written, started]})
    that = check["ansible.builtin.assert"]["that"]
    asked = {"docker_stale": stale, "docker_allow_restart": allowed, "docker_running": running}
    assert holds(that, docker_found={}, docker_wanted={"debug": True} if differs else {}, **asked) is goes_on
    # What was asked for is what is done: no other condition leads to a restart.
    restart = task("roles/docker/tasks/main.yml", "Restart an Engine that is older than its configuration")
    if written["stat"]:
        assert holds(restart["when"], docker_written=written, docker_started=started) is stale


def test_an_engine_that_does_not_answer_is_not_taken_for_none() -> None:
    check = task(DOCKER, "Require that an Engine that is installed answers")["ansible.builtin.assert"]
    assert not holds(check["that"], docker_version={"rc": 1}, docker_installed=["/usr/bin/dockerd"])
    assert holds(check["that"], docker_version={"rc": 2}, docker_installed=[])
    assert holds(check["that"], docker_version={"rc": 0}, docker_installed=["/usr/bin/dockerd"])
    assert "systemctl start docker" in check["fail_msg"]


@pytest.mark.parametrize(
    ("listed", "loaded", "reloads"), [(0, "abc", False), (1, "abc", True), (0, "old", True), (1, "old", True)]
)
def test_rules_are_in_force_when_the_kernel_has_them(listed: int, loaded: str, reloads: bool) -> None:
    found = holds(
        task("roles/firewall/tasks/main.yml", "Put in force what is not")["when"],
        firewall_table={"rc": listed}, firewall_file={"stat": {"checksum": "abc"}},
        firewall_running={"content": b64encode(f"{loaded}  -".encode()).decode()},
    )  # fmt: skip
    assert found is reloads
    check = task("verify.yml", "Require that the rules are in force")["ansible.builtin.assert"]["that"]
    assert holds(check, verify_firewall={"rc": listed}) is (listed == 0)


def ask_release(settings: Path, databases: Path) -> tuple[int, str]:
    """What a release answers before it is gone back to; here this checkout is the release."""
    program = ANSIBLE / "roles" / "gpuspawner" / "files" / "takes.py"
    command = [sys.executable, str(program), str(databases), str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def make_databases(folder: Path) -> None:
    """As a hub of this checkout makes them."""
    with Ledger(folder / "ledger.sqlite").write():
        pass
    make_hub_database(folder / "jupyterhub.sqlite")


def test_a_release_is_gone_back_to_only_if_it_takes_settings_and_databases(tmp_path: Path) -> None:
    settings = tmp_path / "gpuspawner.yml"
    good = f"state_dir: {tmp_path}\nimages: {{Minimal: 'gpuspawner/minimal:1'}}\n"
    settings.write_text(good)
    assert ask_release(settings, tmp_path) == (0, "")
    make_databases(tmp_path)
    assert ask_release(settings, tmp_path) == (0, "")
    settings.write_text(f"{good}of_later: 1\n")
    code, says = ask_release(settings, tmp_path)
    assert code == 1
    assert says.startswith("It does not take the settings: ")
    assert "of_later is not a setting" in says
    settings.write_text(good)
    for name, what in (("ledger.sqlite", "the ledger"), ("jupyterhub.sqlite", "the hub's own database")):
        before = form_of(tmp_path / name)
        set_form(tmp_path / name, "9999")
        code, says = ask_release(settings, tmp_path)
        assert code == 1
        assert says.startswith(f"It does not know the version 9999 of {what}, which")
        set_form(tmp_path / name, before)
    (tmp_path / "jupyterhub.sqlite").write_bytes(b"")  # as a hub makes it first
    assert ask_release(settings, tmp_path) == (0, "")


def test_an_upgrade_brings_the_hub_s_own_database_to_the_form_of_its_jupyterhub(tmp_path: Path) -> None:
    make_databases(tmp_path)
    hub = tmp_path / "jupyterhub.sqlite"
    newest = take_hub_back(hub)
    migrate = task("roles/gpuspawner/tasks/form.yml", "Bring them to the form that the release knows")
    assert migrate["ansible.builtin.command"]["chdir"] == "/var/lib/gpuspawner", "alembic looks around there"
    words = [sys.executable, "-c", migrate["vars"]["gpuspawner_migration"], str(tmp_path)]
    subprocess.run(words, check=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True)
    assert form_of(hub) == newest


@pytest.mark.parametrize(
    ("refuses", "takes_copies", "told", "goes"),
    [
        (False, False, False, True),
        (True, True, False, False),
        (True, True, True, True),
        (True, False, True, False),
    ],
)
def test_what_is_lost_by_going_back_must_be_meant(
    refuses: bool, takes_copies: bool, told: bool, goes: bool
) -> None:
    check = task("rollback.yml", "Require that it does, or that what is lost may be")
    given = {"rollback_refuses": refuses, "rollback_takes_copies": takes_copies, "rollback_to_copies": told}
    that = check["ansible.builtin.assert"]["that"].replace(" | bool", "")
    assert holds(that, **given) is goes


@pytest.mark.parametrize("has_one", [True, False])
def test_each_image_gets_a_passport_once_and_verify_asks_for_it(has_one: bool) -> None:
    shelf = {"stdout": json.dumps({"passports": [{"digest": "sha256:1"}] if has_one else []})}
    making = task("roles/images/tasks/main.yml", "Make those that are missing")
    image = {"item": {"value": {"reference": "lab/own:3"}}, "images_ids": {"lab/own:3": "sha256:1"}}
    assert holds(making["when"], images_shelf=shelf, **image) is not has_one
    check = task("verify.yml", "Require one for each image")["ansible.builtin.assert"]["that"]
    assert holds(check, verify_passports=shelf, item={"stdout": "sha256:1"}) is has_one


def ask_for_ledger(path: Path) -> str:
    program = task("uninstall.yml", "Ask which ledger is this hub's")["vars"]["uninstall_program"]
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_uninstalling_takes_the_servers_of_this_hubs_ledger_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert ask_for_ledger(path) == ""
    path.touch()
    assert ask_for_ledger(path) == ""
    ledger = Ledger(path)
    with ledger.write() as unit:
        known = unit.ledger_id()
    ledger.close()
    assert ask_for_ledger(path) == known
    listing = task("uninstall.yml", "List the servers of its people")
    assert "label=gpuspawner.ledger={{ uninstall_ledger.stdout }}" in listing["ansible.builtin.command"]
    assert listing["when"] == "uninstall_ledger.stdout != ''"


@pytest.mark.parametrize(
    ("homes", "others", "named", "taken"),
    [(3, 5, False, True), (0, 5, False, False), (0, 5, True, True), (0, 0, False, True)],
)
def test_the_newest_backup_is_not_taken_if_it_is_of_a_new_server(
    homes: int, others: int, named: bool, taken: bool
) -> None:
    check = task("restore.yml", "Require that the newest is not of a hub without people")
    values: dict[str, Any] = {"restore_about": {"homes": homes, "others": others}}
    if named:
        values["restore_backup"] = "1a2b3c4d"
    assert holds(check["ansible.builtin.assert"]["that"], **values) is taken


UNITS = ANSIBLE / "roles" / "gpuspawner" / "templates"


def test_whoever_wants_others_is_stopped_before_them() -> None:
    """One that starts itself anew meanwhile would bring back what was stopped."""
    stop = task("uninstall.yml", "Stop them")
    order = stop["vars"]["uninstall_order"]
    for template in UNITS.glob("*.service.j2"):
        unit = f"gpuspawner-{template.name.removesuffix('.j2')}"
        wants = re.findall(r"^Wants=(.*)$", template.read_text(), re.MULTILINE)
        for wanted in re.findall(r"gpuspawner-\w+\.service", " ".join(wants)):
            assert order.index(unit) < order.index(wanted), f"{unit} wants {wanted}"
    names = ["gpuspawner-firewall.service", "gpuspawner-proxy.service", "gpuspawner-hub.service"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    loop = environment.compile_expression(stop["loop"].strip("{} "))
    assert loop(uninstall_names=names, uninstall_order=order) == [names[2], names[1], names[0]]


@pytest.mark.parametrize(
    ("repository", "shown"),
    [
        ("rest:https://ada:se:cr@et@backup.example.org/hub", "rest:https://***@backup.example.org/hub"),
        ("rest:https://backup.example.org:8000/a@b", "rest:https://backup.example.org:8000/a@b"),
        ("/mnt/backup/hub", "/mnt/backup/hub"),
    ],
)
@pytest.mark.parametrize("says", ["wrong password", "Head {}/config: no such host"])
def test_a_password_in_the_address_of_backups_is_not_shown(repository: str, shown: str, says: str) -> None:
    asking = task("roles/backup/tasks/ask.yml", "Require that it is there, and that the password opens it")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["regex_replace"] = lambda text, old, new: re.sub(old, new, text)
    values: dict[str, Any] = {
        "backup_repository": repository,
        "backup_silent": False,
        "backup_said": says.format(repository.removeprefix("rest:")),
        "backup_secret": asking["vars"]["backup_secret"],
    }
    values["backup_shown"] = environment.from_string(asking["vars"]["backup_shown"]).render(values)
    told = environment.from_string(asking["ansible.builtin.assert"]["fail_msg"]).render(values)
    assert shown in told
    assert "cr@et" not in told
    if "{}" in says:
        assert f"Head {shown.removeprefix('rest:')}/config" in told


@pytest.mark.parametrize(
    ("code", "error", "create", "goes_on", "says"),
    [
        (0, "", False, True, ""),
        (1, "no such host", False, False, "no such host"),
        (1, "no such host", True, True, "no such host"),
        (1, "wrong password", True, False, "wrong password"),
        (124, "", False, False, "no answer within a minute"),
        (124, "retrying", True, False, "no answer within a minute"),
        (137, "", False, False, "no answer within a minute"),
    ],
)
def test_a_repository_that_does_not_answer_is_said_to_be_silent(
    *, code: int, error: str, create: bool, goes_on: bool, says: str
) -> None:
    ask = task("roles/backup/tasks/ask.yml", "Ask restic for the repository")
    assert "timeout" not in ask  # of a task it raises past failed_when
    command = ask["ansible.builtin.command"]["argv"]
    assert command[command.index("restic") - 1] == "60"
    check = task("roles/backup/tasks/ask.yml", "Require that it is there, and that the password opens it")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    values: dict[str, Any] = {"backup_asked": {"rc": code, "stderr": error}, "backup_create": create}
    for name in ("backup_silent", "backup_said"):
        expression = environment.compile_expression(check["vars"][name].strip("{} "))
        values[name] = expression(values)
    environment.filters["bool"] = bool
    assert environment.compile_expression(check["ansible.builtin.assert"]["that"])(values) is goes_on
    assert says in values["backup_said"]
