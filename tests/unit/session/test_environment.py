"""What is fixed before torch is imported, and which processors can be compared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gpuspawner_session.environment import EVERYWHERE, find_missing, restart, why_no_avx2

HASWELL = "processor : 0\nmodel name : Some CPU\nflags\t\t: fpu sse avx avx2 fma\n"


def test_what_is_set_already_is_not_missing() -> None:
    assert find_missing(EVERYWHERE) == {}


def test_another_value_counts_as_missing() -> None:
    assert find_missing({**EVERYWHERE, "MKL_CBWR": "AVX512"}) == {"MKL_CBWR": "COMPATIBLE"}


def test_a_processor_with_avx2_is_compared() -> None:
    assert why_no_avx2("x86_64", HASWELL * 2) is None


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "word"),
    [
        ("x86_64", "flags : fpu sse avx fma\n", "lacks AVX2"),
        ("x86_64", "flags : fpu sse avx avx2\n", "lacks FMA"),
        ("x86_64", "flags : fpu\n", "AVX2 and FMA"),
        ("x86_64", HASWELL + "flags : fpu avx fma\n", "lacks AVX2"),
        ("x86_64", "flags : avx2x fma\n", "lacks AVX2"),
        ("x86_64", "", "not known"),
        ("aarch64", "Features : fp asimd\n", "aarch64"),
    ],
)
def test_a_processor_that_cannot_be_compared_says_so(machine: str, cpuinfo: str, word: str) -> None:
    assert word in (why_no_avx2(machine, cpuinfo) or "")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What this process would have become."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execve", lambda _path, command, environment: found.append((command, environment)))
    for name in EVERYWHERE:
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_process_with_other_settings_starts_anew(
    started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("MY_OWN", "stays")
    restart(["verify", "--json"])
    ((command, environment),) = started
    assert command[1:] == ["-s", "-P", "-m", "gpuspawner_session", "verify", "--json"]
    assert EVERYWHERE.items() <= environment.items()
    assert environment["MY_OWN"] == "stays"


def test_a_process_in_which_all_is_set_goes_on(
    started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in EVERYWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.flags", SimpleNamespace(no_user_site=1))
    restart(["verify"])
    assert started == []


def test_what_the_person_installed_is_not_looked_at(
    started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in EVERYWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.flags", SimpleNamespace(no_user_site=0))
    restart(["verify"])
    assert len(started) == 1
