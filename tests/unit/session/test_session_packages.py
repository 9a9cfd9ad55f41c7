"""Which packages a session has, and whose they are."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from gpuspawner_session.packages import list_packages, read_source


def install(folder: Path, name: str, version: str, url: dict[str, object] | None = None) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if url:
        (info / "direct_url.json").write_text(json.dumps(url))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def found(*folders: Path) -> list[Distribution]:
    return list(distributions(path=[str(folder) for folder in folders]))


def test_what_the_person_added_is_marked(image: Path, home: Path) -> None:
    install(image, "numpy", "2.3.0")
    install(home, "My_Tool", "1.0")
    packages = list_packages(found(home, image), own=[str(image)])
    assert [(one.name, one.version, one.user) for one in packages] == [
        ("my-tool", "1.0", True),
        ("numpy", "2.3.0", False),
    ]


def test_what_the_person_replaced_says_what_it_was(image: Path, home: Path) -> None:
    install(image, "numpy", "2.3.0")
    install(home, "numpy", "1.26.4")
    (only,) = list_packages(found(home, image), own=[str(image)])
    assert (only.version, only.user, only.replaces) == ("1.26.4", True, "2.3.0")


def test_a_package_of_the_person_that_is_not_seen_does_not_count(image: Path, home: Path) -> None:
    install(image, "numpy", "2.3.0")
    install(home, "numpy", "1.26.4")
    (only,) = list_packages(found(image, home), own=[str(image)])
    assert (only.version, only.user, only.replaces) == ("2.3.0", False, None)


def test_a_remnant_without_a_name_is_left_out(image: Path) -> None:
    (image / "gone-1.0.dist-info").mkdir(parents=True)
    assert list_packages(found(image), own=[str(image)]) == ()


def test_a_package_that_cannot_be_read_is_named_by_its_folder(image: Path, home: Path) -> None:
    install(image, "numpy", "2.3.0")
    install(home, "old_tool", "1.0.dev1")
    (home / "old_tool-1.0.dev1.dist-info" / "METADATA").write_bytes(b"Name: old_tool\nAuthor: J\xfcrgen\n")
    (home / "old_tool-1.0.dev1.dist-info" / "direct_url.json").write_bytes(b"\xff")
    packages = list_packages(found(home, image), own=[str(image)])
    assert [(one.name, one.version, one.source) for one in packages] == [
        ("numpy", "2.3.0", None),
        ("old-tool", "1.0.dev1", "unknown"),
    ]


def test_an_address_is_kept_without_its_login() -> None:
    text = json.dumps(
        {"url": "https://ada:hunter2@git.example.org/lab/tool.git?token=x", "vcs_info": {"commit_id": "abc"}}
    )
    assert read_source(text) == "https://git.example.org/lab/tool.git@abc"


@pytest.mark.parametrize("text", ["[]", "{", '{"url": 5}', '{"vcs_info": {}}', '{"url": "x", "vcs_info": 1}'])
def test_a_damaged_address_hides_no_package(text: str) -> None:
    assert read_source(text) in ("unknown", "5")


def test_a_folder_of_the_person_is_not_named() -> None:
    assert read_source('{"url": "file:///home/jovyan/secret-project"}') == "local"
