"""What is checked of our own part: its files, its policy, its ledger, and that its processes work."""

from __future__ import annotations

from collections.abc import Iterator

from gpuspawner.core.placement import STALE_AFTER
from gpuspawner.core.words import describe_duration

from .facts import Facts
from .findings import Finding, Level, unknown


def check_files(facts: Facts) -> Iterator[Finding]:
    """What holds secrets or names is not open to everyone."""
    wrong = [file for file in facts.files if file.mode & 0o007 and not file.behind_closed_directory]
    for file in wrong:
        yield Finding(
            "file-modes",
            Level.ERROR,
            f"{file.path} has mode {file.mode:04o}.",
            "Everyone with a login on this host can use it.",
            f"chmod o-rwx {file.path}",
        )
    if facts.files and not wrong:
        yield Finding("file-modes", Level.OK, f"{len(facts.files)} file(s) are closed to others")


def check_policy(facts: Facts) -> Iterator[Finding]:
    """The policy file is right, where there is one."""
    if facts.policy is None:
        return
    if facts.policy.error:
        yield Finding(
            "policy",
            Level.ERROR,
            facts.policy.error,
            "A hub that runs keeps the policy it has; a hub that starts now stops.",
            "Correct the file, then run: gpuspawner policy check",
        )
    else:
        yield Finding("policy", Level.OK, f"The policy {facts.policy.path} is right.")


def check_ledger(facts: Facts) -> Iterator[Finding]:
    """The ledger can be read and written, and the agent writes it."""
    ledger = facts.ledger
    if ledger is None:
        yield unknown("ledger", "No ledger was named.", "gpuspawner doctor --ledger PATH")
        return
    if ledger.error:
        yield Finding(
            "ledger",
            Level.ERROR,
            ledger.error,
            "Without the ledger no GPU is given out.",
            f"ls -l {ledger.path}; df -h {ledger.path}",
        )
    else:
        yield Finding("ledger", Level.OK, f"The ledger {ledger.path} can be read and written")
    if ledger.last_report is None:
        level = Level.UNKNOWN if ledger.error else Level.ERROR
        what = "The agent has never reported a card of this host."
        if ledger.hosts:
            what += f" The ledger has those of {', '.join(ledger.hosts)}; is one of them meant (--host)?"
    elif facts.now - ledger.last_report > STALE_AFTER:
        level = Level.ERROR
        what = f"The agent last reported {describe_duration(facts.now - ledger.last_report)} ago."
    else:
        yield Finding("agent", Level.OK, "The agent reports")
        return
    yield Finding(
        "agent",
        level,
        what,
        "Without its reports no GPU is given out, and none is freed.",
        f"gpuspawner agent --ledger {ledger.path}" + (f" --host {ledger.host}" if ledger.host else ""),
    )


def check_controller(facts: Facts) -> Iterator[Finding]:
    """Somebody gives turns, where there are people in line."""
    ledger = facts.ledger
    if ledger is None or ledger.error:
        return
    if ledger.controller_runs:
        yield Finding("controller", Level.OK, f"The controller runs; {ledger.in_line} in line")
    elif ledger.in_line and ledger.controller_runs is False:
        yield Finding(
            "controller",
            Level.ERROR,
            f"No controller runs, and {ledger.in_line} in line wait for it.",
            "It gives turns, warns of ends and ends sessions.",
            "gpuspawner controller --settings PATH",
        )
