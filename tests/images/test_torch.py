"""PyTorch: what it is built for, its loaders, and training on two processes."""

from __future__ import annotations

import json

import pytest
from docker.types import DeviceRequest
from gpuspawner.setup.images import ImageEntry
from support.sessions import Session, empty_home

pytestmark = pytest.mark.docker
VERSIONS = """
import json, torch, torchaudio, torchvision
cudnn = torch.backends.cudnn.version()
print(json.dumps({
    "torch": torch.__version__.partition("+")[0],
    "torchvision": torchvision.__version__.partition("+")[0],
    "torchaudio": torchaudio.__version__.partition("+")[0],
    "CUDA": torch.version.cuda,
    "cuDNN": f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}",
    "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
    "arches": torch._C._cuda_getArchFlags().split(),
}))
"""
LOADER = """
import torch
data = torch.utils.data.TensorDataset(torch.arange(4096.0).reshape(-1, 8))
loader = torch.utils.data.DataLoader(data, batch_size=64, num_workers=2, persistent_workers=True)
print(sum(float(batch.sum()) for (batch,) in loader for _ in range(2)))
"""
VISION = """
import torch, torchaudio, torchvision
model = torchvision.models.resnet18(weights=None, num_classes=10).eval()
with torch.no_grad():
    print(tuple(model(torch.zeros(2, 3, 64, 64)).shape))
boxes, scores = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.9, 0.8])
print(torchvision.ops.nms(boxes, scores, 0.5).tolist())
print(tuple(torchaudio.transforms.MelSpectrogram(n_mels=32)(torch.zeros(16000)).shape))
"""
TRAIN = """
import os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group(sys.argv[1])
rank = dist.get_rank()
if sys.argv[1] == "nccl":
    torch.cuda.set_device(rank)
    where = torch.device("cuda", rank)
else:
    where = torch.device("cpu")
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(4, 1).to(where))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
torch.manual_seed(rank)
first = last = None
for step in range(50):
    x = torch.randn(32, 4, device=where)
    loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    first, last = first or float(loss), float(loss)
weights = [torch.zeros_like(model.module.weight) for _ in range(dist.get_world_size())]
dist.all_gather(weights, model.module.weight.data)
if rank == 0:
    print("TRAINED", last < first / 10, all(torch.equal(one, weights[0]) for one in weights), len(weights))
dist.destroy_process_group()
"""


def test_it_is_what_the_catalogue_says(session: Session, image: ImageEntry) -> None:
    found = json.loads(session.exec("python", "-c", VERSIONS))
    arches = sorted(
        tuple(divmod(int(one.removeprefix("sm_").rstrip("a")), 10))
        for one in found.pop("arches")
        if "sm_" in one
    )
    assert {f"{name} {version}" for name, version in found.items()} <= set(image.inside)
    assert image.compute_capability is not None
    assert [f"{major}.{minor}" for major, minor in (arches[0], arches[-1])] == list(image.compute_capability)


def test_loaders_with_workers_use_shared_memory(session: Session) -> None:
    assert float(session.run_cell(LOADER)) == 2 * sum(range(4096))


def test_models_for_images_and_sound_run(session: Session) -> None:
    assert session.exec("python", "-c", VISION).splitlines() == ["(2, 10)", "[0]", "(32, 81)"]


def train(session: Session, backend: str, processes: int) -> str:
    session.exec("sh", "-c", f"cat >/tmp/train.py <<'END'\n{TRAIN}\nEND")
    return session.exec("torchrun", "--standalone", f"--nproc-per-node={processes}", "/tmp/train.py", backend)


def test_two_processes_train_one_model(session: Session) -> None:
    assert "TRAINED True True 2" in train(session, "gloo", 2)


@pytest.mark.gpu
def test_all_gpus_train_one_model_by_nccl(image: ImageEntry) -> None:
    cards = [DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=all"])]
    with Session(image, device_requests=cards, **empty_home(1000)) as session:
        assert session.health() == "healthy", session.log
        count = int(session.exec("python", "-c", "import torch; print(torch.cuda.device_count())"))
        assert count
        assert f"TRAINED True True {count}" in train(session, "nccl", count)
