"""What stops a deployment before the server is touched, and what goes onto it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpuspawner.core.errors import SettingsError
from gpuspawner.deploy.__main__ import (
    OF_GATEWAY,
    choose_sources,
    first_address,
    known_variables,
    newest,
    plan,
    proxy_version,
    require_layout,
    require_pools,
    ssh_version,
)
from gpuspawner.deploy.plan import Place, complete, make_settings, require_closed, require_known
from gpuspawner.setup.images import list_statuses, load_catalogue
from gpuspawner.setup.paths import CHECKOUT

PLACE = Place(hub_address="10.201.0.1", images={"Minimal": "gpuspawner/minimal:1"}, policy=None)
LOGINS = {"ada": {"password": "long-enough"}}


def write(folder: Path, text: str) -> Path:
    file = folder / "gpuspawner.yml"
    file.write_text(text)
    return file


def wanted(folder: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    return settings, write(folder, yaml.safe_dump({"tls_names": ["hub"], "gpuspawner_settings": settings}))


def test_what_follows_from_the_way_of_installing_is_filled_in(tmp_path: Path) -> None:
    settings, text = make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS})))
    assert yaml.safe_load(text) == {
        "state_dir": "/var/lib/gpuspawner",
        "images": {"Minimal": "gpuspawner/minimal:1"},
        "network": {"docker_network": "gpuspawner", "hub_address": "10.201.0.1"},
        "controller": {"enabled": True},
        "demo_users": LOGINS,
    }
    assert settings.network.hub_address == "10.201.0.1"


def reordered(pair: tuple[dict[str, Any], Path], place: Place = PLACE) -> tuple[dict[str, Any], Place, Path]:
    return pair[0], place, pair[1]


def test_a_section_is_completed_and_images_are_replaced() -> None:
    own = {"network": {"hub_port": 9081}, "images": {"Own": "lab/own:3"}, "controller": {"enabled": False}}
    found = complete(own, PLACE)
    assert found["network"] == {"docker_network": "gpuspawner", "hub_address": "10.201.0.1", "hub_port": 9081}
    assert found["images"] == {"Own": "lab/own:3"}
    assert found["controller"] == {"enabled": False}


def test_the_gateway_of_ssh_has_an_account_of_its_own(tmp_path: Path) -> None:
    ssh = {"demo_users": LOGINS, "ssh": {"enabled": True, "host": "hub.example.org"}}
    settings, _ = make_settings(*reordered(wanted(tmp_path, ssh)))
    assert (settings.ssh.account, settings.ssh.port) == ("gpuspawner-ssh", 2222)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"limits": {"memry": "2G"}}, r"line \d+: limits.memry is not a setting; did you mean 'memory'\?"),
        ({"limits": {"memory": "2 GB"}}, r"limits.memory: .* it is '2 GB'"),
        ({"passports": "/srv/passports"}, r"passports cannot be set here\. They are always in /var/lib"),
        ({"state_dir": "/srv"}, r"state_dir cannot be set here\. It is always /var/lib"),
        ({"network": {"hub_address": "10.0.0.1"}}, r"hub_address cannot be set here\. Set gpuspawner_subnet"),
        ({"ssh": {"enabled": True, "account": "me"}}, r"account cannot be set here\. It is always gpu"),
        ({"ssh": {"enabled": True}}, r"ssh\.host is missing: write the name by which"),
        ({"candidates": ["Minmal"]}, r"no image 'Minmal'; did you mean 'Minimal'"),
        ({}, r"nobody could log in\. Set gpuspawner_settings\.login"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    logins = {"demo_users": LOGINS} if settings else {}
    with pytest.raises(SettingsError, match=says):
        make_settings(*reordered(wanted(tmp_path, logins | settings)))


def test_the_line_is_that_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "tls_names: [hub]\ngpuspawner_settings:\n  limits:\n    gpus_per_sever: 2\n")
    with pytest.raises(SettingsError, match=r"gpuspawner.yml, line 4: limits.gpus_per_sever"):
        make_settings({"limits": {"gpus_per_sever": 2}}, PLACE, file)


def test_a_password_is_in_no_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(*reordered(wanted(tmp_path, {"demo_users": {"ada": {"password": "short"}}})))
    assert "short" not in str(caught.value)


def test_a_file_that_chooses_an_authenticator_is_a_login(tmp_path: Path) -> None:
    place = Place("10.201.0.1", PLACE.images, None, extensions=["10-login.py"])
    assert make_settings(*reordered(wanted(tmp_path, {}), place))


def test_a_broken_policy_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("groups:\n  default:\n    gpus_per_persn: 2\n")
    place = Place("10.201.0.1", PLACE.images, policy)
    with pytest.raises(SettingsError, match=r"policy.yml, line 3: groups.default.gpus_per_persn"):
        make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS}), place))


def test_an_unknown_variable_is_refused_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, "tls_names: [hub]\ntls_certifcate: internal\n")
    known = known_variables(CHECKOUT / "ansible" / "roles")
    with pytest.raises(SettingsError, match=r"line 2: tls_certifcate is not .*mean 'tls_certificate'"):
        require_known(["tls_names", "tls_certifcate"], known, file)
    require_known(["tls_names", "docker_allow_restart", "gpuspawner_settings"], known, file)


def test_a_vaulted_value_does_not_hide_the_lines(tmp_path: Path) -> None:
    file = write(tmp_path, "a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\ntls_nmes: [hub]\n")
    with pytest.raises(SettingsError, match="line 4: tls_nmes"):
        require_known(["tls_nmes"], ["tls_names"], file)


@pytest.mark.parametrize(
    "directory", ["homes", "../homes", "/srv", "/", "/srv/../etc", "/srv/our homes", "/srv/%h"]
)
def test_homes_are_directories_at_a_place_that_is_named_in_full(tmp_path: Path, directory: str) -> None:
    homes = {"kind": "bind", "directory": directory}
    with pytest.raises(SettingsError, match=r"line \d+: homes.directory: .* such as /srv/homes"):
        make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS, "homes": homes})))
    with pytest.raises(SettingsError, match=r"homes.* such as /srv/homes"):
        make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS, "homes": {"kind": "bind"}})))


@pytest.mark.parametrize("directory", ["/srv/homes", "/home/lab/.homes", "/data/..homes"])
def test_homes_that_are_named_in_full(tmp_path: Path, directory: str) -> None:
    homes = {"kind": "bind", "directory": directory}
    settings, _ = make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS, "homes": homes})))
    assert str(settings.homes.directory) == directory


@pytest.mark.parametrize("subnet", ["10.89.0.0/30", "8.8.8.0/24", "10.89.0.1/22", "lab", "", "fe80::/129"])
def test_a_subnet_that_will_not_do(subnet: str) -> None:
    with pytest.raises(SettingsError, match="gpuspawner_subnet is"):
        first_address(subnet)


@pytest.mark.parametrize("layout", ["2xa10", "two", "100xa100-40gb"])
def test_cards_that_cannot_be_simulated(layout: str) -> None:
    with pytest.raises(SettingsError, match=r"^gpuspawner_simulated_cards: "):
        require_layout(layout)
    require_layout("")


def test_the_newest_driver_counts() -> None:
    assert newest(["525.60.13", "580.65.06", "90.1"]) == "580.65.06"
    assert newest([]) == ""


def test_the_hub_has_the_first_address() -> None:
    assert first_address("10.201.0.0/22") == "10.201.0.1"


@pytest.mark.parametrize("inventory", ["simulated", "cards"])
def test_the_inventories_can_be_installed(tmp_path: Path, inventory: str) -> None:
    example = CHECKOUT / "ansible" / "inventory" / inventory
    file = write(tmp_path, (example / "gpuspawner.yml").read_text())
    file.chmod(0o600)
    (tmp_path / "policy.yml").write_text((example / "policy.yml").read_text())
    written = yaml.safe_load(file.read_text())
    for user in written["gpuspawner_settings"].get("demo_users", {}).values():
        user["password"] = "filled-in-by-ansible"
    request = {
        "file": str(file),
        "names": list(written),
        "settings": written["gpuspawner_settings"],
        "images": ["minimal", "pytorch-2.9"],
        "subnet": "10.201.0.0/22",
        "archives": str(tmp_path),
    }
    answer = plan(request, CHECKOUT)
    assert (tmp_path / f"{answer['release']}.tar.gz").is_file()
    assert answer["hub_url"] == "http://10.201.0.1:8081/hub"
    assert answer["proxy"] == "127.0.0.1:8000"
    assert answer["controller"] == 8082
    assert answer["minimum_driver"] == "525.60.13"
    made = yaml.safe_load(answer["settings"])
    assert list(made["images"]) == ["JupyterLab", "PyTorch 2.9"]
    catalogue = load_catalogue(CHECKOUT / "images" / "images.toml")
    offered = [one for one in catalogue if one.title in made["images"]]
    assert (made.get("candidates", []), made.get("frozen", {})) == tuple(list_statuses(offered).values())
    assert answer["passports"] == {
        one.name: {"reference": one.reference, "lock_hash": one.lock_hash} for one in offered
    }
    assert (answer["pulled"], answer["built"]) == ([], ["minimal", "pytorch-2.9"])
    assert answer["room"] == 24, "its parents and what pip keeps count, as docs/variables.md says"
    assert list(answer["passports"]) == ["minimal", "pytorch-2.9"]
    assert answer["policy"] == str(tmp_path / "policy.yml")


@pytest.mark.parametrize(
    ("text", "mode", "closed"),
    [
        ("gpuspawner_secrets: {login_secret: abc}\n", 0o644, False),
        ("gpuspawner_secrets: {login_secret: abc}\n", 0o640, False),
        ("gpuspawner_secrets: {login_secret: abc}\n", 0o600, True),
        (
            "gpuspawner_secrets:\n  login_secret: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    31\n",
            0o644,
            True,
        ),
        ("gpuspawner_secrets: {a: \"{{ lookup('ansible.builtin.file', 'a') }}\", b: 1}\n", 0o644, False),
        ("gpuspawner_secrets: {a: \"{{ lookup('ansible.builtin.file', 'a') }}\"}\n", 0o644, True),
        ('gpuspawner_secrets: "{{ all_of_them }}"\n', 0o644, True),
        ("tls_names: [hub]\n", 0o644, True),
        ("backup_password: abc\n", 0o644, False),
        ("backup_password: abc\n", 0o600, True),
        ("backup_password: \"{{ lookup('ansible.builtin.file', 'a') }}\"\n", 0o644, True),
        ("backup_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  31\n", 0o644, True),
        ("backup_password: ''\nbackup_environment: {}\n", 0o644, True),
        ("backup_environment: {AWS_SECRET_ACCESS_KEY: abc}\n", 0o644, False),
    ],
)
def test_a_secret_that_everybody_can_read_is_refused(
    tmp_path: Path, text: str, mode: int, closed: bool
) -> None:
    file = write(tmp_path, text)
    file.chmod(mode)
    if closed:
        require_closed(file)
        return
    with pytest.raises(
        SettingsError, match=r"line 1: (gpuspawner_secrets\.|backup_)[\w.]+ is written .* chmod 600 "
    ) as caught:
        require_closed(file)
    assert "abc" not in str(caught.value)


def test_a_file_that_is_encrypted_as_a_whole_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "$ANSIBLE_VAULT;1.1;AES256\n3132\n")
    with pytest.raises(SettingsError, match=r"encrypted as a whole.*encrypt_string"):
        require_known(["tls_nmes"], ["tls_names"], file)


@pytest.mark.parametrize(
    ("pool", "right"),
    [
        ({"base": "10.200.0.0/16", "size": 24}, True),
        ({"base": "10.200.0.0/16", "size": 8}, False),
        ({"base": "10.200.0.1/16", "size": 24}, False),
        ({"base": "campus", "size": 24}, False),
        ({"base": "10.200.0.0/16"}, False),
        ({"base": "10.200.0.0/16", "size": "24"}, False),
        ({"base": "10.200.0.0/16", "size": 24, "more": 1}, False),
        ("10.200.0.0/16", False),
        (None, False),
    ],
)
def test_networks_of_the_engine(pool: Any, right: bool) -> None:
    if right:
        require_pools([pool])
        return
    with pytest.raises(SettingsError, match=r"docker_address_pools has .* such as"):
        require_pools([pool])


def test_what_has_a_digest_is_pulled_and_the_rest_is_built(tmp_path: Path) -> None:
    entries = [one for one in load_catalogue() if one.name in ("minimal", "science")]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "digests.toml").write_text(f'"{entries[0].reference}" = "sha256:{"5" * 64}"\n')
    asked = {"registry": "registry.example.org/lab", "build": True}
    assert choose_sources(asked, entries, tmp_path) == (["minimal"], ["science"])
    assert choose_sources({}, entries, tmp_path) == ([], ["minimal", "science"])
    assert choose_sources({"build": False}, entries, tmp_path) == ([], [])
    assert choose_sources(asked | {"build": False}, entries[:1], tmp_path) == (["minimal"], [])
    with pytest.raises(
        SettingsError, match=r"images_registry is registry.*no digest of science.*images_build"
    ):
        choose_sources(asked | {"build": False}, entries, tmp_path)
    with pytest.raises(SettingsError, match="images_registry: "):
        choose_sources(asked | {"registry": "https://registry.example.org"}, entries, tmp_path)


def test_names_of_peoples_own_are_below_the_hubs(tmp_path: Path) -> None:
    place = Place("10.201.0.1", PLACE.images, None, subdomain_host="https://hub.example.org")
    settings, _ = make_settings(*reordered(wanted(tmp_path, {"demo_users": LOGINS}), place))
    assert settings.network.subdomain_host == "https://hub.example.org"


def test_the_command_answers_errors_in_a_sentence(tmp_path: Path) -> None:
    file = write(tmp_path, "gpuspawner_setings: {}\n")
    request = {"file": str(file), "names": ["gpuspawner_setings"], "settings": {}}
    done = subprocess.run(
        [sys.executable, "-m", "gpuspawner.deploy", str(CHECKOUT)],
        input=json.dumps(request), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().endswith("did you mean 'gpuspawner_settings'?")


def test_the_proxy_has_another_version_only_when_it_is_another() -> None:
    assert proxy_version(CHECKOUT) == proxy_version(CHECKOUT)
    assert len(proxy_version(CHECKOUT)) == 12


def test_the_gateway_of_ssh_has_another_version_when_what_it_goes_on_with_is_another(tmp_path: Path) -> None:
    copy, package = tmp_path / "copy", Path("spawner") / "gpuspawner"
    for name in ("gateway", "core", "adapters", "policy"):
        shutil.copytree(CHECKOUT / package / name, copy / package / name)
    version = ssh_version(CHECKOUT)
    assert ssh_version(copy) == version
    (copy / package / "policy" / "settings.py").write_text("")
    assert ssh_version(copy) == version
    for name in ("gateway/relay.py", "core/ssh.py", "gateway/another.py"):
        (copy / package / name).write_text("# changed")
        assert ssh_version(copy) != version
        version = ssh_version(copy)


AT_ITS_START = {
    "adapters.process", "adapters.runlock", "policy.settings", "core.errors", "core.keys", "core.policy",
    "core.words",
}  # fmt: skip
"""What the gateway uses to start, or that only names errors and sentences."""


def test_the_version_of_the_gateway_of_ssh_is_that_of_all_that_it_uses() -> None:
    package = CHECKOUT / "spawner" / "gpuspawner"
    files = [*(package / "gateway").glob("*.py"), *(package / name for name in OF_GATEWAY)]
    used = set()
    for file in files:
        folder = file.parent.name
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level and folder != "gateway":
                used.add(f"{folder}.{node.module}")
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("gpuspawner."):
                used.add(str(node.module).removeprefix("gpuspawner."))
    named = {name.removesuffix(".py").replace("/", ".") for name in OF_GATEWAY}
    assert used <= named | AT_ITS_START
    assert used >= named
