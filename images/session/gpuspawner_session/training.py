"""The training by which images are compared: small, and made of what most trainings are made of.

A change of anything here that changes a result needs another name of the test (``TEST``): golden values are
kept under it. Import this module only after :func:`gpuspawner_session.environment.restart`.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from .environment import SEED

TEST = "train-1"
"""Name of this test."""
STEPS = 300
BATCH = 16
WORKERS = 2
CLASSES, WORDS, LENGTH, SIDE, WIDTH = 10, 64, 12, 12, 32
WARM_UP_STEPS = 20
"""Left out of the step time."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one training came to. Hashes are sha256, in hexadecimal."""

    weights: str
    """Hash of the final weights, the running statistics included."""
    losses: tuple[float, ...]
    """Loss of each step; each is a 32-bit number, written with the nine digits that determine it."""
    losses_hash: str
    data: str
    """Hash of all that the loader's workers drew."""
    rng: dict[str, str]
    """Hash of the first numbers of each random generator."""
    step_seconds: float
    """Median time of a step, without waiting for data."""


def fix_settings() -> None:
    """Choose the deterministic way wherever torch has several."""
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(1)


def seed_all(seed: int = SEED) -> None:
    """Seed every generator of this process."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_worker(worker: int) -> None:
    """Seed every generator of a loader's worker, each worker otherwise."""
    seed_all(SEED + 1 + worker)
    torch.set_num_threads(1)


class Pictures(Dataset[Any]):
    """Batches of noisy pictures with a sentence each, by which their class can be told.

    Uses all three generators of the worker, as real loaders do: Python's to mirror, NumPy's to write the
    sentence, torch's for the noise.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.patterns = torch.rand(CLASSES, 3, SIDE, SIDE, generator=generator)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        """One batch: pictures, sentences, classes."""
        classes = torch.from_numpy(numpy.random.randint(0, CLASSES, BATCH))
        words = torch.from_numpy(numpy.random.randint(CLASSES, WORDS, (BATCH, LENGTH)))
        words[:, index % LENGTH] = classes
        pictures = self.patterns[classes] + torch.randn(BATCH, 3, SIDE, SIDE)
        if random.random() < 0.5:
            pictures = pictures.flip(-1)
        return pictures.contiguous(), words, classes


class Model(nn.Module):
    """Convolution and batch norm for the picture, an embedding for the sentence, attention over both."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, WIDTH, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, pictures: Any, words: Any) -> Any:
        """The score of each class."""
        seen = self.convolutions(pictures).flatten(2).transpose(1, 2)
        both = torch.cat([seen, self.embedding(words)], dim=1)
        attended, _ = self.attention(both, both, both, need_weights=False)
        return self.head(self.norm(both + attended).mean(dim=1))


def train(device: str) -> Run:
    """Seed, draw, train; twice in a row it must come to the same.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    seed_all()
    rng = dict(_draw(device))
    seed_all()
    model = Model().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, foreach=False, fused=False)
    data = hashlib.sha256()
    losses: list[float] = []
    times: list[float] = []
    with sdpa_kernel(SDPBackend.MATH):
        for batch in _load():
            for part in batch:
                data.update(part.numpy().tobytes())
            begun = time.perf_counter()
            loss = _step(model, optimizer, [part.to(device) for part in batch])
            losses.append(loss)
            times.append(time.perf_counter() - begun)
    return Run(
        weights=hash_weights(model.state_dict()),
        losses=tuple(losses),
        losses_hash=hash_losses(losses),
        data=data.hexdigest(),
        rng=rng,
        step_seconds=statistics.median(times[WARM_UP_STEPS:]),
    )


def _load() -> Iterator[Any]:
    generator = torch.Generator().manual_seed(SEED)
    yield from DataLoader(
        Pictures(),
        batch_size=None,
        shuffle=True,
        num_workers=WORKERS,
        worker_init_fn=seed_worker,
        generator=generator,
        multiprocessing_context="fork",
    )


def _step(model: Any, optimizer: Any, batch: list[Any]) -> float:
    pictures, words, classes = batch
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(pictures, words), classes)
    loss.backward()
    optimizer.step()
    # Reading the number waits for the GPU, so that a step's time is its own.
    return float(f"{loss.item():.9g}")


def _draw(device: str) -> Iterator[tuple[str, str]]:
    """The first numbers of each generator: whole ones, uniform and normal ones."""
    yield "python", _hash(struct.pack("<1000d", *(random.random() for _ in range(1000))))
    old, new = numpy.random, numpy.random.default_rng(SEED)
    yield "numpy", _hash(old.rand(1000).tobytes(), old.randn(1000).tobytes(), old.bytes(1000))
    yield (
        "numpy_generator",
        _hash(new.random(1000).tobytes(), new.standard_normal(1000).tobytes(), new.bytes(1000)),
    )
    yield "torch", _hash(*_draw_torch("cpu"))
    if device == "cuda":
        yield "torch_cuda", _hash(*_draw_torch("cuda"))


def _draw_torch(device: str) -> Iterator[bytes]:
    for drawn in (
        torch.rand(1000, device=device),
        torch.randn(1000, device=device),
        torch.randint(0, 2**31, (1000,), device=device),
        torch.randperm(1000, device=device),
    ):
        yield drawn.cpu().numpy().tobytes()


def hash_weights(weights: dict[str, Any]) -> str:
    """Hash of names, types, shapes and values, in the order of the names."""
    parts: list[bytes] = []
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode(), tensor.numpy().tobytes()]
    return _hash(*parts)


def hash_losses(losses: list[float]) -> str:
    """Hash of the losses as 32-bit numbers."""
    return _hash(struct.pack(f"<{len(losses)}f", *losses))


def _hash(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def read_versions() -> dict[str, str | None]:
    """What torch was made with and found; None where it has none."""
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": _split(cudnn) if cudnn else None,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.version.cuda else None,
        "numpy": numpy.__version__,
    }


def _split(number: int) -> str:
    """cuDNN's number as people write it: 91002 is 9.10.2, and before 9 it was 8902 for 8.9.2."""
    thousands = 10_000 if number >= 90_000 else 1000
    return f"{number // thousands}.{number % thousands // 100}.{number % 100}"
