"""How this host reaches its mirrors is lent to a build, and nothing of it is in the image."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from gpuspawner.setup.environment import ca_bundle
from gpuspawner.setup.hostconfig import write_secrets
from support.yard import SMALL, Yard, python_yard, read_steps

pytestmark = pytest.mark.docker
MARK = f"mark{secrets.token_hex(8)}"
"""It stands in everything that a build is lent."""
STEP = '--mount=type=secret,id={name} test "$(sha256sum </run/secrets/{name} | cut -c-64)" = {digest}'
"""A step that ends well only where it was lent just that."""


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with python_yard(tmp_path) as yard:
        yield yard


@pytest.fixture
def lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What a build is lent on a host whose settings all have the mark in them."""
    bundle, apt = tmp_path / "ca.crt", tmp_path / "apt.conf"
    found = ca_bundle()
    assert found is not None
    bundle.write_text(f"{found.read_text()}\n# {MARK}\n")
    apt.write_text(f'Acquire::http::User-Agent "{MARK}";\n')
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("APT_CONFIG", str(apt))
    monkeypatch.setenv("PIP_TRUSTED_HOST", f"{MARK}.example")
    monkeypatch.setenv("NPM_CONFIG_NOPROXY", f"{MARK}.example")
    monkeypatch.setenv("NO_PROXY", f"{MARK}.example,127.0.0.1")
    monkeypatch.setenv("no_proxy", f"{MARK}.example,127.0.0.1")
    shown = write_secrets(tmp_path / "shown")
    assert all(MARK in shown[name].read_text() for name in ("ca", "apt", "pip", "npm"))
    return shown


def test_nothing_that_a_build_is_lent_is_in_the_image(yard: Yard, lent: dict[str, Path]) -> None:
    debian, python = read_steps()
    checks = [
        STEP.format(name=name, digest=sha256(lent[name].read_bytes()).hexdigest())
        for name in ("ca", "apt", "pip", "npm", "sources")
    ]
    lines = ["ARG PARENT", "FROM ${PARENT}", *(f"RUN {check}" for check in checks), debian, python]
    (yard.child / "Dockerfile").write_text("\n".join(lines))
    (yard.child / "requirements.lock").write_text(f"{SMALL}# {secrets.token_hex(4)}\n")
    entry = yard.build()
    found = yard.client.containers.run(entry.reference, ["hello"], remove=True).decode()
    assert "Hello, world!" in found
    assert "iniconfig" in yard.client.containers.run(entry.reference, ["pip", "list"], remove=True).decode()
    history = ["docker", "history", "--no-trunc", entry.reference]
    assert MARK not in subprocess.run(history, capture_output=True, text=True, check=True).stdout
    assert not is_in_archive(entry.reference, MARK.encode())
    # What is looked for is found where it is: the name of the package that was installed.
    assert is_in_archive(entry.reference, b"iniconfig")
    assert not list(yard.paths.work.glob("*"))


def is_in_archive(reference: str, mark: bytes) -> bool:
    """Whether it is in anything that the Engine keeps of an image: in any of its layers, or its settings."""
    with subprocess.Popen(["docker", "save", reference], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        found, rest = False, b""
        while piece := saving.stdout.read(2**22):
            found = found or mark in rest + piece
            rest = piece[-len(mark) :]
    assert saving.returncode == 0
    return found
