"""What is fixed before torch is imported, and which processors can be compared."""

from __future__ import annotations

import pytest
from gpuspawner_session.environment import EVERYWHERE, find_missing, why_no_avx2

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
