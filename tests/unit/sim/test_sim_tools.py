"""nvidia-smi and gpu-load."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gpuspawner.sim import Simulation
from gpuspawner.sim.native import NativeFiles

Tool = Callable[..., "subprocess.CompletedProcess[str]"]
QUERY = "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version"


def test_list_has_the_real_format(calm_tool: Tool, calm_sim: Simulation) -> None:
    done = calm_tool("nvidia-smi", "-L")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"GPU {card.index}: {card.model.name} (simulated) (UUID: {card.uuid})" for card in calm_sim.cards
    ]


def test_table_announces_the_simulation(calm_tool: Tool, calm_sim: Simulation) -> None:
    done = calm_tool("nvidia-smi")
    lines = done.stdout.splitlines()
    assert "SIMULATED" in lines[1]
    assert {len(line) for line in lines} == {76}
    assert all(card.uuid in done.stdout for card in calm_sim.cards)


def test_query(tool: Tool, sim: Simulation) -> None:
    sim.set_load(2, utilization=50, memory_mib=1000)
    lines = tool("nvidia-smi", QUERY, "--format=csv").stdout.splitlines()
    assert lines[0] == (
        "index, uuid, name, memory.total [MiB], memory.used [MiB], utilization.gpu [%], temperature.gpu,"
        " driver_version"
    )
    assert (
        lines[3]
        == f"2, {sim.cards[2].uuid}, NVIDIA L40S (simulated), 46068 MiB, 1002 MiB, 50 %, 54, 580.95.05"
    )
    bare = tool("nvidia-smi", QUERY, "--format=csv,noheader,nounits", "-i", "2").stdout
    assert bare == f"2, {sim.cards[2].uuid}, NVIDIA L40S (simulated), 46068, 1002, 50, 54, 580.95.05\n"


@pytest.mark.parametrize(
    ("layout", "rows"),
    [
        (
            "2xa100-40gb,2xl40s",
            ["X NV12 SYS SYS 0", "NV12 X SYS SYS 0", "SYS SYS X PIX 1", "SYS SYS PIX X 1"],
        ),
        ("3xh100-80gb", ["X NV9 NV9 0", "NV9 X NV9 0", "NV9 NV9 X 1"]),
        (
            "5xa100-40gb",
            [" ".join("X" if i == j else "NV12" for j in range(5)) + f" {int(i > 2)}" for i in range(5)],
        ),
        ("8xt4", ["X PIX NODE NODE SYS SYS SYS SYS 0", "PIX X NODE NODE SYS SYS SYS SYS 0"]),
    ],
)
def test_topology(layout: str, rows: list[str], tmp_path: Path, native_files: NativeFiles) -> None:
    sim = Simulation.create(
        tmp_path / "sim", layout, instance="topo", cdi_dir=None, build_dir=native_files.directory.parent
    )
    done = subprocess.run(
        [str(native_files.smi), "topo", "-m"],
        env={"GPUSPAWNER_SIM_ROOT": str(sim.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    cards = [f"GPU{card.index}" for card in sim.cards]
    sim.destroy()
    table = [
        [cell.strip() for cell in line.split("\t")] for line in done.stdout.partition("\n\n")[0].split("\n")
    ]
    assert table[0] == ["", *cards, "NUMA Affinity"]
    assert [row[0] for row in table[1:]] == cards
    assert [row[1:] for row in table[1 : 1 + len(rows)]] == [row.split() for row in rows]


def test_topology_of_a_lost_card(tool: Tool, sim: Simulation) -> None:
    sim.lose(1)
    done = tool("nvidia-smi", "topo", "-m")
    assert done.returncode == 15
    assert "GPU1" in done.stdout


def test_lost_card_is_named_and_the_others_are_listed(tool: Tool, sim: Simulation) -> None:
    sim.lose(1)
    done = tool("nvidia-smi", "-L")
    assert done.returncode == 15
    lines = done.stdout.splitlines()
    assert "GPU1" in lines[1]
    assert "GPU is lost" in lines[1]
    assert [line.partition(":")[0] for line in (lines[0], *lines[2:])] == ["GPU 0", "GPU 2", "GPU 3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frobnicate"], "--frobnicate"),
        (["--query-gpu=index,nonsense", "--format=csv"], "nonsense"),
        (["--query-gpu=index"], "--format=csv"),
        (["topo"], "-m, and nothing else"),
        (["topo", "-p2p", "r"], "-m, and nothing else"),
        (["--query-gpu=index", "--format=xml"], "xml"),
    ],
)
def test_nvidia_smi_names_what_it_does_not_know(calm_tool: Tool, arguments: list[str], message: str) -> None:
    done = calm_tool("nvidia-smi", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "7"], "no GPU 7 here; there are 4"),
        (["--gpu", "GPU-no"], "no GPU GPU-no here"),
        (["--gpu", "../x"], "no GPU ../x here"),
        (["--utilization", "101"], "0 to 100, not '101'"),
        (["--utilization", "-1"], "0 to 100, not '-1'"),
        (["--memory", "lots"], "4000MiB, not 'lots'"),
        (["--memory", "99999MiB"], "out of memory: 99999 MiB asked for, 40529 MiB free"),
        (["--memory", "99999999999999999999GiB"], "not '99999999999999999999GiB'"),
        (["--for", "0"], "60s, not '0'"),
        (["--for", "1y"], "60s, not '1y'"),
        (["--nope", "1"], "unknown option '--nope'"),
        (["--gpu"], "--gpu needs a value"),
    ],
)
def test_gpu_load_names_what_is_wrong(
    calm_tool: Tool, calm_sim: Simulation, arguments: list[str], message: str
) -> None:
    done = calm_tool("gpu-load", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert all(report.utilization == 0 for report in calm_sim.reports())


def test_gpu_load_on_a_lost_or_divided_card(tool: Tool, sim: Simulation) -> None:
    sim.lose(0)
    sim.set_mig(1, ["1g.5gb", "1g.5gb"])
    assert "is lost" in tool("gpu-load", "--gpu", "0").stderr
    assert "2 MIG instances" in tool("gpu-load", "--gpu", "1").stderr


def test_tools_without_a_simulation(sim: Simulation, tool: Tool) -> None:
    aside = sim.root.with_name("aside")
    sim.root.rename(aside)
    try:
        arguments = {"env": {"GPUSPAWNER_SIM_ROOT": str(sim.root)}, "capture_output": True, "text": True}
        smi = subprocess.run([str(sim.files.smi), "-L"], check=False, **arguments)
        load = subprocess.run([str(sim.files.load)], check=False, **arguments)
    finally:
        aside.rename(sim.root)
    assert smi.returncode == 9
    assert "couldn't communicate with the NVIDIA driver" in smi.stdout
    assert "started without one" in load.stderr


def test_tools_are_static(calm_sim: Simulation) -> None:
    for path in (calm_sim.files.smi, calm_sim.files.load):
        done = subprocess.run(["objdump", "-p", str(path)], capture_output=True, text=True, check=True)
        assert "NEEDED" not in done.stdout
        assert path.stat().st_mode & 0o777 == 0o755
