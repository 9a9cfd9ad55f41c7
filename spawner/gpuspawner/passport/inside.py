"""What an image says of itself. Its source is run by the image's own Python: nothing of ours is there.

It runs without network, and also where there is no GPU and no torch. What it prints is one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

DPKG_STATUS = Path("/var/lib/dpkg/status")
IMAGE = Path("/opt/gpuspawner/image.json")
"""What the build says of the image."""


def list_packages() -> dict[str, str]:
    """Python packages by their normalised names; of two, the one that an import finds."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    return dict(sorted(found.items()))


def list_debian(status: str) -> dict[str, str]:
    """Installed Debian packages, from the text of dpkg's status file."""
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


def read_torch() -> dict[str, Any]:
    """What torch was built with; empty without torch."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        return (
            {} if getattr(error, "name", None) == "torch" else {"error": f"torch cannot be loaded: {error}"}
        )
    found: dict[str, Any] = {"torch": str(torch.__version__).partition("+")[0], "cuda": torch.version.cuda}
    if not found["cuda"]:
        return found
    cudnn = torch.backends.cudnn.version()
    # 91002 is 9.10.2, and before cuDNN 9 8907 was 8.9.7.
    base = 10000 if cudnn and cudnn >= 90000 else 1000
    found["cudnn"] = f"{cudnn // base}.{cudnn % base // 100}.{cudnn % 100}" if cudnn else None
    nccl = importlib.import_module("torch.cuda.nccl").version()
    found["nccl"] = ".".join(str(part) for part in nccl[:3])
    # torch.cuda.get_arch_list() asks this too, and says nothing where there is no GPU.
    found["architectures"] = (torch._C._cuda_getArchFlags() or "").split()
    return found


def read_image() -> object:
    """What the build says of the image; None when it says nothing."""
    return json.loads(IMAGE.read_text()) if IMAGE.is_file() else None


def tell() -> dict[str, Any]:
    """All of it."""
    return {
        "python": platform.python_version(),
        "packages": list_packages(),
        "debian": list_debian(DPKG_STATUS.read_text()) if DPKG_STATUS.is_file() else {},
        "torch": read_torch(),
        "image": read_image(),
    }


if __name__ == "__main__":
    print(json.dumps(tell()))
