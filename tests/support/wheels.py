"""Packages made in a test, to be installed without any network."""

from __future__ import annotations

import zipfile
from io import BytesIO


def wheel(name: str, version: str = "1.0") -> bytes:
    """A package of one module, which prints hello, and one program."""
    files = {
        f"{name}.py": "def main():\n    print('hello from', __file__)\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{name}-hello = {name}:main\n",
        f"{name}-{version}.dist-info/RECORD": "",
    }
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return packed.getvalue()
