"""Judging the Docker Engine of a host: good, to be installed, to be started, or not ours to change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from .versions import is_at_least, parse_version

LEAST_ENGINE = (26,)
"""Engine 26 is the first that tells whether CDI is on."""
CDI_BY_DEFAULT = (28, 2)
"""From here on CDI is on unless ``daemon.json`` says otherwise (Docker's release notes)."""
DAEMON_JSON = "/etc/docker/daemon.json"


class Action(Enum):
    """What is to be done about the Engine."""

    NOTHING = "nothing"
    INSTALL = "install"
    START = "start"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What was found on the host."""

    installed: bool
    """Whether there is an Engine (``dockerd``); a client alone is none."""
    running: bool
    """Whether it answers."""
    version: str | None
    """Its version, or None if it does not tell."""
    cdi: bool | None
    """Whether CDI is on, for a running Engine; else None."""
    daemon_json: str | None
    """Text of its configuration file, or None if there is none."""
    systemd: bool
    """Whether systemd runs the machine."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, or why nothing is done."""

    action: Action
    problem: str | None = None
    """What is wrong with an Engine that is not ours to change, with the exact lines that put it right."""


def judge_engine(facts: EngineFacts) -> Verdict:
    """Decide what to do about the Engine."""
    if not facts.installed and not facts.running:
        problem = _advise_cdi(facts) if _needs_cdi_line(facts, version=LEAST_ENGINE) else None
        return Verdict(Action.INSTALL, problem if facts.daemon_json is not None else None)
    version = parse_version(facts.version or "")
    if not is_at_least(version, LEAST_ENGINE):
        return Verdict(Action.NOTHING, _advise_version(facts))
    if facts.running:
        return Verdict(Action.NOTHING, None if facts.cdi else _advise_cdi(facts))
    if _needs_cdi_line(facts, version=version):
        return Verdict(Action.START, _advise_cdi(facts))
    return Verdict(Action.START)


def _needs_cdi_line(facts: EngineFacts, *, version: tuple[int, ...] | None) -> bool:
    """Whether an Engine that starts with this configuration would have CDI off."""
    try:
        settings = json.loads(facts.daemon_json or "{}")
        set_to = settings.get("features", {}).get("cdi")
    except (ValueError, AttributeError):
        return True
    return set_to is not True if set_to is not None else not is_at_least(version, CDI_BY_DEFAULT)


def _advise_version(facts: EngineFacts) -> str:
    version = parse_version(facts.version or "")
    found = f"version {'.'.join(map(str, version))}" if version else "a version that cannot be read"
    return (
        f"The Docker Engine on this machine is {found}; gpuspawner needs 26 or newer, because older ones "
        "cannot give a container one GPU by CDI. It is left as it is.\n"
        "Upgrade it where it came from (Docker's own packages: docker-ce; Debian 13: docker.io), or, if "
        "nobody needs it, remove it and let gpuspawner install one:\n"
        "    apt-get remove docker.io docker-ce\n"
        "Then run the same command again."
    )


def _advise_cdi(facts: EngineFacts) -> str:
    file, restart = merge_cdi(facts.daemon_json), _restart_lines(facts.systemd)
    if file is None:
        return (
            f"{DAEMON_JSON} is not valid JSON, so the Docker Engine cannot start with it. Correct it; it "
            f'must also contain:\n    {{"features": {{"cdi": true}}}}\nThen restart the Engine:\n{restart}'
        )
    text = "".join(f"    {line}\n" for line in file.splitlines())
    return (
        "CDI is off in the Docker Engine on this machine, so no container can be given a GPU. The Engine is "
        f"left as it is, because it may have other users. Make {DAEMON_JSON} read:\n{text}"
        f"then restart the Engine (this stops its containers, unless live-restore is on):\n{restart}"
        "and run the same command again."
    )


def _restart_lines(systemd: bool) -> str:
    if systemd:
        return "    systemctl restart docker\n"
    return (
        '    kill "$(cat /var/run/docker.pid)"; sleep 5\n'
        "    setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &\n"
    )


def merge_cdi(daemon_json: str | None) -> str | None:
    """A configuration file with CDI switched on and everything else kept; None if it is not valid JSON."""
    try:
        settings = json.loads(daemon_json or "{}")
        settings["features"] = {**settings.get("features", {}), "cdi": True}
    except (ValueError, TypeError, AttributeError):
        return None
    return json.dumps(settings, indent=2)
