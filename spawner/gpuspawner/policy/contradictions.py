"""What a policy file may not say, although every entry alone is well-formed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from gpuspawner.core.policy import DEFAULT

from .units import describe
from .yamlfile import Key, YamlFile, suggest

if TYPE_CHECKING:
    from .policy import CourseEntry, Limits, PolicyEntries

Way = list[Key]

_AT_MOST = (
    ("gpus_per_server", "gpus_per_person"),
    ("idle_gpu", "longest_session"),
    ("idle_gpu_wanted", "idle_gpu"),
    ("idle_cpu", "longest_session"),
    ("shm", "memory"),
)
"""Limits of which the first can never be more than the second."""


def require_consistent(
    file: YamlFile, entries: PolicyEntries, *, images: Collection[str] | None, home_dir: str
) -> None:
    """Check what entries say of each other.

    Args:
        file: Where they come from, for the line of an error.
        entries: Every entry, each well-formed.
        images: Names in the catalogue; None when they are not known.
        home_dir: Where the home is in a server.

    Raises:
        SettingsError: The first contradiction, with file, line and fix.
    """
    for way, name, known, what in _references(entries, images):
        if name not in known:
            fix = suggest(name, sorted(known), f"there {'is' if len(known) == 1 else 'are'}")
            raise file.error(way, f": there is no {what} {name!r}; {fix}")
    for way, entry in _limits(entries):
        _require_possible(file, way, entry)
    _require_shares(file, entries)
    _require_targets(file, entries.courses, home_dir)


def _limits(entries: PolicyEntries) -> Iterator[tuple[Way, Limits]]:
    for section in ("groups", "people", "courses"):
        for name, entry in getattr(entries, section).items():
            yield [section, name], entry


def _references(
    entries: PolicyEntries, images: Collection[str] | None
) -> Iterator[tuple[Way, str, Collection[str], str]]:
    """Every name that stands for something else: where, which, what there is, and of what kind."""
    groups = entries.groups.keys() - {DEFAULT}
    for way, entry in _limits(entries):
        for n, pool in enumerate(entry.pools):
            yield [*way, "pools", n], pool, entries.pools, "pool"
        for image in sorted(getattr(entry, "images", None) or ()) if images is not None else ():
            yield [*way, "images"], image, images or (), "image"
    for name, person in entries.people.items():
        for n, group in enumerate(person.groups):
            yield ["people", name, "groups", n], group, groups, "group"
    for name, course in entries.courses.items():
        yield ["courses", name, "group"], course.group, groups, "group"
        for key in ("teachers", "assistants"):
            for n, person_named in enumerate(getattr(course, key)):
                yield ["courses", name, key, n], person_named, entries.people, "person"
        if images is not None:
            yield ["courses", name, "image"], course.image, images, "image"


def _require_possible(file: YamlFile, way: Way, entry: Limits) -> None:
    for small, large in _AT_MOST:
        if not {small, large} <= entry.model_fields_set:
            continue  # what it takes from elsewhere is another for each person
        value, most = getattr(entry, small), getattr(entry, large)
        if most is not None and (value is None or value > most):
            raise file.error(
                [*way, small],
                f" is {describe(small, value)}, more than {large} with {describe(large, most)}. "
                "Lower the one or raise the other.",
            )


def _require_shares(file: YamlFile, entries: PolicyEntries) -> None:
    total = 0.0
    for section, given in (("groups", entries.groups), ("courses", entries.courses)):
        for name, entry in given.items():
            total += entry.guaranteed_share
            if total > 1 + 1e-9:
                way = [section, name, "guaranteed_share"]
                raise file.error(way, f": up to here {100 * total:g} % of all GPUs are promised.")
    for name, person in entries.people.items():
        if "guaranteed_share" in person.model_fields_set:
            way = ["people", name, "guaranteed_share"]
            raise file.error(way, ": a share is guaranteed to a group or a course. Move it there.")


def _require_targets(file: YamlFile, courses: dict[str, CourseEntry], home_dir: str) -> None:
    """A place in a server holds one thing; no server is of two courses."""
    for name, course in courses.items():
        taken: dict[str, Any] = {}
        for section in ("materials", "mounts"):
            for n, mount in enumerate(getattr(course, section)):
                way = ["courses", name, section, n, "target"]
                if f"{home_dir}/".startswith(f"{mount.target}/"):
                    raise file.error(way, f": {mount.target} would hide people's homes in {home_dir}.")
                what = (mount.path, getattr(mount, "mode", "ro"))
                if taken.setdefault(mount.target, what) != what:
                    raise file.error(way, f": course {name!r} has something else at {mount.target}.")
