"""The pages that are written from code say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_settings_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "reference.py"))["render"]()
    assert (ROOT / "docs" / "settings.md").read_text() == page, "run: make docs"
