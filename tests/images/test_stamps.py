"""The stamp, and the check that cannot be done, in sessions of every image."""

from __future__ import annotations

import json

import pytest
from gpuspawner.setup.images import ImageEntry
from support.sessions import Session

pytestmark = pytest.mark.docker
ADD = """
folder="$(python -c 'import site; print(site.getusersitepackages())')/my_tool-1.0.dist-info"
mkdir -p "$folder"
printf 'Metadata-Version: 2.1\\nName: my-tool\\nVersion: 1.0\\n' >"$folder/METADATA"
"""


def test_a_notebook_writes_what_it_is_made_of(session: Session, image: ImageEntry) -> None:
    session.exec("sh", "-c", ADD)
    assert session.run_cell("%gpuspawner_stamp /tmp/thesis.json") == "Written: /tmp/thesis.json\n"
    stamp = json.loads(session.exec("cat", "/tmp/thesis.json"))
    assert (stamp["image"]["name"], stamp["image"]["lock_hash"]) == (image.name, image.lock_hash)
    assert stamp["gpus"]["state"] == "none"
    assert stamp["packages_of_user"] == ["my-tool"]
    assert {"name": "my-tool", "version": "1.0", "user": True} in stamp["packages"]
    names = {one["name"] for one in stamp["packages"]}
    assert {"jupyterlab", "jupyterhub", "gpuspawner-session"} <= names


def test_a_terminal_writes_the_same(session: Session) -> None:
    from_cell = session.run_cell("%gpuspawner_stamp -")
    told = session.exec("gpuspawner-session", "stamp", "-")
    one, other = (json.loads(text[text.index("{") :]) for text in (from_cell, told))
    for differs in ("date", "seeds"):
        one.pop(differs)
        other.pop(differs)
    assert one == other


def test_without_torch_nothing_is_trained(session: Session, image: ImageEntry) -> None:
    if any(part.startswith("torch ") for part in image.inside):
        pytest.skip("it has torch: test_training.py trains with it")
    status = session.exec("sh", "-c", "gpuspawner-session verify 2>&1; echo $?")
    assert status.splitlines()[-2:] == [
        "There is no torch in this image, so there is nothing to train with.",
        "2",
    ]
