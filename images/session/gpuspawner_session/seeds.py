"""Which seeds a notebook's kernel has seen, as far as they can be told afterwards."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

CALLS = frozenset(
    {
        *("seed", "manual_seed", "manual_seed_all", "default_rng", "RandomState", "SeedSequence", "PRNGKey"),
        *("seed_everything", "set_seed", "set_random_seed"),
    }
)
"""Functions that take a seed, by the last part of their names."""


def find_seeds(modules: Mapping[str, Any], cells: Iterable[str] | None = None) -> dict[str, object]:
    """Ask what is imported already; nothing is imported for it.

    Args:
        modules: Of the process, as in ``sys.modules``.
        cells: What was typed in the notebook, in order; None outside of one.

    Returns:
        ``PYTHONHASHSEED`` is null where Python chose by chance. Of a generator that does not keep its seed
        there is a fingerprint of its state: the same code from the same seed gives the same.
    """
    found: dict[str, object] = {"PYTHONHASHSEED": _hash_seed(os.environ.get("PYTHONHASHSEED"))}
    torch, numpy = modules.get("torch"), modules.get("numpy")
    if torch is not None:
        found["torch"] = _ask(torch.initial_seed)
        if _ask(torch.cuda.is_initialized) is True:
            found["torch_cuda"] = _ask(torch.cuda.initial_seed)
    if numpy is not None:
        found["numpy_state"] = _ask(lambda: _fingerprint(numpy.random.get_state()))
    if cells is not None:
        found["calls"] = list(find_calls(cells))
    return found


def find_calls(cells: Iterable[str]) -> Iterator[dict[str, object]]:
    """The calls in a notebook that seed something with a number that is written there."""
    for number, cell in enumerate(cells):
        try:
            tree = ast.parse(cell)
        except (SyntaxError, ValueError, RecursionError):
            continue  # a magic, or a slip of the hand
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_seeding(node):
                yield {"cell": number, "call": ast.unparse(node)}


def _is_seeding(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    # Only whole numbers are kept: anything else could be a secret.
    plain = all(isinstance(one, ast.Constant) and isinstance(one.value, int | None) for one in given)
    return name in CALLS and plain and bool(given) and _is_plain_name(node.func)


def _is_plain_name(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _hash_seed(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


def _fingerprint(state: Any) -> dict[str, object]:
    kind, words, position = state[0], state[1], state[2]
    return {
        "generator": str(kind),
        "position": int(position),
        "sha256": hashlib.sha256(words.tobytes()).hexdigest(),
    }


def _ask(question: Any) -> object:
    try:
        return question()
    except Exception as error:
        return f"unknown ({type(error).__name__})"
