"""Writes docs/settings.md from the code, so that the page cannot say anything else: python docs/reference.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gpuspawner.policy.settings import Settings
from gpuspawner.spawner.settings import SpawnerSettings

PAGE = Path(__file__).with_name("settings.md")

HEAD = """# Settings

Written by `python docs/reference.py` (`make docs`) from the code; do not edit.

## The spawner's traits

Set them in `jupyterhub_config.py` as `c.GPUSpawner.<name>`. All of DockerSpawner's traits work too; these of theirs
have another default here: `remove` is true (a container that is kept would come back with its old GPUs), `pull_policy`
is `never` (images are on the host beforehand), `start_timeout` is 120 s.

| trait | type | default | meaning, unit, reason |
| --- | --- | --- | --- |
"""

MIDDLE = """
## The settings file

`jupyterhub_config.py` of this repository reads `gpuspawner.yml`, or the file that `GPUSPAWNER_CONFIG` names, and then
every `jupyterhub_config.d/*.py` beside it. Unknown keys are errors that name the line and the nearest key.

| key | type | default | meaning, unit |
| --- | --- | --- | --- |
"""


def render() -> str:
    """The whole page."""
    own = [(name, trait) for name, trait in sorted(SpawnerSettings.class_own_traits().items()) if trait.help]
    traits = [
        f"| `{name}` | {type(trait).__name__} | {_default(trait)} | {' '.join(trait.help.split())} |"
        for name, trait in own
        if trait.metadata.get("config")
    ]
    return HEAD + "\n".join(traits) + "\n" + MIDDLE + "\n".join(_rows(Settings, "")) + "\n"


def _default(trait: Any) -> str:
    value = trait.default_value
    return "see meaning" if value in ("", None) else f"`{value}`"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _rows(kind, f"{prefix}{name}.")
            continue
        default = "required" if field.default is PydanticUndefined else f"`{field.default}`"
        shown = getattr(kind, "__name__", None) if isinstance(kind, type) else None
        text = (shown or str(kind)).replace("|", "or").replace("pathlib.", "").replace("typing.", "")
        text = text.replace("gpuspawner.policy.settings.", "")
        rows.append(f"| `{prefix}{name}` | {text} | {default} | {field.description or ''} |")
    return rows


if __name__ == "__main__":
    PAGE.write_text(render())
