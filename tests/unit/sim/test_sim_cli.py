"""The commands of `gpuspawner sim`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.sim import Simulation
from gpuspawner.sim import cli as sim_cli
from gpuspawner.sim.native import NativeFiles


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(sim_cli.sim, list(arguments), env={"GPUSPAWNER_SIM_ROOT": str(root)})


def snapshot(root: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(root.rglob("state"))}


def test_create_list_destroy(
    tmp_path: Path, native_files: NativeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuspawner.sim.native.build", lambda _: native_files)
    root = tmp_path / "My Sim"
    done = run(root, "create", "--layout", "l40s,t4", "--cdi-dir", str(tmp_path / "cdi"))
    assert done.exit_code == 0, done.output
    assert "GPU 1: Tesla T4 (simulated) (UUID: GPU-" in done.output
    assert [path.name[:22] for path in (tmp_path / "cdi").iterdir()] == ["gpuspawner-sim-my-sim-"]
    devices = json.loads(run(root, "list", "--json").output)["devices"]
    assert [device["name"] for device in devices] == ["NVIDIA L40S (simulated)", "Tesla T4 (simulated)"]
    assert run(root, "destroy").exit_code == 0
    assert not root.exists()


def test_commands_set_what_list_shows(sim: Simulation) -> None:
    for arguments in (
        ["load", "0", "--utilization", "80%", "--memory", "4GiB"],
        ["load", "1", "--memory", "100MiB", "--pid", str(os.getpid())],
        ["xid", "2", "79"],
        ["lose", sim.cards[2].uuid],
        ["hang", "3"],
        ["driver", "535.1.1"],
    ):
        done = run(sim.root, *arguments)
        assert done.exit_code == 0, done.output
    shown = json.loads(run(sim.root, "list", "--json").output)
    a, b, c, d = shown["devices"]
    assert (a["utilization"], a["used_mib"]) == (80, 4100)
    assert (b["utilization"], b["used_mib"], b["pids"]) == (0, 104, [os.getpid()])
    assert (c["lost"], c["xids"], c["recovery"]) == (True, [79], "node-reboot")
    assert d["hang"]
    assert shown["driver"] == "535.1.1"
    text = run(sim.root, "list").output
    for word in (
        "SIMULATED",
        "80 %",
        "LOST",
        "XIDs 79",
        "HANGS",
        f"processes {os.getpid()}",
        "needs node-reboot",
    ):
        assert word in text
    for arguments in (["idle", "0"], ["idle", "1"], ["restore", "2"], ["unhang"], ["hang"]):
        assert run(sim.root, *arguments).exit_code == 0
    shown = json.loads(run(sim.root, "list", "--json").output)
    assert shown["hang"]
    assert not any(d["utilization"] or d["pids"] or d["lost"] or d["hang"] for d in shown["devices"])


def test_mig_on_and_off(sim: Simulation) -> None:
    done = run(sim.root, "mig", "0", "--instances", "3g.20gb, 3g.20gb")
    assert done.output.count("MIG 3g.20gb Device") == 2
    assert [d["parent"] for d in json.loads(run(sim.root, "list", "--json").output)["devices"]].count(
        sim.cards[0].uuid
    ) == 2
    assert run(sim.root, "mig", "0", "--off").exit_code == 0
    assert sim.instances() == ()


def test_env_can_be_evaluated(calm_sim: Simulation) -> None:
    assert f"export GPUSPAWNER_SIM_ROOT={calm_sim.root}\n" in run(calm_sim.root, "env").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load", "9"], "no card '9'; there are 4"),
        (["load", "GPU-"], "ambiguous"),
        (["load", "0", "--utilization", "101%"], "'101%' is not a whole number of percent"),
        (["load", "0", "--utilization", "-5"], "'-5' is not a whole number of percent"),
        (["load", "0", "--memory", "much"], "'much' is not an amount of memory"),
        (["load", "0", "--memory", "99999MiB"], "0 to 40529 MiB, not 99999"),
        (["load", "0", "--pid", "999999999"], "no process 999999999"),
        (["load", "0", "--pid", "-1"], "no process -1"),
        (["xid", "0", "5000"], "1 to 1023, not 5000"),
        (["xid", "0", "abc"], "'abc' is not a valid integer"),
        (["lose", "nobody"], "no card 'nobody'"),
        (["hang", "7"], "no card '7'"),
        (["mig", "2", "--instances", "3g.20gb"], "has no MIG"),
        (["mig", "0"], "--instances PROFILE,... or --off"),
        (["mig", "0", "--off", "--instances", "1g.5gb"], "--instances PROFILE,... or --off"),
        (["mig", "0", "--instances", ""], "''"),
        (["driver", "latest"], "'latest' does not look like one"),
        (["create"], "already"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    calm_sim: Simulation, arguments: list[str], message: str
) -> None:
    before = snapshot(calm_sim.root)
    done = run(calm_sim.root, *arguments)
    assert done.exit_code != 0
    assert message in done.output.replace("\n", " ")
    assert "Traceback" not in done.output
    assert snapshot(calm_sim.root) == before


def test_commands_without_a_simulation_say_how_to_make_one(tmp_path: Path) -> None:
    done = run(tmp_path, "list")
    assert done.exit_code == 1
    assert f"gpuspawner sim create --root {tmp_path}" in done.output
    done = CliRunner().invoke(sim_cli.sim, ["list"], env={"GPUSPAWNER_SIM_ROOT": None})
    assert done.exit_code == 2
    assert "GPUSPAWNER_SIM_ROOT" in done.output
