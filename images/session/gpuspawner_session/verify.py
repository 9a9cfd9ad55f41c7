"""``gpuspawner-session verify``: train twice with fixed seeds, and tell what it came to."""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from . import image as images
from .cards import Cards, find_cards
from .environment import CPU_KEY, EVERYWHERE, SEED, read_processor, restart

if TYPE_CHECKING:
    from .training import Run

SAME, DIFFERENT, NOT_POSSIBLE = 0, 1, 2
"""Exit statuses."""
DEVICES = ("auto", "cpu", "cuda")


class NotPossible(Exception):
    """It cannot be done here; the text says why and what would help."""


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="train a small model with fixed seeds, and tell what it came to",
        description="Train a small model twice with fixed seeds and deterministic settings, and tell the "
        "hashes of its weights, its losses and its random numbers. The same image gives the same on every "
        "GPU of one architecture, and on every processor with AVX2. Exit status: 0 both runs are the same, "
        "1 they differ, 2 it cannot be done here.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable, with the whole loss curve")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to train [auto: a GPU where there is one]"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it.

    Returns:
        The exit status.
    """
    try:
        result = verify(arguments.device, as_json=arguments.json)
    except NotPossible as error:
        if arguments.json:
            print(json.dumps({"schema": 1, "error": str(error)}))
        print(error, file=sys.stderr)
        return NOT_POSSIBLE
    print(json.dumps(result) if arguments.json else render(result))
    return SAME if result["same_process"] else DIFFERENT


def verify(device: str, *, as_json: bool) -> dict[str, Any]:
    """Train twice in this process, after a restart of it where the environment is not the right one.

    Args:
        device: One of ``DEVICES``.
        as_json: How the command was called, for the restart.

    Raises:
        NotPossible: There is no torch, no GPU, or not the right processor.
    """
    if find_spec("torch") is None:
        raise NotPossible("There is no torch in this image, so there is nothing to train with.")
    restart(["verify", "--device", device, *(["--json"] if as_json else [])])
    try:
        import torch  # noqa: PLC0415 - it reads its environment when it is imported

        from . import training  # noqa: PLC0415
    except (ImportError, OSError) as error:
        raise NotPossible(f"torch cannot be imported: {error}") from error
    architecture, where, cards, name = _choose_device(device, torch)
    training.fix_settings()
    runs = [training.train(where) for _ in range(2)]
    if not all(math.isfinite(loss) for run in runs for loss in run.losses):
        raise NotPossible("The training came to no finite loss: torch or the card computes wrongly.")
    versions = {"python": sys.version.split()[0], **training.read_versions()}
    result = to_json(
        runs, test=training.TEST, architecture=architecture, name=name, cards=cards, versions=versions
    )
    return result | {"torch_of_image": torch.__file__.startswith(sys.prefix)}


def _choose_device(device: str, torch: Any) -> tuple[str, str, Cards, str]:
    """Architecture, torch's name of the device, cards, the device's name for people. Raises: NotPossible."""
    there = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not there:
        cards = find_cards()
        why = cards.why or "torch cannot use the card (simulated cards compute nothing)."
        raise NotPossible(f"torch finds no GPU here: {why}")
    if there:
        major, minor = torch.cuda.get_device_capability(0)
        return f"sm_{major}{minor}", "cuda", find_cards(), torch.cuda.get_device_name(0)
    why_not, name = read_processor()
    if why_not is not None:
        raise NotPossible(why_not)
    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX2":
        raise NotPossible(f"torch uses {capability} of this processor, not AVX2: nothing could be compared.")
    return CPU_KEY, "cpu", Cards("none"), name


def to_json(
    runs: list[Run],
    *,
    test: str,
    architecture: str,
    name: str,
    cards: Cards,
    versions: dict[str, str | None],
) -> dict[str, Any]:
    """The result for programs."""
    first = runs[0]
    card = cards.cards[0] if cards.cards else None
    return {
        "schema": 1,
        "test": test,
        "architecture": architecture,
        "device": name,
        "card_uuid": card.uuid if card else None,
        "driver": cards.driver,
        "image": images.to_json(images.read_image()),
        "versions": versions,
        "seed": SEED,
        "settings": EVERYWHERE,
        "steps": len(first.losses),
        "same_process": all(_outcome(run) == _outcome(first) for run in runs),
        "runs": [_outcome(run) | {"step_seconds": run.step_seconds} for run in runs],
        "losses": list(first.losses),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _outcome(run: Run) -> dict[str, Any]:
    """What must be the same each time."""
    return {"weights": run.weights, "losses_hash": run.losses_hash, "data": run.data, "rng": run.rng}


def render(result: dict[str, Any]) -> str:
    """The result for people."""
    first, second = result["runs"]
    versions = ", ".join(f"{name} {version or 'none'}" for name, version in result["versions"].items())
    same = "the same" if result["same_process"] else "NOT the same"
    losses = result["losses"]
    where = f"{result['device']} ({result['architecture']})"
    course = f"{losses[0]:.4f} at the first step, {losses[-1]:.4f} at the last"
    lines = [
        f"Trained twice on {where}, {result['steps']} steps each: {same}.",
        f"Weights        {first['weights']}",
        f"Losses         {first['losses_hash']} ({course})",
        f"Data           {first['data']}",
        *(f"{f'Random {name}':<14} {found}" for name, found in first["rng"].items()),
        f"Step           {first['step_seconds'] * 1000:.2f} ms (median)",
        f"Versions       {versions}",
    ]
    if not result["same_process"]:
        lines[1:3] = [
            f"Weights        {first['weights']}, then {second['weights']}",
            f"Losses         {first['losses_hash']}, then {second['losses_hash']}",
        ]
    if not result["torch_of_image"]:
        lines.append("Note: torch is not the image's own, so this says nothing of the image.")
    return "\n".join(lines)
