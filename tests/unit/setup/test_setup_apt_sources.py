"""Reading apt's sources in both styles, and taking another release from the same mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.setup.apt_sources import (
    Source,
    parse_deb822,
    parse_one_line,
    pin_text,
    read_sources,
    translate_suite,
)

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEB822 = f"""\
# a comment
Types: deb deb-src
URIs: https://mirror.example/linux/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_style_with_path_options_and_comments() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        f"deb [arch=all signed-by={KEYRING}] https://mirror.example/linux/debian bookworm main contrib #\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb\thttp://tab.example/debian  bookworm-security main\n"
    )
    assert list(parse_one_line(text)) == [
        Source("https://mirror.example/linux/debian", "bookworm", ("main", "contrib"), KEYRING),
        Source("http://tab.example/debian", "bookworm-security", ("main",)),
    ]


def test_deb822_style_gives_each_suite_and_leaves_out_what_is_off() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source("https://mirror.example/linux/debian", "bookworm", ("main", "contrib"), KEYRING),
        Source("https://mirror.example/linux/debian", "bookworm-updates", ("main", "contrib"), KEYRING),
    ]


def test_a_key_inside_the_stanza_is_not_taken_for_a_path() -> None:
    text = "Types: deb\nURIs: http://m.example\nSuites: sid\nComponents: main\nSigned-By:\n -BEGIN\n .\n x\n"
    assert [source.signed_by for source in parse_deb822(text)] == [None]


def test_a_stanza_without_a_last_newline_counts() -> None:
    text = "Types: deb\nURIs: http://m.example/debian\nSuites: trixie\nComponents: main"
    assert len(list(parse_deb822(text))) == 1


def test_both_places_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.list").write_text("deb http://b.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "c.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "d.list.disabled").write_text(
        "deb http://d.example/debian bookworm main\n"
    )
    uris = [source.uri for source in read_sources(tmp_path)]
    assert (
        uris
        == ["http://a.example/debian", "http://b.example/debian"]
        + ["https://mirror.example/linux/debian"] * 2
    )


def test_no_sources_at_all_is_empty(tmp_path: Path) -> None:
    assert read_sources(tmp_path) == ()


def test_another_release_comes_from_the_same_mirrors_and_only_main() -> None:
    sources = [
        Source("http://m.example/debian", "bookworm", ("main", "non-free"), KEYRING),
        Source("http://m.example/debian", "bookworm", ("main",), KEYRING),
        Source("http://m.example/debian", "bookworm-updates", ("main",), KEYRING),
        Source("http://m.example/security", "bookworm-security", ("main",)),
        Source("http://vendor.example/apt", "stable", ("main",)),
    ]
    assert translate_suite(sources, "bookworm", "trixie") == (
        Source("http://m.example/debian", "trixie", ("main",), KEYRING),
        Source("http://m.example/security", "trixie-security", ("main",)),
    )


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (Source("http://m.example/debian", "trixie", ("main",)), "deb http://m.example/debian trixie main"),
        (
            Source("https://m.example/x/debian", "trixie", ("main",), KEYRING),
            f"deb [signed-by={KEYRING}] https://m.example/x/debian trixie main",
        ),
    ],
)
def test_a_source_as_a_line_can_be_read_back(source: Source, line: str) -> None:
    assert source.one_line() == line
    assert list(parse_one_line(line)) == [source]


def test_the_pin_takes_only_the_named_packages() -> None:
    stanzas = pin_text("trixie", ["docker.io", "docker-cli"]).split("\n\n")
    assert "Package: *\nPin: release n=trixie*\nPin-Priority: -1" in stanzas[0]
    assert stanzas[1] == "Package: docker.io docker-cli\nPin: release n=trixie*\nPin-Priority: 990\n"
