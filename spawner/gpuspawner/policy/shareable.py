"""What a policy may not put into servers, or not at that place, although every entry is well-formed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuspawner.core.coursework import COURSES, EXCHANGE, name_folder
from gpuspawner.core.sharing import Places, find_planted, overlap, why_not_shared, why_not_target

from .directories import Material
from .yamlfile import Key, YamlFile

if TYPE_CHECKING:
    from .policy import PolicyEntries

Way = list[Key]


def require_shareable(file: YamlFile, entries: PolicyEntries, places: Places | None) -> None:
    """Check all directories that groups and courses get.

    Args:
        file: Where they come from, for the line of an error.
        entries: Every entry, each well-formed.
        places: Directories of the installation; None when they are not known.

    Raises:
        SettingsError: The first that may not be shared, with file, line and fix.
    """
    writable = [one.path for _, one in _directories(entries) if getattr(one, "mode", "ro") == "rw"]
    for way, one in _directories(entries):
        problem = why_not_shared(one.path, places.private if places else {})
        if problem:
            raise file.error([*way, "path"], f": {problem}. Share a directory of its own.")
        planted = find_planted(one.path, writable)
        if planted:
            raise file.error(
                [*way, "path"],
                f": it lies in {planted}, where people can write, and could put a link to anything in its "
                "place. Share a directory beside it.",
            )
        problem = why_not_target(one.target)
        if problem:
            raise file.error([*way, "target"], f": {problem}. Choose another place, such as /data.")
    _require_free_targets(file, entries)
    _require_data_apart(file, entries)
    for name, course in entries.courses.items():
        if course.hand_in and places is not None and not places.courses:
            raise file.error(
                ["courses", name, "hand_in"],
                ": there is no directory for hand-ins. Set courses.directory in the settings file.",
            )


def _directories(entries: PolicyEntries) -> Iterator[tuple[Way, Material]]:
    for name, group in entries.groups.items():
        for n, one in enumerate(group.data):
            yield ["groups", name, "data", n], one
    for name, course in entries.courses.items():
        for n, one in enumerate(course.materials):
            yield ["courses", name, "materials", n], one
        for n, other in enumerate(course.mounts):
            yield ["courses", name, "mounts", n], other


def _require_free_targets(file: YamlFile, entries: PolicyEntries) -> None:
    """Folders of a course that are made for it keep their places."""
    taken = [EXCHANGE]
    for name in entries.courses:
        taken += [f"{COURSES}/{name_folder(name)}/{one}" for one in ("team", "teams", "grading")]
    for way, one in _directories(entries):
        if any(overlap(one.target, place) for place in taken):
            raise file.error(
                [*way, "target"],
                f": {one.target} is kept for folders of teams and hand-ins. Choose another place, such as "
                f"{COURSES}/NAME/data.",
            )


def _require_data_apart(file: YamlFile, entries: PolicyEntries) -> None:
    """Whoever is in several groups and courses gets each place once, and none in another."""
    seen: list[tuple[Way, Material]] = []
    for way, one in _directories(entries):
        for before, other in seen:
            both = [way[0], before[0]]
            same = one.target == other.target and one.path == other.path and not hasattr(one, "mode")
            if "groups" in both and not same and overlap(one.target, other.target):
                raise file.error(
                    [*way, "target"],
                    f": {before[0]} {before[1]!r} has something else at {other.target}.",
                )
        seen.append((way, one))
