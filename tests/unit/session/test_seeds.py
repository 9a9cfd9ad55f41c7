"""Which seeds a notebook has seen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gpuspawner_session.seeds import find_calls, find_seeds


class Words(bytes):
    def tobytes(self) -> bytes:
        return bytes(self)


def test_calls_that_seed_are_found_in_their_cells() -> None:
    cells = [
        "",
        "import torch\ntorch.manual_seed(7)",
        "%matplotlib inline",
        "r = np.random.default_rng(seed=1)",
    ]
    assert list(find_calls(cells)) == [
        {"cell": 1, "call": "torch.manual_seed(7)"},
        {"cell": 3, "call": "np.random.default_rng(seed=1)"},
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "seed('hunter2')",
        "seed()",
        "seed(get())",
        "login('x').seed(1)",
        "plant(3)",
        "seed(1, key='hunter2')",
        "seed(",
    ],
)
def test_anything_else_is_not_copied(cell: str) -> None:
    assert list(find_calls([cell])) == []


def test_only_what_is_imported_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    assert find_seeds({}) == {"PYTHONHASHSEED": None}


def test_torch_and_numpy_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cuda = SimpleNamespace(is_initialized=lambda: True, initial_seed=lambda: 8)
    torch = SimpleNamespace(initial_seed=lambda: 7, cuda=cuda)
    numpy = SimpleNamespace(random=SimpleNamespace(get_state=lambda: ("MT19937", Words(b"ab"), 624, 0, 0.0)))
    found = find_seeds({"torch": torch, "numpy": numpy}, [])
    assert (found["PYTHONHASHSEED"], found["torch"], found["torch_cuda"]) == (0, 7, 8)
    assert found["numpy_state"] == {
        "generator": "MT19937",
        "position": 624,
        "sha256": "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603",
    }


def test_a_generator_that_fails_is_not_known() -> None:
    def fail() -> int:
        raise RuntimeError("no")

    torch = SimpleNamespace(initial_seed=fail, cuda=SimpleNamespace(is_initialized=fail))
    assert find_seeds({"torch": torch})["torch"] == "unknown (RuntimeError)"
