"""The section ``login`` of the settings file, and what becomes of it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpuspawner import hubconfig
from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.settings import load_settings
from traitlets.config import Config

LOGIN: dict[str, Any] = {
    "provider": "oidc",
    "issuer": "https://login.example.org/realms/lab/",
    "client_id": "hub",
    "client_secret_file": "secret",
    "allow": {"groups": ["gpu"]},
}


def load(folder: Path, login: Any, **more: Any) -> Any:
    path = folder / "gpuspawner.yml"
    data = {"state_dir": str(folder), "images": {"a": "a:1"}, **more, "login": login}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_settings(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"allow": None}, "allow: Input should be"),
        ({"allow": {}}, "nobody is allowed to log in. Under allow, name groups or users"),
        ({"allow": {"everybody": False, "groups": []}}, "nobody is allowed"),
        ({"allow": {"group": ["a"]}}, "login.allow.group is not a setting; did you mean 'groups'?"),
        ({"allow": {"domains": ["a.org"]}}, "allow.domains is for the provider google only"),
        ({"allow": {"idps": ["a"]}}, "allow.idps is for the provider cilogon only"),
        ({"provider": "github", "issuer": None, "allow": {"everybody": True}}, "everybody is too many"),
        ({"provider": "google", "issuer": None, "allow": {"everybody": True}}, "everybody is too many"),
        ({"provider": "cilogon", "issuer": None}, "at CILogon any institution may claim any name"),
        ({"provider": "keycloak"}, "login.provider: Input should be 'oidc'"),
        ({"issuer": None}, "issuer is missing"),
        ({"issuer": "http://login.example.org"}, "issuer must begin with https://"),
        ({"issuer": "login.example.org"}, "issuer must begin with https://"),
        (
            {"callback_url": "http://hub.example.org/hub/oauth_callback"},
            "callback_url must begin with https://",
        ),
        ({"client_id": ""}, "login.client_id: String should have at least 1"),
        ({"stay": "100 d"}, "login.stay: Input should be less than or equal to 14 d"),
        ({"client_secret": "s"}, "login.client_secret is not a setting; did you mean 'client_secret_file'?"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, {**LOGIN, **change})
    assert message in str(error.value)
    assert ", line " in str(error.value)


PLATFORM: dict[str, Any] = {
    "issuer": "https://moodle.example.org",
    "client_id": "hub",
    "authorization_url": "https://moodle.example.org/mod/lti/auth.php",
    "keys_url": "https://moodle.example.org/mod/lti/certs.php",
    "deployments": {"1": {"42": "cs231"}},
}


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({"provider": "local"}, "nobody is allowed to log in. Under allow, name groups or users"),
        ({"provider": "lti", "platforms": [PLATFORM]}, "nobody is allowed to log in"),
        ({"provider": "lti", "allow": {"everybody": True}}, "platforms is missing: the course platforms"),
        ({**LOGIN, "provider": "local", "issuer": None}, "says nothing with the provider local; remove it"),
        ({"provider": "local", "platforms": [PLATFORM]}, "platforms says nothing with the provider local"),
        ({**LOGIN, "client_id": None}, "client_id is missing: what the service knows this hub as"),
        ({**LOGIN, "client_secret_file": None}, "client_secret_file is missing: a file with the secret"),
        ({**LOGIN, "platforms": [PLATFORM]}, "platforms says nothing with the provider oidc; remove it"),
    ],
)
def test_what_each_way_needs(tmp_path: Path, login: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, login)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"issuer": "http://moodle.example.org"}, "issuer must begin with https://"),
        ({"keys_url": "ftp://moodle.example.org/x"}, "keys_url must begin with https://"),
        ({"deployments": {}}, "login.platforms.0.deployments: Dictionary should have at least 1"),
        ({"deployments": {"1": {"42": "a/b"}}}, "String should match pattern"),
        ({"deployments": {"1": {"42": "a:teachers"}}}, "String should match pattern"),
        ({"jwks_url": "https://x"}, "jwks_url is not a setting"),
    ],
)
def test_platforms_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    login = {"provider": "lti", "allow": {"everybody": True}, "platforms": [{**PLATFORM, **change}]}
    with pytest.raises(SettingsError) as error:
        load(tmp_path, login)
    assert message in str(error.value)


def test_a_platform_twice(tmp_path: Path) -> None:
    login = {"provider": "lti", "allow": {"everybody": True}, "platforms": [PLATFORM, PLATFORM]}
    with pytest.raises(SettingsError, match="twice; put its deployments together"):
        load(tmp_path, login)


@pytest.mark.parametrize("rule", ["allow", "admins"])
@pytest.mark.parametrize("claim", [None, "email", "custom_login", "Sub"])
def test_at_a_platform_nobody_is_named_by_what_can_be_changed(
    tmp_path: Path, rule: str, claim: str | None
) -> None:
    login: dict[str, Any] = {
        "provider": "lti",
        "platforms": [PLATFORM],
        "allow": {"groups": ["course:cs231"]},
    }
    login[rule] = {**login.get(rule, {}), "users": ["root@example.org"]}
    if claim:
        login["username_claim"] = claim
    with pytest.raises(SettingsError, match=f"{rule}.users names people by what they are called"):
        load(tmp_path, login)
    login["username_claim"] = "sub"
    assert load(tmp_path, login)
    login["platforms"] = [PLATFORM, {**PLATFORM, "issuer": "https://canvas.example.org"}]
    with pytest.raises(SettingsError, match="somebody else may have at another"):
        load(tmp_path, login)


def test_what_the_hub_is_told_of_platforms(tmp_path: Path) -> None:
    login = {"provider": "lti", "allow": {"everybody": True}, "platforms": [PLATFORM]}
    config = Config()
    hubconfig.apply(config, load(tmp_path, login))
    hubconfig.require_login(config)
    assert config.JupyterHub.authenticator_class == "gpuspawner.login.lti.LtiLogin"
    assert config.LtiLogin.platforms[0]["deployments"] == {"1": {"42": "cs231"}}
    assert config.LtiLogin.enable_auth_state is True


CANVAS = {**PLATFORM, "issuer": "https://canvas.example.org", "client_id": "7"}


@pytest.mark.parametrize(
    ("login", "services"),
    [
        (LOGIN, {"https://login.example.org/realms/lab"}),
        (
            {"provider": "lti", "allow": {"everybody": True}, "platforms": [PLATFORM, CANVAS]},
            {"https://moodle.example.org", "https://canvas.example.org"},
        ),
        ({"provider": "local", "allow": {"groups": ["ml"]}}, {"local"}),
    ],
)
def test_the_services_whose_subjects_rosters_may_name(
    tmp_path: Path, login: dict[str, Any], services: set[str]
) -> None:
    """The pages, which take rosters, and the login, which looks into them, mean the same."""
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    secrets = {"client_secret_file": str(secret)} if "client_secret_file" in login else {}
    settings = load(tmp_path, {**login, **secrets})
    assert settings.login.services == services
    config = Config()
    hubconfig.apply(config, settings)
    module, _, name = config.JupyterHub.authenticator_class.rpartition(".")
    made = getattr(import_module(module), name)(config=config)
    assert made.services == services


def test_accounts_here(tmp_path: Path) -> None:
    config = Config()
    hubconfig.apply(config, load(tmp_path, {"provider": "local", "allow": {"groups": ["ml"]}, "stay": "1 h"}))
    assert config.JupyterHub.authenticator_class == "gpuspawner.login.local.LocalLogin"
    assert config.JupyterHub.cookie_max_age_days == 1 / 24
    assert config.LocalLogin.everybody is False
    assert config.LocalLogin.enable_auth_state is True


def test_a_service_of_ones_own_may_let_everybody_in(tmp_path: Path) -> None:
    login = {**LOGIN, "provider": "github", "issuer": "https://git.example.org", "allow": {"everybody": True}}
    assert load(tmp_path, login).login.allow.everybody


def test_not_beside_the_demo(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both login and demo_users"):
        load(tmp_path, LOGIN, demo_users={"ada": {"password": "secret-1"}})


@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [(0o644, "s", "chmod 600"), (0o600, " \n", "is empty"), (None, "", "cannot be read: No such file")],
)
def test_the_secret_must_be_one(tmp_path: Path, mode: int | None, text: str, message: str) -> None:
    secret = tmp_path / "secret"
    if mode is not None:
        secret.write_text(text)
        secret.chmod(mode)
    settings = load(tmp_path, {**LOGIN, "client_secret_file": str(secret)})
    with pytest.raises(SettingsError, match=message):
        hubconfig.apply(Config(), settings)


def test_what_the_hub_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s\n")
    secret.chmod(0o600)
    config = Config()
    hubconfig.apply(config, load(tmp_path, {**LOGIN, "client_secret_file": str(secret), "stay": "6 h"}))
    hubconfig.require_login(config)
    assert config.JupyterHub.authenticator_class == "gpuspawner.login.oidc.OidcLogin"
    assert config.JupyterHub.cookie_max_age_days == 0.25
    assert config.JupyterHub.tornado_settings["cookie_options"] == {"expires_days": 0.25}
    assert config.OidcLogin.enable_auth_state is True
    assert [len(key) for key in config.CryptKeeper["keys"]] == [32]
    assert config.OidcLogin.provider == "https://login.example.org/realms/lab"
    assert (tmp_path / "auth_state_key").stat().st_mode & 0o777 == 0o600


def test_a_hub_that_nobody_is_allowed_into_does_not_start() -> None:
    config = Config()
    with pytest.raises(SettingsError, match="Nobody is allowed to log in"):
        hubconfig.require_login(config)
    config.JupyterHub.authenticator_class = "dummy"
    hubconfig.require_login(config)
