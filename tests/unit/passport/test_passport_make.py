"""From what an image says of itself to its passport."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.core.errors import PassportError
from gpuspawner.core.model import ImageNeeds
from gpuspawner.passport import inside
from gpuspawner.passport.make import make_passport, read_architectures, take_over
from gpuspawner.passport.model import Passport, parse_passport
from gpuspawner.ports import ImageFacts
from support.fake_docker import image_id
from support.fake_images import OTHERS, TORCH, run
from support.fake_images import make_passport as build

DIGEST = image_id("x")
FACTS = ImageFacts(DIGEST, "2030-05-01T09:00:00.123456789Z", 7_500_000_000, {})
TOLD: dict[str, Any] = {
    "python": "3.13.5",
    "packages": {"numpy": "2.3.5"},
    "debian": {"git": "1:2.47.3-0+deb13u1"},
    "torch": {},
    "image": None,
}
TORCH_29 = {
    "torch": "2.9.1",
    "cuda": "12.8",
    "cudnn": "9.10.2",
    "nccl": "2.27.5",
    "architectures": ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120", "compute_120"],
}


def make(facts: ImageFacts = FACTS, driver: str | None = None, **told: Any) -> Passport:
    return make_passport(facts, json.dumps(TOLD | told), "torch", driver)


def test_an_image_without_torch_runs_anywhere() -> None:
    found = make()
    assert (found.image, found.digest, found.lock_hash) == ("torch", DIGEST, None)
    assert (found.built.year, found.size_bytes) == (2030, 7_500_000_000)
    assert found.packages == {"numpy": "2.3.5"}
    assert found.debian_packages == {"git": "1:2.47.3-0+deb13u1"}
    assert (found.minimum_driver, found.compute_capabilities, found.needs("X")) == (None, (), None)


def test_an_image_with_torch() -> None:
    found = make(torch=TORCH_29)
    assert found.versions.model_dump() == {
        "python": "3.13.5", "torch": "2.9.1", "cuda": "12.8", "cudnn": "9.10.2", "nccl": "2.27.5",
    }  # fmt: skip
    code = ("7.5", "8.0", "9.0", "10.0", "12.0+PTX")
    assert found.needs("PyTorch") == ImageNeeds("PyTorch", "525.60.13", code)


def test_torch_without_cuda_needs_no_driver() -> None:
    found = make(torch={"torch": "2.9.1", "cuda": None})
    assert (found.versions.torch, found.needs("x")) == ("2.9.1", None)


@pytest.mark.parametrize(("cuda", "driver"), [("11.8", "450.80.02"), ("12.6", "525.60.13"), ("13.0", "580")])
def test_the_oldest_driver(cuda: str, driver: str) -> None:
    assert make(torch={**TORCH_29, "cuda": cuda}).minimum_driver == driver
    assert make(torch={**TORCH_29, "cuda": cuda}, driver="999.1").minimum_driver == "999.1"


@pytest.mark.parametrize("cuda", ["14.0", "10.2", "7"])
def test_a_cuda_that_nobody_knows(cuda: str) -> None:
    with pytest.raises(PassportError, match="give --minimum-driver VERSION"):
        make(torch={**TORCH_29, "cuda": cuda})
    assert make(torch={**TORCH_29, "cuda": cuda}, driver="600").minimum_driver == "600"


def test_what_lies_in_the_image_counts_first() -> None:
    """Who builds on an image inherits its labels."""
    labels = {"gpuspawner.image": "by-label", "gpuspawner.lock_hash": "12" * 32}
    said = {"name": "by-file", "lock_hash": "34" * 32}
    found = make(ImageFacts(DIGEST, "2030-05-01T09:00:00Z", 1, labels), image=said)
    assert (found.image, found.lock_hash) == ("by-file", "34" * 32)
    found = make(ImageFacts(DIGEST, "2030-05-01T09:00:00Z", 1, labels))
    assert (found.image, found.lock_hash) == ("by-label", "12" * 32)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("", "makes no sense"),
        ("[]", "makes no sense"),
        (json.dumps({**TOLD, "packages": []}), "makes no sense, at packages"),
        (json.dumps({**TOLD, "image": {"lock_hash": "short"}}), "makes no sense, at lock_hash"),
        (json.dumps({**TOLD, "torch": {"error": "torch cannot be loaded: no libfoo"}}), "no libfoo"),
        (json.dumps({**TOLD, "torch": {**TORCH_29, "architectures": ["gfx90a"]}}), "'gfx90a'"),
    ],
)
def test_what_makes_no_sense(told: str, says: str) -> None:
    with pytest.raises(PassportError, match=says):
        make_passport(FACTS, told, "torch")


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ([], ()),
        (["sm_90a", "sm_90", "sm_50"], ("5.0", "9.0", "9.0a")),
        (["compute_90", "sm_80"], ("8.0", "9.0+PTX")),
        (["sm_90", "compute_90"], ("9.0+PTX",)),
        (["sm_100f", "sm_120"], ("10.0f", "12.0")),
    ],
)
def test_architectures_as_compute_capabilities(flags: list[str], code: tuple[str, ...]) -> None:
    assert read_architectures(flags) == code


def test_runs_of_the_same_locks_hold() -> None:
    made = build(runs={"sm_80": run(card="new")}, tests={"a": "passed"})
    same = build(
        "rebuilt", runs={"sm_80": run(card="old"), "sm_90": run()}, tests={"a": "failed", "b": "passed"}
    )
    other = build("other", lock_hash="99" * 32, runs={"sm_75": run()})
    unlocked = build("unlocked", lock_hash=None, runs={"sm_70": run()})
    found = take_over(made, [same, other, unlocked])
    assert {name: one.card for name, one in found.runs.items()} == {"sm_80": "new", "sm_90": None}
    assert found.tests == {"a": "passed", "b": "passed"}
    assert (
        take_over(unlocked, [build("another", lock_hash=None, runs={"sm_75": run()})]).runs == unlocked.runs
    )


def test_an_image_that_only_says_that_it_is_of_these_locks_gets_no_runs() -> None:
    locked = {"numpy": "2.3.5", "gpuspawner-session": "0.1", "pip": "25.1"}
    committed = build("elsewhere", packages=locked, runs={"sm_90": run()}, tests={"a": "passed"})
    newer = build(packages={**locked, "gpuspawner-session": "0.2", "pip": "26.0"})
    assert set(take_over(newer, [committed]).runs) == {"sm_90"}
    liar = build(packages={**locked, "numpy": "2.3.6"})
    assert take_over(liar, [committed]) == liar


# -- the model ----------------------------------------------------------------------------------------------


def test_there_and_back() -> None:
    one = build(**TORCH, runs={"sm_80": run(card="A100", driver="580.1")}, tests={"imports": "passed"})
    assert parse_passport(one.model_dump_json(), "x") == one


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"digest": "sha256:12"}, "digest"),
        ({"compute_capabilities": ["sm_80"]}, "compute_capabilities.0"),
        ({"minimum_driver": "new"}, "minimum_driver"),
        ({"runs": {"gpu": run()}}, "runs.gpu"),
        ({"runs": {"sm_80": run(weights="x")}}, "runs.sm_80.weights"),
        ({"runs": {"sm_80": run(losses=[float("nan")])}}, "runs.sm_80.losses.0"),
        ({"runs": {"sm_80": run(step_seconds=float("inf"))}}, "runs.sm_80.step_seconds"),
        ({"tests": {"a": "perhaps"}}, "tests.a"),
        ({"built": "2030-05-01T09:00:00"}, "built"),
        ({"size_bytes": -1}, "size_bytes"),
    ],
)
def test_what_is_no_passport(changes: dict[str, object], where: str) -> None:
    text = json.dumps(build(**TORCH).model_dump(mode="json") | changes)
    with pytest.raises(PassportError) as caught:
        parse_passport(text, "/p/x.json")
    assert f"The passport /p/x.json is damaged, at {where}" in str(caught.value)
    assert "gpuspawner passport make IMAGE" in str(caught.value)


# -- what runs in the image ---------------------------------------------------------------------------------


def test_what_an_image_is_asked_runs_by_itself() -> None:
    """Its source alone, by a Python that knows nothing of ours."""
    source = (files("gpuspawner.passport") / "inside.py").read_text()
    done = subprocess.run(
        [sys.executable, "-I", "-c", source], capture_output=True, text=True, timeout=60, check=True, cwd="/"
    )
    told = json.loads(done.stdout)
    assert told["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert told["packages"]["pydantic"]
    assert make_passport(FACTS, done.stdout, "here").versions.python == told["python"]


def test_debian_packages_that_are_installed() -> None:
    status = (
        "Package: git\nStatus: install ok installed\nVersion: 1:2.47\nDescription: x\n Package: not\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: vim\nVersion: 9\nStatus: hold ok installed\n"
    )
    assert inside.list_debian(status) == {"git": "1:2.47", "vim": "9"}


def test_what_npm_installed_and_is_still_there(tmp_path: Path) -> None:
    """What was taken out again stays in its own list, and what is linked there has no version."""
    ms = {
        "version": "2.1.3",
        "resolved": "https://registry.npmjs.org/ms.tgz",
        "integrity": "sha512-AAEC /w==",
    }
    listed: dict[str, dict[str, Any]] = {
        "node_modules/@coder/logger": {"version": "3.0.1", "integrity": "sha1-/w=="},
        "node_modules/copilot": {"version": "1.0.0", "integrity": "sha1-/w=="},
        "node_modules/ms": {"version": "2.0.0"},
        "node_modules/send/node_modules/ms": ms,
        "node_modules/short": {"name": "much-longer", "version": "1.0.0"},
        "node_modules/linked": {"resolved": "linked", "link": True},
    }
    inner = tmp_path / "node_modules/code-server"
    for folder, packages in ((tmp_path, listed), (inner, {"node_modules/ms": ms})):
        for place in packages:
            if place != "node_modules/copilot":
                (folder / place).mkdir(parents=True)
        (folder / "node_modules/.package-lock.json").write_text(json.dumps({"packages": packages}))
    assert inside.list_npm(tmp_path) == [
        {"kind": "npm", "name": name, "version": version, "hash": hashed}
        for name, version, hashed in (
            ("@coder/logger", "3.0.1", "sha1:ff"),
            ("ms", "2.0.0", None),
            ("ms", "2.1.3", "sha512:000102"),
            ("much-longer", "1.0.0", None),
        )
    ]
    assert inside.list_npm(tmp_path / "nothing") == []


def test_the_node_of_vs_code(tmp_path: Path) -> None:
    program = tmp_path / "node"
    assert inside.list_node(program) == []
    program.write_text("#!/bin/sh\necho v24.19.0\n")
    program.chmod(0o755)
    hashed = f"sha256:{sha256(program.read_bytes()).hexdigest()}"
    assert inside.list_node(program) == [
        {"kind": "generic", "name": "node", "version": "24.19.0", "hash": hashed}
    ]


def test_what_is_neither_pythons_nor_debians() -> None:
    found = make(others=OTHERS)
    assert found.others == {"@coder/logger": "3.0.1", "ms": "2.0.0, 2.1.3", "node": "24.19.0"}
    with pytest.raises(PassportError, match=r"makes no sense, at others\.0\.hash"):
        make(others=[{**OTHERS[0], "hash": "sha512:12"}])


def test_torch_is_asked_also_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        __version__ = "2.9.1+cu128"

        class version:  # noqa: N801
            cuda = "12.8"

        class backends:  # noqa: N801
            class cudnn:  # noqa: N801
                version = staticmethod(lambda: 91002)

        class _C:
            _cuda_getArchFlags = staticmethod(lambda: "sm_80 sm_90 compute_90")  # noqa: N815

    class Nccl:
        version = staticmethod(lambda: (2, 27, 5))

    modules = {"torch": Torch, "torch.cuda.nccl": Nccl}
    monkeypatch.setattr(inside.importlib, "import_module", modules.__getitem__)
    assert inside.read_torch() == {
        "torch": "2.9.1",
        "cuda": "12.8",
        "cudnn": "9.10.2",
        "nccl": "2.27.5",
        "architectures": ["sm_80", "sm_90", "compute_90"],
    }
    Torch.backends.cudnn.version = staticmethod(lambda: 8907)
    assert inside.read_torch()["cudnn"] == "8.9.7"


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), {}),
        (
            ModuleNotFoundError("No module named 'sympy'", name="sympy"),
            {"error": "torch cannot be loaded: No module named 'sympy'"},
        ),
        (
            ImportError("libcudnn.so.9: cannot open"),
            {"error": "torch cannot be loaded: libcudnn.so.9: cannot open"},
        ),
    ],
)
def test_no_torch_and_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, found: dict[str, str]
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(inside.importlib, "import_module", fail)
    assert inside.read_torch() == found
