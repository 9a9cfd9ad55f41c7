"""Creating, keeping and removing simulations, their layouts and their CDI specs."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from gpuspawner.sim import SimError, Simulation, native, parse_layout
from gpuspawner.sim.cdi import library_directory
from gpuspawner.sim.native import NativeFiles


def test_two_simulations_share_nothing(sim: Simulation, tmp_path: Path) -> None:
    other = Simulation.create(
        tmp_path / "other", instance="other", cdi_dir=sim.cdi_dir, build_dir=sim.files.directory.parent
    )
    assert not {card.uuid for card in sim.cards} & {card.uuid for card in other.cards}
    other.lose(0)
    assert not any(report.lost for report in sim.reports())
    other.destroy()
    assert sim.cdi_dir is not None
    assert [path.name for path in sim.cdi_dir.iterdir()] == ["gpuspawner-sim-unit.json"]
    assert not other.root.exists()
    assert len(Simulation(sim.root).cards) == 4


def test_uuids_stay_the_same_for_a_name() -> None:
    first, second = (parse_layout("2xl40s", "demo") for _ in range(2))
    assert first == second
    assert first != parse_layout("2xl40s", "test")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("", "''"),
        ("2xfoo", "'2xfoo'.*a100-40gb"),
        ("0xl40s", "not 0"),
        ("65xl40s", "not 65"),
        ("l40s;rm", "l40s;rm"),
    ],
)
def test_bad_layout_is_named(tmp_path: Path, layout: str, message: str) -> None:
    with pytest.raises(SimError, match=message):
        Simulation.create(tmp_path / "new", layout, instance="x", cdi_dir=None)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("instance", ["", "../x", "A", "x" * 41, "a b"])
def test_bad_instance_name_is_refused(tmp_path: Path, instance: str) -> None:
    with pytest.raises(SimError, match="instance name"):
        Simulation.create(tmp_path / "new", instance=instance, cdi_dir=None)
    assert not (tmp_path / "new").exists()


def test_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(SimError, match="not an empty directory"):
        Simulation.create(tmp_path, instance="x", cdi_dir=None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_name_in_use_is_refused(sim: Simulation, tmp_path: Path) -> None:
    with pytest.raises(SimError, match=str(sim.root)):
        Simulation.create(tmp_path / "second", instance="unit", cdi_dir=sim.cdi_dir)
    assert not (tmp_path / "second").exists()


def test_stale_spec_of_a_removed_simulation_is_replaced(sim: Simulation, tmp_path: Path) -> None:
    build_dir = sim.files.directory.parent
    shutil.rmtree(sim.root)
    again = Simulation.create(tmp_path / "again", instance="unit", cdi_dir=sim.cdi_dir, build_dir=build_dir)
    again.destroy()


def test_failed_create_leaves_nothing(tmp_path: Path, native_files: NativeFiles) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SimError, match="CDI spec"):
        Simulation.create(
            tmp_path / "new", instance="x", cdi_dir=blocked / "cdi", build_dir=native_files.directory.parent
        )
    assert not (tmp_path / "new").exists()


def test_ensure_keeps_state_and_puts_the_spec_back(sim: Simulation) -> None:
    assert sim.cdi_dir is not None
    spec = sim.cdi_dir / "gpuspawner-sim-unit.json"
    spec.unlink()
    sim.set_load(0, utilization=40)
    build_dir = sim.files.directory.parent
    again = Simulation.ensure(sim.root, instance="unit", cdi_dir=sim.cdi_dir, build_dir=build_dir)
    assert again.reports()[0].utilization == 40
    assert spec.exists()
    with pytest.raises(SimError, match="l40s"):
        Simulation.ensure(sim.root, "l40s", instance="unit", cdi_dir=sim.cdi_dir, build_dir=build_dir)


def test_ensure_makes_a_new_one(tmp_path: Path, native_files: NativeFiles) -> None:
    simulation = Simulation.ensure(
        tmp_path / "new", "3xt4", instance="x", cdi_dir=None, build_dir=native_files.directory.parent
    )
    assert [card.model.key for card in simulation.cards] == ["t4"] * 3


def test_destroy_keeps_what_is_not_ours(sim: Simulation) -> None:
    (sim.root / "notes.txt").write_text("keep")
    sim.destroy()
    assert [path.name for path in sim.root.iterdir()] == ["notes.txt"]
    assert sim.cdi_dir is not None
    assert not any(sim.cdi_dir.iterdir())
    with pytest.raises(SimError, match="no simulation"):
        Simulation(sim.root)


def test_files_are_readable_by_any_user(tmp_path: Path, native_files: NativeFiles) -> None:
    before = os.umask(0o077)
    try:
        simulation = Simulation.create(
            tmp_path / "s",
            "l40s",
            instance="umask",
            cdi_dir=tmp_path / "c",
            build_dir=native_files.directory.parent,
        )
        simulation.set_load(0, utilization=1)
    finally:
        os.umask(before)
    assert (tmp_path / "c" / "gpuspawner-sim-umask.json").stat().st_mode & 0o444 == 0o444
    for path in (*simulation.root.rglob("*"), native_files.directory, *native_files.directory.iterdir()):
        if path.name == "lock":
            continue
        mode = path.stat().st_mode
        needed = 0o555 if stat.S_ISDIR(mode) or path.parent == native_files.directory else 0o444
        assert mode & needed == needed, path


def test_spec_gives_one_device_its_own_files_only(sim: Simulation) -> None:
    assert sim.cdi_dir is not None
    spec = json.loads((sim.cdi_dir / "gpuspawner-sim-unit.json").read_text())
    assert spec["kind"] == "nvidia.com/gpu"
    assert [device["name"] for device in spec["devices"]] == [card.uuid for card in sim.cards]
    common = {m["containerPath"]: m for m in spec["containerEdits"]["mounts"]}
    assert set(common) == {
        f"{library_directory()}/libnvidia-ml.so.1",
        "/usr/bin/nvidia-smi",
        "/usr/bin/gpu-load",
        "/run/gpuspawner-sim/host",
    }
    assert all(m["options"][0] == "ro" and Path(m["hostPath"]).exists() for m in common.values())
    for card, device in zip(sim.cards, spec["devices"], strict=True):
        edits = device["containerEdits"]
        (node,) = edits["deviceNodes"]
        assert node["path"] == f"/dev/nvidia{card.index}"
        state, drop_box = edits["mounts"]
        assert state["hostPath"] == str(sim.root / "devices" / card.uuid)
        assert state["containerPath"] == f"/run/gpuspawner-sim/devices/{card.uuid}"
        assert state["options"][0] == "ro"
        assert drop_box["hostPath"] == str(sim.root / "dropbox" / card.uuid)
        assert drop_box["options"][0] == "rw"
    nodes = [
        *spec["containerEdits"]["deviceNodes"],
        *(d["containerEdits"]["deviceNodes"][0] for d in spec["devices"]),
    ]
    assert {(n["hostPath"], n["type"], n["major"], n["minor"]) for n in nodes} == {("/dev/null", "c", 1, 3)}


def test_library_directory_by_architecture() -> None:
    assert library_directory("x86_64") == "/usr/lib/x86_64-linux-gnu"
    assert library_directory("aarch64") == "/usr/lib/aarch64-linux-gnu"
    with pytest.raises(SimError, match="riscv64"):
        library_directory("riscv64")


def test_missing_compiler_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimError, match="apt-get install gcc libc6-dev"):
        native.build(tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_failing_compiler_shows_its_message_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gcc").write_text("#!/bin/sh\necho 'stdio.h: No such file' >&2; exit 1\n")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SimError, match=r"libc6-dev[\s\S]*stdio.h"):
        native.build(tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


def test_build_is_done_once(native_files: NativeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert native.build(native_files.directory.parent) == native_files


@pytest.mark.parametrize("wanted", ["", "9", "GPU-", "zzzz", "-1"])
def test_card_that_is_not_one_is_refused(calm_sim: Simulation, wanted: str) -> None:
    with pytest.raises(SimError, match="GPU-"):
        calm_sim.find(wanted)


def test_card_by_index_uuid_and_prefix(calm_sim: Simulation) -> None:
    card = calm_sim.cards[2]
    for wanted in (2, "2", card.uuid, card.uuid[:12], card.uuid[4:12]):
        assert calm_sim.find(wanted) == card


def test_environment_keeps_what_was_there(calm_sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/x")
    assert calm_sim.environment() == {
        "LD_LIBRARY_PATH": f"{calm_sim.files.directory}:/opt/x",
        "GPUSPAWNER_SIM_ROOT": str(calm_sim.root),
    }
