"""Stamps, locks, what a build is lent, and what a failed command tells."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from gpuspawner.setup import hostconfig
from gpuspawner.setup.builds import bootstrap_command
from gpuspawner.setup.causes import find_cause
from gpuspawner.setup.console import run_step
from gpuspawner.setup.dockerd import write_sources
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.hostconfig import npm_config, pip_config, write_bootstrap_files
from gpuspawner.setup.locks import pinned, strip_addresses
from gpuspawner.setup.osrelease import read_release
from gpuspawner.setup.paths import Paths
from gpuspawner.setup.private import has_login, make_private, mask_logins
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


def test_a_build_is_lent_how_this_host_reaches_npm_packages_and_no_files_of_it() -> None:
    host = "registry=https://old.example/\ncafile=/etc/ssl/x\nnodedir=/usr\nprefix=/opt\n"
    own = "; mine\nregistry = https://npm.example/\n//npm.example/:_authToken=${KEY}\n//npm.example/:certfile=/x\n"
    environment = {"KEY": "s3cret", "NPM_CONFIG_HTTPS_PROXY": "http://proxy.example"}
    assert npm_config([host, own], environment) == (
        "registry=https://npm.example/\n//npm.example/:_authToken=s3cret\nhttps-proxy=http://proxy.example\n"
    )


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


def test_a_full_disk_keeps_nobody_from_telling_why_it_failed() -> None:
    """The log is on it too; and a program whose output nobody takes would never end."""
    script = "import sys; print('x\\n' * 100_000, 'OSError: [Errno 28] No space left on device'); sys.exit(1)"
    with pytest.raises(SetupError) as told:
        run_step("Doing it", [sys.executable, "-c", script], log=Path("/dev/full"))
    assert "The disk is full" in str(told.value)
    assert str(told.value).rstrip().endswith("[Errno 28] No space left on device")


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"The log .* cannot be written: Is a directory"):
        run_step("Doing it", ["true"], log=tmp_path)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("tar: write error: No space left on device", "The disk is full"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "The disk is full"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS",
            "is not the one that was",
        ),
        (
            "W: Failed to fetch http://m.example/InRelease  Could not connect to m:80",
            "does not answer",
        ),
        ("Temporary failure resolving 'm.example'", "does not answer"),
        ("npm error code EINTEGRITY", "is not the one that was"),
        ("npm error code ENOTFOUND", "does not answer"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get", "is not signed by"),
        ("server certificate verification failed. CAfile: none CRLfile: none", "is not signed by"),
        ("SyntaxError: invalid syntax", None),
    ],
)
def test_what_a_program_says_is_put_into_words(line: str, cause: str | None) -> None:
    found = find_cause(["Step 1", line, "exit code: 1"])
    assert (cause in found) if found and cause else found is cause
    assert find_cause([line, *["went on"] * 100]) is None, "it did not fail of that"


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program"):
        run_step("Doing it", ["no-such-program"], log=tmp_path / "x.log")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("get http://ada:s3cret@proxy.example:3128/x", "get http://***@proxy.example:3128/x"),
        ("http://a:p@ss@h/x https://b:q@i/", "http://***@h/x https://***@i/"),
        ("deb http://m.example/debian trixie main", "deb http://m.example/debian trixie main"),
        ("git@github.com:a/b https://h:80/a@b", "git@github.com:a/b https://h:80/a@b"),
    ],
)
def test_passwords_in_addresses_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask_logins(text) == masked
    assert has_login(text) == (text != masked)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_log_holds_no_password(tmp_path: Path, stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    script = f"import sys; print('from ' + sys.argv[1], file=sys.{stream}); raise SystemExit(1)"
    with pytest.raises(SetupError) as told:
        run_step("Doing it", [sys.executable, "-c", script, "http://ada:s3cret@h/"], log=log)
    assert "from http://***@h/" in log.read_text()
    assert "s3cret" not in log.read_text() + str(told.value) + capsys.readouterr().out


def test_where_output_goes_to_a_file_it_is_complete(tmp_path: Path) -> None:
    script = "import sys; print('x' * 200_000); print('said', file=sys.stderr)"
    with (tmp_path / "out").open("wb") as out:
        run_step("Doing it", [sys.executable, "-c", script], log=tmp_path / "x.log", stdout=out)
    assert (tmp_path / "out").stat().st_size == 200_001
    assert (tmp_path / "x.log").read_text().endswith("\nsaid\n")


def test_mirrors_with_passwords_are_not_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUSPAWNER_DEBIAN_MIRROR", "http://ada:s3cret@mirror.example/debian")
    monkeypatch.setattr(hostconfig, "apt_lines", lambda: ('Acquire::http::Proxy "http://b:hidden@p/";',))
    files = write_bootstrap_files(tmp_path / "bootstrap")
    command = bootstrap_command(tmp_path / "base.tar", {"packages": ["x"], "dpkg": []}, files)
    assert not any(word in argument for argument in command for word in ("s3cret", "hidden"))
    assert "s3cret" in files.sources.read_text()
    assert "hidden" in files.apt.read_text()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (files.sources.parent, files.sources, files.apt)]
    assert modes == [0o700, 0o600, 0o600]


@pytest.mark.parametrize(("login", "mode"), [("", 0o644), ("ada:s3cret@", 0o600)])
def test_sources_with_a_password_are_for_root_alone(tmp_path: Path, login: str, mode: int) -> None:
    file = tmp_path / "x.list"
    file.write_text("older, readable for all")
    write_sources(file, f"deb http://{login}m.example/debian trixie main\n")
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_directory_that_is_there_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    make_private(tmp_path / "state")
    make_private(tmp_path / "state" / "logs")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("state", "state/logs")] == [0o700] * 2
