"""Reading where a machine gets its Debian packages, in both styles that apt knows."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """One suite at one mirror."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None
    """Path of the keyring, or None for apt's own."""

    def one_line(self) -> str:
        """As a line of ``sources.list``."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.suite} {' '.join(self.components)}"


def read_sources(directory: Path = Path("/etc/apt")) -> tuple[Source, ...]:
    """All binary package sources that are switched on."""
    parts = directory / "sources.list.d"
    found: list[Source] = []
    for file in [directory / "sources.list", *sorted(parts.glob("*.list"))]:
        if file.is_file():
            found += parse_one_line(file.read_text(errors="replace"))
    for file in sorted(parts.glob("*.sources")):
        found += parse_deb822(file.read_text(errors="replace"))
    return tuple(found)


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources in a file of the style ``deb [signed-by=…] https://mirror/debian trixie main``."""
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line.startswith(("deb ", "deb\t")):
            continue
        rest, options = line[3:].strip(), ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        words = rest.split()
        if len(words) >= 2:
            signed_by = dict(word.split("=", 1) for word in shlex.split(options) if "=" in word).get(
                "signed-by"
            )
            yield Source(words[0], words[1], tuple(words[2:]), signed_by)


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources in a file of stanzas (``Types:``, ``URIs:``, ``Suites:`` …)."""
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        signed_by = stanza.get("signed-by", "").strip()
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                # A key written into the stanza has no path that could be named elsewhere.
                path = signed_by if signed_by.startswith("/") and "\n" not in signed_by else None
                yield Source(uri, suite, tuple(stanza.get("components", "").split()), path)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields, key = {}, ""
        elif line.startswith("#"):
            continue
        elif line[0].isspace() and key:
            fields[key] += f"\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            fields[key] = value.strip()


def translate_suite(sources: Iterable[Source], codename: str, wanted: str) -> tuple[Source, ...]:
    """The sources of another Debian release at the mirrors that serve this one.

    Args:
        sources: What the machine uses.
        codename: Its own release, ``bookworm``.
        wanted: The other release, ``trixie``.

    Returns:
        The release itself and its security updates, component main, each once.
    """
    suites = {codename: wanted, f"{codename}-security": f"{wanted}-security"}
    found: dict[tuple[str, str], Source] = {}
    for source in sources:
        suite = suites.get(source.suite)
        if suite and "main" in source.components:
            found.setdefault((source.uri, suite), Source(source.uri, suite, ("main",), source.signed_by))
    return tuple(found.values())


def pin_text(release: str, packages: Iterable[str]) -> str:
    """Preferences that take these packages, and nothing else, from a release."""
    names = " ".join(packages)
    return (
        f"Explanation: Written by gpuspawner: only the Docker Engine comes from {release}.\n"
        f"Package: *\nPin: release n={release}*\nPin-Priority: -1\n\n"
        f"Package: {names}\nPin: release n={release}*\nPin-Priority: 990\n"
    )
