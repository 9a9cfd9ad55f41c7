"""The settings file: a wrong one names file, line, key and what is right."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.settings import Limits, load_settings

GOOD = """\
state_dir: /srv/gpuspawner
images:
  base: demo/base:1
  torch: demo/torch:1
limits:
  gpus_per_server: 2
network:
  hub_port: 9081
demo_users:
  ada:
    password: secret-1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gpuspawner.yml"


def refusal(file: Path, text: str | bytes) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    message = str(caught.value)
    assert str(file) in message
    return message.replace(str(file), "FILE")


def test_good(file: Path) -> None:
    file.write_text(GOOD)
    settings = load_settings(file)
    assert settings.images == {"base": "demo/base:1", "torch": "demo/torch:1"}
    assert settings.limits == Limits(gpus_per_server=2)
    assert settings.network.hub_port == 9081
    assert settings.ledger_path == Path("/srv/gpuspawner/ledger.sqlite")
    assert settings.demo_users["ada"].password == "secret-1"


def test_ledger_elsewhere(file: Path) -> None:
    file.write_text(GOOD + "ledger: /var/lib/ledger.sqlite\n")
    assert load_settings(file).ledger_path == Path("/var/lib/ledger.sqlite")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("limits:", "limit:", "FILE, line 5: limit is not a setting; did you mean 'limits'?"),
        (
            "gpus_per_server",
            "gpu_per_server",
            "FILE, line 6: limits.gpu_per_server is not a setting; did you mean 'gpus_per_server'?",
        ),
        (
            "password",
            "passwort",
            "FILE, line 11: demo_users.ada.passwort is not a setting; did you mean 'password'?",
        ),
        (
            "password: secret-1",
            "{password: secret-1, admins: true}",
            "FILE, line 11: demo_users.ada.admins is not a setting; did you mean 'admin'?",
        ),
        (
            "hub_port: 9081",
            "zzz: 1",
            "FILE, line 8: network.zzz is not a setting; known keys are: bind_url, proxy_api_url, "
            "docker_network, hub_address, hub_port, subdomain_host.",
        ),
        (
            "    password: secret-1",
            "    admin: false",
            "FILE, line 10: demo_users.ada.password is missing. Add it.",
        ),
        ("state_dir: /srv/gpuspawner\n", "", "FILE, line 1: state_dir is missing. Add it."),
        (
            "gpus_per_server: 2",
            "gpus_per_server: -1",
            "FILE, line 6: limits.gpus_per_server: Input should be greater than or equal to 0; it is '-1'.",
        ),
        (
            "gpus_per_server: 2",
            "gpus_per_server: many",
            "FILE, line 6: limits.gpus_per_server: Input should be a valid integer",
        ),
        ("gpus_per_server: 2", "memory: 8 GB", "FILE, line 6: limits.memory: String should match pattern"),
        ("gpus_per_server: 2", "shm: '64'", "FILE, line 6: limits.shm: String should match pattern"),
        ("gpus_per_server: 2", "cpus: 0", "FILE, line 6: limits.cpus: Input should be greater than 0"),
        ("gpus_per_server: 2", "pids: 1", "FILE, line 6: limits.pids: Input should be greater than or equal"),
        ("hub_port: 9081", "hub_port: 70000", "FILE, line 8: network.hub_port: Input should be less than"),
        ("limits:\n  gpus_per_server: 2", "limits: 4", "FILE, line 5: limits: Input should be a valid dict"),
        (
            "images:\n  base: demo/base:1\n  torch: demo/torch:1",
            "images: {}",
            "FILE, line 2: images: Dictionary should have at least 1 item",
        ),
        ("base: demo/base:1", "base: 1", "FILE, line 3: images.base: Input should be a valid string"),
        (
            "demo_users:",
            "container_prefix: Big\ndemo_users:",
            "FILE, line 9: container_prefix: String should match pattern",
        ),
        ("demo_users:", "start_timeout: 5\ndemo_users:", "FILE, line 9: start_timeout: Input should be"),
        (
            "demo_users:",
            "homes: {kind: nfs}\ndemo_users:",
            "FILE, line 9: homes.kind: Input should be 'volume'",
        ),
        ("secret-1", "short", "FILE, line 11: demo_users.ada.password: String should have at least 8"),
        ("network:", "limits:", "FILE, line 7: limits is there twice. Remove one."),
        ("  torch:", "  base:", "FILE, line 4: base is there twice. Remove one."),
    ],
)
def test_wrong(file: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) == 1
    message = refusal(file, GOOD.replace(old, new))
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "The settings file FILE is not YAML: while parsing"),
        ("a: 1\n\tb: 2", "is not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 2", "is not YAML: expected a single document"),
        ("a: 2030-13-45", "is not YAML"),
        ("", "The settings file FILE must hold keys and values."),
        ("- a", "must hold keys and values"),
        ("a", "must hold keys and values"),
        (b"\xff\xfe\x00", "The settings file FILE is not text in UTF-8."),
    ],
    ids=repr,
)
def test_no_settings(file: Path, text: str | bytes, says: str) -> None:
    message = refusal(file, text)
    assert says in message
    assert "\n" not in message


def test_missing_file(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"gpuspawner.yml cannot be read: No such file"):
        load_settings(file)


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ("ada: {password: hunter2}", "demo_users.ada.password: String should have at least 8 characters."),
        ("ada: {password: [hunter2]}", "demo_users.ada.password: Input should be a valid string."),
        ("ada: {passwort: hunter2}", "demo_users.ada.passwort is not a setting; did you mean 'password'?"),
        ("ada: hunter2", "demo_users.ada: Input should be a valid dictionary or instance of DemoUser."),
        ("[hunter2]", "demo_users: Input should be a valid dictionary."),
        ("{ada: {password: hunter2}", "is not YAML"),
    ],
)
def test_no_message_shows_a_password(file: Path, login: str, says: str) -> None:
    message = refusal(file, f"state_dir: /srv\nimages: {{base: demo/base:1}}\ndemo_users:\n  {login}\n")
    assert says in message
    assert "hunter2" not in message


def test_where_the_passports_are(tmp_path: Path) -> None:
    path = tmp_path / "gpuspawner.yml"
    path.write_text("state_dir: /s\nimages: {Base: demo/base:1}\n")
    assert load_settings(path).passports_path == Path("/s/passports")
    path.write_text("state_dir: /s\nimages: {Base: demo/base:1}\npassports: /p\n")
    assert load_settings(path).passports_path == Path("/p")


def test_images_on_trial_and_until_a_day_must_be_there(file: Path) -> None:
    file.write_text(GOOD + "candidates: [torch]\nfrozen: {base: 2027-07-31}\n")
    settings = load_settings(file)
    assert (settings.candidates, settings.frozen) == (["torch"], {"base": date(2027, 7, 31)})
    assert "candidates.tork: there is no image 'tork'; did you mean 'torch'?" in refusal(
        file, GOOD + "candidates: [tork]\n"
    )
    assert "frozen.bas: there is no image 'bas'; did you mean 'base'?" in refusal(
        file, GOOD + "frozen: {bas: 2027-07-31}\n"
    )
    assert "frozen.base" in refusal(file, GOOD + "frozen: {base: soon}\n")
