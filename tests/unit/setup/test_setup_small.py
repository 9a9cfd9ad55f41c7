"""Stamps, locks, what a build is lent, and what a failed command tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gpuspawner.setup.console import run_step
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.hostconfig import pip_config
from gpuspawner.setup.locks import pinned, strip_addresses
from gpuspawner.setup.osrelease import read_release
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.stamps import digest, drop_stamp, read_stamp, write_stamp


def test_a_stamp_is_there_only_once_it_is_written(tmp_path: Path) -> None:
    stamp = tmp_path / "ready.json"
    assert read_stamp(stamp) == {}
    write_stamp(stamp, {"lock": "abc"})
    assert read_stamp(stamp) == {"lock": "abc"}
    assert list(tmp_path.iterdir()) == [stamp]
    drop_stamp(stamp)
    drop_stamp(stamp)
    assert read_stamp(stamp) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff"])
def test_a_damaged_stamp_proves_nothing(tmp_path: Path, text: str) -> None:
    stamp = tmp_path / "ready.json"
    stamp.write_bytes(text.encode("latin-1"))
    assert read_stamp(stamp) == {}


def test_the_borders_between_parts_count() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])


def test_a_build_is_lent_the_index_and_not_the_files_of_this_host() -> None:
    listed = (
        ":env:.find-links='/opt/wheels'\n"
        "global.cert='/etc/ssl/certs/ca-certificates.crt'\n"
        "global.index-url='https://index.example/simple'\n"
        "global.extra-index-url='file:///opt/simple https://more.example/simple'\n"
        "install.trusted-host='index.example'\n"
        "list.format='columns'\n"
    )
    assert pip_config(listed, {"PIP_DEFAULT_TIMEOUT": "180", "PIP_EXTRA_INDEX_URL": "file:///opt/x"}) == (
        "[global]\n"
        "index-url = https://index.example/simple\n"
        "extra-index-url = https://more.example/simple\n"
        "trusted-host = index.example\n"
        "default-timeout = 180\n"
    )


def test_a_host_that_configures_nothing_lends_nothing() -> None:
    assert pip_config("", {}) == "[global]\n"


def test_the_images_take_the_version_of_the_hub() -> None:
    assert pinned("jupyterhub", "six==1 \\\n    --hash=x\njupyterhub==6.1.1 \\\n") == "jupyterhub==6.1.1\n"
    with pytest.raises(SetupError, match="nothere is not in the lock"):
        pinned("nothere", "six==1\n")


def test_hub_and_images_have_the_same_jupyterhub() -> None:
    paths = Paths()
    image = (paths.images / "minimal" / "requirements.lock").read_text()
    assert pinned("jupyterhub", image) == pinned("jupyterhub", paths.runtime_lock.read_text())


def test_a_package_lock_names_no_address() -> None:
    tree = {
        "packages": {
            "": {},
            "node_modules/x": {"version": "1", "resolved": "https://r.example/x", "funding": {}},
        }
    }
    assert strip_addresses(tree) == {"packages": {"": {}, "node_modules/x": {"version": "1"}}}
    assert '"resolved"' not in (Paths().setup / "proxy" / "package-lock.json").read_text()


def test_the_system_is_read_with_and_without_quotes(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n')
    found = read_release(file)
    assert (found.id, found.codename, found.name) == ("debian", "bookworm", "Debian GNU/Linux 12 (bookworm)")
    assert read_release(tmp_path / "absent").id == ""


def test_a_failed_command_tells_its_log_and_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    script = "print('far too much'); print('no space left'); raise SystemExit(3)"
    with pytest.raises(SetupError) as told:
        run_step("Doing it", [sys.executable, "-c", script], log=log, fix="Make room.")
    text = str(told.value)
    assert "Doing it: failed (exit code 3). Make room." in text
    assert str(log) in text
    assert text.rstrip().endswith("no space left")


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program"):
        run_step("Doing it", ["no-such-program"], log=tmp_path / "x.log")
