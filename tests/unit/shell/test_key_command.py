"""``gpuspawner key``: keys for SSH, as an administrator sees and changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.errors import InvalidRequest, NotFound
from gpuspawner.shell.key import key
from support.build import HOST, record
from support.ssh import KEYS


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    opened = Ledger(tmp_path / "ledger.db")
    with opened.write() as unit:
        unit.put_device(record("GPU-0"))
    opened.close()
    return opened.path


def run(ledger: Path, *arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(key, [*arguments, "--ledger", str(ledger), "--host", HOST], input=given)


def test_add_list_and_remove(ledger: Path, tmp_path: Path) -> None:
    assert run(ledger, "list").output == "There are no keys.\n"
    (tmp_path / "id.pub").write_text(f"{KEYS[0]} ada@laptop\n")
    added = run(ledger, "add", "ada", str(tmp_path / "id.pub"))
    assert added.exit_code == 0, added.output
    assert added.output.startswith("ada is let in with ada@laptop (SHA256:")
    assert run(ledger, "add", "bob", "-", "--name", "his", given=KEYS[1].encode()).exit_code == 0
    table = run(ledger, "list", "ada").output
    assert "ada@laptop" in table
    assert "his" not in table
    found = json.loads(run(ledger, "list", "--json").output)["keys"]
    assert [(one["person"], one["name"]) for one in found] == [("ada", "ada@laptop"), ("bob", "his")]
    assert run(ledger, "remove", found[1]["fingerprint"]).output == "The key his of bob was removed.\n"
    assert run(ledger, "remove", str(found[0]["id"])).exit_code == 0
    assert isinstance(run(ledger, "remove", "1").exception, NotFound)


def test_what_is_no_key_changes_nothing(ledger: Path) -> None:
    for given in (b"\xff\xfe", b"x" * 10_000, b"-----BEGIN OPENSSH PRIVATE KEY-----", b""):
        assert isinstance(run(ledger, "add", "ada", "-", given=given).exception, InvalidRequest), given
    assert run(ledger, "list").output == "There are no keys.\n"
