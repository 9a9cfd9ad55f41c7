"""What a policy says in vain: no error, and worth a look before anybody wonders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gpuspawner.core.policy import DEFAULT, LIMITS, Allowance, Limit, Policy, Rule, resolve_allowance

from .units import describe

_ALONE = "alone"
"""Name of the one group of somebody for whom a rule is tried."""


def find_notes(policy: Policy) -> tuple[str, ...]:
    """Limits and names without an effect, in words.

    Args:
        policy: Checked, on the base of the installation's settings.
    """
    everybody = resolve_allowance(Policy(policy.base, policy.groups), "", ())
    rules = [rule for name, rule in policy.groups.items() if name != DEFAULT]
    # The image of a course is allowed to it without a word of the administrator's.
    rules += [
        Rule(c.rule.name, {k: v for k, v in c.rule.limits.items() if k != "images"}) for c in policy.courses
    ]
    notes: list[str] = []
    for rule in rules:
        alone = resolve_allowance(_only(policy, rule), "", (_ALONE,))
        notes += _find_vain(rule, alone, everybody)
        notes += _find_unreachable(rule, alone)
    return (*notes, *_find_nobody(policy), *_find_alike(policy))


def _find_nobody(policy: Policy) -> Iterator[str]:
    """Names that nobody has at the hub."""
    for name in policy.people:
        if name != name.lower():
            yield (
                f"person `{name}`: nobody is called so, since names are in small letters at the hub. Write "
                f"{name.lower()}."
            )


def _find_alike(policy: Policy) -> Iterator[str]:
    """Courses of the same people with the same image: which one a server is for never goes without saying."""
    found: dict[tuple[str, str], list[str]] = {}
    for course in policy.courses:
        found.setdefault((course.group, course.image), []).append(course.name)
    for (group, image), names in found.items():
        if len(names) > 1:
            yield (
                f"courses {', '.join(names)}: all have the group `{group}` and the image {image}, so that "
                "its people must say at each start for which course it is. Give each course a group, or an "
                "image, of its own."
            )


def _find_vain(rule: Rule, alone: Allowance, everybody: Allowance) -> Iterator[str]:
    for name in LIMITS:
        known: Limit[Any] = getattr(everybody, name)
        if name in rule.limits and getattr(alone, name) == known and rule.limits[name] != known.value:
            shown = "models and pools" if name == "cards" else name
            yield (
                f"{rule.name}: {shown} {describe(name, rule.limits[name])} changes nothing: everybody has "
                f"{describe(name, known.value)} ({known.rule}), and the best of all rules counts."
            )


def _find_unreachable(rule: Rule, alone: Allowance) -> Iterator[str]:
    server, most = alone.gpus_per_server, alone.gpus_per_person
    said = {"gpus_per_server", "gpus_per_person"} & rule.limits.keys()
    if said and most.value is not None and (server.value is None or server.value > most.value):
        yield (
            f"{rule.name}: gpus_per_server {describe('gpus_per_server', server.value)} ({server.rule}) is "
            f"out of reach: gpus_per_person is {most.value} ({most.rule})."
        )


def _only(policy: Policy, rule: Rule) -> Policy:
    groups = {name: one for name, one in policy.groups.items() if name == DEFAULT}
    return replace(policy, groups={**groups, _ALONE: rule}, people={}, courses=())
