"""What an image says of itself. Its source is run by the image's own Python: nothing of ours is there.

It runs without network, and also where there is no GPU and no torch. What it prints is one line of JSON.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

DPKG_STATUS = Path("/var/lib/dpkg/status")
IMAGE = Path("/opt/gpuspawner/image.json")
"""What the build says of the image."""
EDITOR = Path("/opt/vscode")
"""VS Code, where an image has it: packages of npm, and a Node of its own."""
NODE = "node_modules/code-server/lib/node"


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


def list_npm(folder: Path) -> list[dict[str, Any]]:
    """What npm installed anywhere below a folder and nobody took out again, each version once."""
    found = {}
    for listed in sorted(folder.rglob("node_modules/.package-lock.json")):
        for place, one in json.loads(listed.read_text())["packages"].items():
            if "version" in one and (listed.parent.parent / place).is_dir():
                name = one.get("name") or place.rpartition("node_modules/")[2]
                hashed = read_integrity(one.get("integrity"))
                found[name, one["version"]] = {
                    "kind": "npm", "name": name, "version": one["version"], "hash": hashed
                }  # fmt: skip
    return [found[key] for key in sorted(found)]


def read_integrity(text: str | None) -> str | None:
    """A hash as npm writes it, ``sha512-`` and Base64, as it is written here; None without one."""
    if not text:
        return None
    algorithm, _, value = text.split()[0].partition("-")
    return f"{algorithm}:{base64.b64decode(value).hex()}"


def list_node(program: Path) -> list[dict[str, Any]]:
    """The Node that stands beside them, with the hash of the program; nothing where there is none."""
    if not program.is_file():
        return []
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    with program.open("rb") as file:
        hashed = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    version = said.stdout.strip().removeprefix("v")
    return [{"kind": "generic", "name": "node", "version": version, "hash": hashed}]


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
        "others": [*list_npm(EDITOR), *list_node(EDITOR / NODE)],
        "torch": read_torch(),
        "image": read_image(),
    }


if __name__ == "__main__":
    print(json.dumps(tell()))
