"""From what the administrator wrote to the files of the server, checked before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import Settings, require_images
from gpuspawner.policy.yamlfile import YamlFile, suggest

SETTINGS_VARIABLE = "gpuspawner_settings"
"""The variable that holds what goes into the hub's own settings file."""
SECRETS_VARIABLES = frozenset({"gpuspawner_secrets", "backup_password", "backup_environment"})
"""The variables that are, or hold, texts that nobody else may read."""
VAULT = "!vault"
STATE_DIR = "/var/lib/gpuspawner"
CONFIG_DIR = "/etc/gpuspawner"
NETWORK = "gpuspawner"
SSH_ACCOUNT = "gpuspawner-ssh"
HOMES = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._-]+){2,}")
"""Where homes may be: it is given to the services, and stands in a unit of systemd."""
GIVEN = {
    ("state_dir",): "It is always /var/lib/gpuspawner: the services may write nowhere else",
    ("ledger",): "It is always in /var/lib/gpuspawner: the services may write nowhere else",
    ("passports",): "They are always in /var/lib/gpuspawner: the services may write nowhere else",
    ("policy",): "Write the policy into policy.yml beside this file",
    ("network", "hub_address"): "Set gpuspawner_subnet: its first address is the hub's",
    ("network", "docker_network"): "It is always called gpuspawner",
    ("network", "subdomain_host"): "Set tls_subdomains: the first of tls_names is the hub's",
    ("network", "bind_url"): "Browsers come through TLS: set tls_names",
    ("controller", "token_file"): "It is always in /var/lib/gpuspawner",
    ("ssh", "account"): "It is always gpuspawner-ssh, which is made for it",
    ("ssh", "folder"): "It is always in /var/lib/gpuspawner",
}
"""Settings that follow from the way of installing, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the settings of a server follow from."""

    hub_address: str
    """The hub's address in the servers' network."""
    images: Mapping[str, str]
    """Title of each image of the release that is to be offered → its reference."""
    policy: Path | None
    """The policy file on this machine; None if there is none."""
    statuses: Mapping[str, Any] = field(default_factory=dict)
    """The settings that say which images are candidates or frozen."""
    extensions: Collection[str] = ()
    """Names of the files that go into ``jupyterhub_config.d``."""
    subdomain_host: str = ""
    """Where browsers find the hub, if each person's servers are at a name of their own below that one."""


def require_known(variables: Collection[str], known: Collection[str], file: Path) -> None:
    """Check that each variable of the file is one that some role reads.

    Raises:
        SettingsError: One is not; with its line and the nearest that is.
    """
    for name in variables:
        if name not in known:
            fix = suggest(name, sorted(known), "they are")
            raise _locate(file, {}).error([name], f" is not a variable of any role; {fix}")


def require_closed(file: Path) -> None:
    """Check that nobody else can read the secrets in the file: it is closed, or they are encrypted.

    Raises:
        SettingsError: One is readable, with its line and the fix.
    """
    if not file.stat().st_mode & 0o077:
        return
    whole = _locate(file, {})
    for key, node in whole.node.value:
        if key.value not in SECRETS_VARIABLES:
            continue
        named = [(name.value, one) for name, one in node.value] if isinstance(node, yaml.MappingNode) else []
        for names, secret in [([key.value, name], one) for name, one in named] or [([key.value], node)]:
            # What is looked up elsewhere is not in this file.
            if secret.value and secret.tag != VAULT and "{{" not in str(secret.value):
                raise whole.error(
                    names,
                    f" is written there for everybody to read. Encrypt it by ansible-vault encrypt_string "
                    f"(docs/install.md); or close the file: chmod 600 {file}",
                )


def make_settings(wanted: Mapping[str, Any], place: Place, file: Path) -> tuple[Settings, str]:
    """The server's settings, and the text of their file.

    Args:
        wanted: What the administrator set, with all templates filled in.
        place: What follows from the way of installing.
        file: Where they wrote it, for messages.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    written = _find_settings(file, wanted)
    for keys, instead in GIVEN.items():
        if _has(wanted, keys):
            raise written.error(keys, f" cannot be set here. {instead}.")
    data = complete(wanted, place)
    settings = YamlFile(written.path, written.kind, written.word, written.node, data).check(Settings)
    require_images(settings, written)
    if settings.homes.kind == "bind" and not HOMES.fullmatch(str(settings.homes.directory)):
        raise written.error(
            ["homes", "directory"],
            f": {str(settings.homes.directory)!r} is no directory for homes on a server. "
            "Write an absolute path of two names or more, of letters, digits and . _ - alone, "
            "such as /srv/homes",
        )
    if settings.courses.directory and not HOMES.fullmatch(str(settings.courses.directory)):
        raise written.error(
            ["courses", "directory"],
            f": {str(settings.courses.directory)!r} is no directory for courses on a server. "
            "Write an absolute path of two names or more, of letters, digits and . _ - alone, "
            "such as /srv/courses",
        )
    if settings.ssh.enabled and not (settings.ssh.host or settings.notices.hub):
        raise written.error(
            ["ssh"], ".host is missing: write the name by which people's own programs find this server"
        )
    if place.policy is not None:
        load_policy(place.policy, images=settings.images, places=settings.places)
    if not (settings.login or settings.demo_users or place.extensions):
        raise SettingsError(
            f"{file}: nobody could log in. Set {SETTINGS_VARIABLE}.login (docs/login.md); or, to try things "
            f"out, {SETTINGS_VARIABLE}.demo_users; or put a file that sets c.JupyterHub.authenticator_class "
            f"into {file.with_name('jupyterhub_config.d')}/."
        )
    return settings, yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def complete(wanted: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The settings with what follows from the way of installing."""
    network = {"docker_network": NETWORK, "hub_address": place.hub_address}
    if place.subdomain_host:
        network["subdomain_host"] = place.subdomain_host
    given: dict[str, Any] = {
        "state_dir": STATE_DIR,
        "images": dict(place.images),
        "network": network,
        "controller": {"enabled": True},
    }
    if "ssh" in wanted:
        given["ssh"] = {"account": SSH_ACCOUNT}
    if "images" not in wanted:
        given |= {key: value for key, value in place.statuses.items() if value}
    if place.policy is not None:
        given["policy"] = f"{CONFIG_DIR}/policy.yml"
    for key, value in wanted.items():
        both = isinstance(value, Mapping) and isinstance(given.get(key), dict) and key != "images"
        given[key] = {**given[key], **value} if both else value
    return given


def _find_settings(file: Path, wanted: Mapping[str, Any]) -> YamlFile:
    """The settings where they stand in the file, for messages with lines."""
    whole = _locate(file, wanted)
    node = next((value for key, value in whole.node.value if key.value == SETTINGS_VARIABLE), whole.node)
    return replace(whole, node=node)


def _locate(file: Path, data: Mapping[str, Any]) -> YamlFile:
    """Where the keys of a file are. Ansible has read it; what is encrypted in it does not matter here."""
    text = file.read_text(encoding="utf-8")
    if text.startswith("$ANSIBLE_VAULT"):
        raise SettingsError(
            f"The file {file} is encrypted as a whole, so that no line of it can be named. Decrypt it, and "
            "encrypt single values: ansible-vault encrypt_string (docs/install.md)."
        )
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"The file {file} must hold keys and values.")
    return YamlFile(file, "settings", "a setting", node, dict(data))


def _has(data: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True
