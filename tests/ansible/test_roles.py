"""The roles: variables are documented as they are, and units are what systemd takes."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import pytest
import yaml
from gpuspawner.setup.paths import CHECKOUT
from support.fresh_server import FreshServer

ALL = CHECKOUT / "ansible" / "roles"
SPECIFIED = sorted(path.parent.parent for path in ALL.glob("*/meta/argument_specs.yml"))
ROLES = [path for path in SPECIFIED if (path / "defaults").is_dir()]
"""Those with variables of an administrator's; the others are used by these."""
UNITS = sorted((ALL / "gpuspawner" / "templates").glob("*.service.j2"))
PLAN = {
    "proxy": "127.0.0.1:8000", "proxy_api": "127.0.0.1:8001", "hub_url": "http://10.201.0.1:8081/hub",
    "simulation_version": "0123456789abcdef", "home_directory": "", "course_directory": "",
    "controller": 8082, "base_url": "/", "subdomain_host": "", "ssh": 2222, "ssh_inputs": "",
    "ssh_version": "0123456789ab",
}  # fmt: skip


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_documented_with_the_default_that_it_has(role: Path) -> None:
    options = read(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    documented = {name: about.get("default", []) for name, about in options.items()}
    assert read(role / "defaults" / "main.yml") == documented
    for name, about in options.items():
        assert name.startswith(f"{role.name}_")
        assert about["description"].endswith("."), name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_checks_its_arguments_before_anything_is_touched(role: Path) -> None:
    specs = read(role / "meta" / "argument_specs.yml")["argument_specs"]
    assert specs["preflight"] == specs["main"]
    checked = read(CHECKOUT / "ansible" / "site.yml")[0]["tasks"][0]["loop"]
    assert role.name in checked
    assert (role / "tasks" / "preflight.yml").is_file()


def test_a_role_that_others_use_has_no_variables_of_its_own() -> None:
    for role in set(SPECIFIED) - set(ROLES):
        assert "main" not in read(role / "meta" / "argument_specs.yml")["argument_specs"]
    assert {path.name for path in ALL.iterdir()} == {path.name for path in SPECIFIED}


def test_preflight_changes_nothing() -> None:
    reading = {"command", "slurp", "stat", "find", "assert", "fail", "set_fact", "include_vars"}
    assert ROLES
    for role in ROLES:
        for task in flatten(role, read(role / "tasks" / "preflight.yml")):
            module = next(key for key in task if key.startswith("ansible.builtin.")).rpartition(".")[2]
            assert module in reading, f"{role.name}: {task['name']}"
            assert module != "command" or task["changed_when"] is False, task["name"]


def flatten(role: Path, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for task in tasks:
        inner = [*task.get("block", []), *task.get("rescue", [])]
        file = task.get("ansible.builtin.import_tasks") or task.get("ansible.builtin.include_tasks")
        if file is not None:
            inner = read(role / "tasks" / file)
        found += flatten(role, inner) if inner else [task]
    return found


def test_what_runs_from_the_release_and_writes_is_what_an_upgrade_stops() -> None:
    known = read(ALL / "gpuspawner" / "vars" / "main.yml")
    followers = re.findall(r"'name': '(\w+)'[^}]*'follows_release': true", known["gpuspawner_units"])
    assert set(known["gpuspawner_followers"]) == set(followers)


def test_nothing_is_stopped_before_what_starts_it_again() -> None:
    """A unit that fails, and is started anew, starts what it wants."""
    stopped = list(reversed(read(ALL / "gpuspawner" / "vars" / "main.yml")["gpuspawner_followers"]))
    for unit in UNITS:
        (name,) = re.findall(r"^(\w+)\.service", unit.name)
        wanted = re.findall(
            r"gpuspawner-(\w+)\.service", " ".join(re.findall(r"(?m)^Wants=.*", unit.read_text()))
        )
        for other in set(wanted) & set(stopped):
            assert name in stopped, f"{name} starts {other}, and is not stopped"
            assert stopped.index(name) < stopped.index(other), f"{name} starts {other}"


def test_the_way_back_starts_all_that_runs_from_the_release_and_asks_the_hub_by_its_name() -> None:
    known = read(ALL / "gpuspawner" / "vars" / "main.yml")
    followers = re.findall(r"'name': '(\w+)'[^}]*'follows_release': true", known["gpuspawner_units"])
    tasks = {task["name"]: task for task in read(ALL / "gpuspawner" / "tasks" / "again.yml")}
    environment = jinja2.Environment(autoescape=False)
    environment.filters["regex_replace"] = lambda text, old, new: re.sub(old, new, text)
    environment.filters["urlsplit"] = lambda text, part: getattr(urlsplit(text), part)
    find = tasks["Look for what runs from the release"]["ansible.builtin.find"]["patterns"]
    # Jinja reads the backslash, and Ansible keeps it.
    find = find.replace("\\", "\\\\")
    found = environment.from_string(find).render(gpuspawner_followers=known["gpuspawner_followers"])
    assert set(literal_eval(found)) == {f"gpuspawner-{name}.service" for name in (*followers, "ssh")}
    wait = tasks["Wait until its hub answers"]
    for network, name in (
        ({"subdomain_host": "https://hub.example.org:8443"}, {"Host": "hub.example.org:8443"}),
        ({}, {}),
    ):
        named = environment.from_string(wait["vars"]["gpuspawner_again_named"])
        text = named.render(gpuspawner_again_read={"network": network})
        asked = environment.from_string(wait["ansible.builtin.uri"]["headers"])
        assert literal_eval(asked.render(gpuspawner_again_named=text)) == name


def test_all_that_writes_units_comes_behind_the_copy_that_a_failed_upgrade_puts_back() -> None:
    """Else what is kept is of the new release. But for backups, which are no part of a release."""
    tasks = read(ALL / "gpuspawner" / "tasks" / "activate.yml")
    names = [task["name"] for task in tasks]
    force = tasks[names.index("Bring the release into force")]
    assert names.index("Keep what is there before another release") < names.index(force["name"])
    roles = [
        task["ansible.builtin.import_role"]["name"]
        for task in force["block"]
        if "ansible.builtin.import_role" in task
    ]
    assert roles == ["firewall"]
    writing = [role.name for role in ALL.iterdir() if writes_units(role)]
    assert sorted(writing) == ["backup", "firewall", "gpuspawner"]
    before = [one["role"] for one in read(CHECKOUT / "ansible" / "site.yml")[1]["roles"]]
    assert "firewall" not in before


def writes_units(role: Path) -> bool:
    """Whether a role writes or removes units of ours."""
    places = [
        str(task.get(f"ansible.builtin.{module}", {}))
        for file in (role / "tasks").glob("*.yml")
        for task in flatten(role, read(file))
        for module in ("template", "copy", "file")
    ]
    return any("/etc/systemd/system/gpuspawner-" in place for place in places)


def test_a_unit_that_is_no_longer_wanted_is_ended() -> None:
    units = read(ALL / "gpuspawner" / "vars" / "main.yml")["gpuspawner_units"]
    sometimes = re.findall(r"\(\[\{'name': '(\w+)'", units)
    tasks = {task["name"]: task for task in read(ALL / "gpuspawner" / "tasks" / "configure.yml")}
    looked = tasks["Look for units that are no longer wanted"]["loop"]
    assert set(re.findall(r"'(\w+)'", looked.partition("|")[0])) == set(sometimes)


def test_rules_and_units_that_are_put_back_are_in_force_again() -> None:
    tasks = read(ALL / "gpuspawner" / "tasks" / "back.yml")
    names = [task["name"] for task in tasks]
    again = tasks[names.index("Put them in force")]
    assert names.index("Put back settings and units") < names.index(again["name"])
    asked = again["ansible.builtin.systemd_service"]
    # Not restarted: for a moment there would be none.
    assert asked == {
        "name": "gpuspawner-firewall.service", "state": "reloaded", "enabled": True, "daemon_reload": True,
    }  # fmt: skip
    holds = jinja2.Environment(autoescape=False).compile_expression(again["when"])
    for files, there, done in ((True, True, True), (True, False, False), (False, True, False)):
        stat = {"stat": {"exists": there}}
        assert bool(holds(gpuspawner_back_files=files, gpuspawner_back_rules=stat)) is done
    # One that the newer release took away was also kept from starting at boot.
    started = {task["name"]: task for task in read(ALL / "gpuspawner" / "tasks" / "again.yml")}["Start it"]
    assert started["ansible.builtin.systemd_service"]["enabled"] is True


def render(template: Path, **more: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), trim_blocks=True, undefined=jinja2.StrictUndefined,
        autoescape=False,
    )  # fmt: skip
    name = template.name.partition(".")[0]
    values = {
        "ansible_managed": "Ansible managed", "gpuspawner_plan": PLAN, "gpuspawner_unit_inputs": "abc",
        "gpuspawner_simulated_cards": "2xl40s", "gpuspawner_simulation": "/var/lib/gpuspawner/sim",
        "item": {"name": name, "follows_release": name in ("agent", "hub", "controller")},
    }  # fmt: skip
    return environment.get_template(template.name).render(values | more)


@pytest.mark.parametrize("template", UNITS, ids=lambda path: path.name.partition(".")[0])
def test_each_unit_says_what_it_was_started_with(template: Path) -> None:
    name = template.name.partition(".")[0]
    written = [line for line in render(template).splitlines() if f"/run/gpuspawner-{name}/inputs" in line]
    assert len(written) == 1
    follows = name in ("agent", "hub", "controller")
    assert ("readlink /opt/gpuspawner/current" in written[0]) is follows


@pytest.mark.docker
@pytest.mark.server
def test_systemd_takes_each_unit(server: FreshServer) -> None:
    units = {f"gpuspawner-{template.name.removesuffix('.j2')}": render(template) for template in UNITS}
    for name, text in units.items():
        # As if they were not there yet.
        program = text.replace("/opt/gpuspawner/current/venv/bin/", "/bin/echo ")
        server.write(f"/tmp/units/{name}", program.replace("/opt/gpuspawner/current/node/bin/", "/bin/echo "))
    files = [f"/tmp/units/{name}" for name in units]
    done = server.run("systemd-analyze", "verify", "--man=no", *files)
    assert [line for line in done.stdout.splitlines() if "gpuspawner-" in line] == [], done.stdout
    assert done.returncode == 0, done.stdout


def test_the_agent_may_open_cards() -> None:
    template = next(path for path in UNITS if path.name.startswith("agent."))
    lines = render(template, gpuspawner_simulated_cards="").splitlines()
    assert not [
        line for line in lines if line.startswith(("PrivateDevices=", "DeviceAllow=", "DevicePolicy="))
    ]
    assert [line for line in lines if line.startswith("ProtectClock=")][-1] == "ProtectClock=no"


def test_the_release_that_the_gateway_of_ssh_runs_from_is_kept() -> None:
    template = next(path for path in UNITS if path.name.startswith("ssh."))
    (line,) = [line for line in render(template).splitlines() if "/run/gpuspawner-ssh/release" in line]
    assert line == "ExecStartPre=/bin/sh -c 'readlink /opt/gpuspawner/current >/run/gpuspawner-ssh/release'"
    tasks = {task["name"]: task for task in read(ALL / "gpuspawner" / "tasks" / "prune.yml")}
    asked = tasks["Ask which release the gateway of SSH runs from"]
    assert asked["ansible.builtin.command"] == "cat /run/gpuspawner-ssh/release"
    environment = jinja2.Environment(autoescape=False)
    environment.tests["in"] = lambda one, many: one in many
    prunable = environment.from_string(tasks["Remove the oldest"]["vars"]["gpuspawner_prunable"])
    files = [{"path": f"/opt/gpuspawner/releases/{name}", "mtime": n} for n, name in enumerate("abcd")]
    values = {
        "gpuspawner_releases": {"files": files}, "gpuspawner_release": "/opt/gpuspawner/releases/d",
        "gpuspawner_old": "c", "gpuspawner_proxy_program": {"stat": {}},
    }  # fmt: skip
    for told, left in (
        ({"stdout": "releases/a"}, ["/opt/gpuspawner/releases/b"]),
        ({"stdout": ""}, ["/opt/gpuspawner/releases/b", "/opt/gpuspawner/releases/a"]),
    ):
        assert literal_eval(prunable.render(**values, gpuspawner_gateway_release=told)) == left


@pytest.mark.parametrize(
    ("homes", "hidden"), [("", "yes"), ("/srv/homes", "yes"), ("/home/lab", "read-only"), ("/homes/a", "yes")]
)
def test_the_hub_sees_the_directory_of_homes_and_may_write_there(homes: str, hidden: str) -> None:
    template = next(path for path in UNITS if path.name.startswith("hub."))
    lines = render(template, gpuspawner_plan=PLAN | {"home_directory": homes}).splitlines()
    assert f"ProtectHome={hidden}" in lines
    assert f"ReadWritePaths=/var/lib/gpuspawner {homes}" in lines
    assert ("AmbientCapabilities=CAP_CHOWN" in lines) is bool(homes)


@pytest.mark.parametrize("courses", ["", "/srv/courses"])
def test_the_hub_may_make_folders_of_courses_where_there_are_any(courses: str) -> None:
    template = next(path for path in UNITS if path.name.startswith("hub."))
    lines = render(template, gpuspawner_plan=PLAN | {"course_directory": courses}).splitlines()
    assert f"ReadWritePaths=/var/lib/gpuspawner {courses}" in lines
    assert ("AmbientCapabilities=CAP_CHOWN" in lines) is bool(courses)
    assert [line for line in lines if line.startswith("RestrictSUIDSGID=")][-1].endswith(
        "no" if courses else "yes"
    )
