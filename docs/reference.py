"""Writes the pages that only repeat what the code says (``make docs``)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import click
import yaml
from gpuspawner.cli import main
from gpuspawner.controller.api.table import ROUTES
from gpuspawner.policy.settings import Settings
from gpuspawner.policy.units import describe
from gpuspawner.setup.images import load_catalogue
from gpuspawner.spawner.settings import SpawnerSettings
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from traitlets import Undefined

HERE = Path(__file__).parent
ROLES = HERE.parent / "ansible" / "roles"

HEAD = """# Settings

Written from the code by `make docs`; do not edit.

## The spawner's traits

Set them in `jupyterhub_config.py` as `c.GPUSpawner.<name>`. All of DockerSpawner's traits work too; these
of theirs have another default here: `remove` is true (a container that is kept would come back with its old
GPUs), `pull_policy` is `never` (images are on the host beforehand), `start_timeout` is 120 s,
`poll_interval` 10 s.

| trait | type | default | meaning, unit, reason |
| --- | --- | --- | --- |
"""

MIDDLE = """
## The settings file

`jupyterhub_config.py` of this repository reads `gpuspawner.yml`, or the file that `GPUSPAWNER_CONFIG` names,
and then every `jupyterhub_config.d/*.py` beside it. Unknown keys are errors that name the line and the
nearest key.

| key | type | default | meaning, unit |
| --- | --- | --- | --- |
"""


COMMANDS_HEAD = """# Commands

Written from the code by `make docs`; do not edit. Exit codes: 1 a problem, 2 usage.

Errors and notes go to stderr. With `--json` the answer is one object whose `schema` rises when a key changes
its meaning; times are ISO 8601 with an offset, `null` is unknown or none. `--host` is needed where the
host's name in the settings is not the name of the machine.
"""

VARIABLES_HEAD = """# Variables of the playbooks

Written from the code by `make docs`; do not edit. Set them in `gpuspawner.yml` beside the inventory
([install.md](install.md)). A variable that is in no table here is refused, with its line, before the server
is touched.
"""

API_HEAD = """# REST API

Written from the code by `make docs`; do not edit. The same, with the forms of all answers, as an OpenAPI 3.1
document: `/services/gpu/api/openapi.json`.

All paths are below `/services/gpu/api`. Send a token of the hub (*Token* in the hub's menu, or
`POST /hub/api/users/NAME/tokens`):

```
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/services/gpu/api/queue
```

`/session` is for servers, which ask with their own token ([lab.md](lab.md)); a person's opens nothing there.

Everybody has the scope `custom:gpu:read`, which shows the cards and what is one's own; the hub's
administrators have all ([controller.md](controller.md)). What is others' does not exist for who may not see
it: the answer is 404 whether it is there or not.

Times are ISO 8601 with an offset, amounts of memory bytes; `null` is unknown, or that there is none. What is
not done is answered with `{"error": {"kind": …, "message": …, "conflicts": […]}}`: 400 malformed (the message
names the key) or never possible on this server, 401 no login, 403 a scope is missing, the policy forbids it,
or others decide on this, 404 not there, 409 not as things are now (`conflicts`: what a reservation collides
with), 502 the hub gave no answer and whether it was done is not known, 503 the state of the cards is not
known, or ledger, policy or hub are away.

A reservation is answered with the keys that are sent, and a few more. To change one, leave those out (`id`,
`actor`, `made_at`, `mine`, `warnings`), change what is to be different, and send it with PUT.

"""


IMAGES_BEGIN = "<!-- Written from images/images.toml by `make docs`; do not edit. -->\n\n"
IMAGES_END = "\n\n<!-- Up to here. -->"


def render_settings() -> str:
    """The page on settings."""
    own = [(name, trait) for name, trait in sorted(SpawnerSettings.class_own_traits().items()) if trait.help]
    traits = [
        f"| `{name}` | {type(trait).__name__} | {_default(trait)} | {' '.join(trait.help.split())} |"
        for name, trait in own
        if trait.metadata.get("config")
    ]
    return HEAD + "\n".join(traits) + "\n" + MIDDLE + "\n".join(_rows(Settings, "")) + "\n"


def _default(trait: Any) -> str:
    value = trait.default() if trait.default_value is Undefined else trait.default_value
    return "see meaning" if value in ("", None) else f"`{value}`"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        ways = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        section = next((one for one in ways if _is_section(one)), None)
        if section:
            rows += _rows(section, f"{prefix}{name}.")
            continue
        value = sorted(field.default) if isinstance(field.default, frozenset) else field.default
        value = describe(name, value) if isinstance(value, timedelta) else value
        default = "required" if value is PydanticUndefined else f"`{value}`"
        shown = getattr(kind, "__name__", None) if isinstance(kind, type) else None
        text = (
            (shown or str(kind))
            .replace("|", "or")
            .replace("pathlib._local.", "")
            .replace("pathlib.", "")
            .replace("typing.", "")
        )
        text = text.replace("gpuspawner.policy.settings.", "")
        rows.append(f"| `{prefix}{name}` | {text} | {default} | {field.description or ''} |")
    return rows


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def render_commands() -> str:
    """The page on commands."""
    parts = [COMMANDS_HEAD]
    parts += _sections(main, None, "gpuspawner")
    return "\n".join(parts)


def _sections(command: click.Command, parent: click.Context | None, name: str) -> list[str]:
    # click keeps the option from whoever asked first, and with it the names that it has there.
    command._help_option = None
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        max_content_width=100,
        terminal_width=100,
        **command.context_settings,
    )
    parts = [f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            parts += _sections(found, context, child) if found else []
    return parts


def render_api() -> str:
    """The page on the REST API."""
    parts = [API_HEAD]
    for route in ROUTES:
        parts.append(f"### {route.method} {route.path}\n\n{route.summary} Scope: `{route.scope}`.\n")
        if route.query:
            parts += ["Parameters:\n", *_fields(route.query), ""]
        if route.body:
            optional = "" if route.body_needed else " (may be left out)"
            parts += [f"Body{optional}:\n", *_fields(route.body), ""]
        answer = f"`{route.answer.__name__}`" if route.answer else route.media.partition(";")[0]
        parts.append(f"Answer: {route.status}, {answer}.\n")
    return "\n".join(parts)


def _fields(model: type[BaseModel]) -> list[str]:
    lines = ["| key | needed | meaning |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            about = f"an object: {', '.join(f'`{key}`' for key in kind.model_fields)}"
        else:
            about = field.description or ""
        lines.append(f"| `{field.alias or name}` | {'yes' if field.is_required() else 'no'} | {about} |")
    return lines


def render_variables() -> str:
    """The page on the variables of the playbooks."""
    parts = [VARIABLES_HEAD]
    for file in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        spec = yaml.safe_load(file.read_text())["argument_specs"].get("main")
        if spec is None:
            continue  # other roles use it
        parts.append(f"## {file.parents[1].name}: {spec['short_description']}\n")
        parts += [f"{' '.join(line.split())}\n" for line in spec.get("description", [])]
        parts += ["| variable | type | default | meaning, unit, reason |", "| --- | --- | --- | --- |"]
        parts += [_variable(name, about) for name, about in sorted(spec["options"].items())]
        parts.append("")
    return "\n".join(parts)


def _variable(name: str, about: dict[str, Any]) -> str:
    kind = " or ".join(about["choices"]) if "choices" in about else about["type"]
    default = about.get("default")
    shown = "none" if default in ("", [], {}) else f"`{default}`".replace("|", "\\|")
    shown = "required" if about.get("required") else shown
    return f"| `{name}` | {kind} | {shown} | {' '.join(about['description'].split())} |"


def render_images() -> str:
    """The page on images, with its table of them; the rest of it is written by hand."""
    text = (HERE / "images.md").read_text()
    head, begin, rest = text.partition(IMAGES_BEGIN)
    _, end, tail = rest.partition(IMAGES_END)
    lines = ["| image | on | what is in it | GPUs, driver | status |", "| --- | --- | --- | --- | --- |"]
    for one in load_catalogue():
        on = f"`{one.parent}`" if one.parent else "Debian packages"
        code = f"{' to '.join(one.compute_capability)}; " if one.compute_capability else ""
        needs = f"{code}{one.minimum_driver} or newer" if one.minimum_driver else ""
        status = f"{one.status} until {one.until}" if one.until else str(one.status)
        lines.append(f"| `{one.name}` | {on} | {', '.join(one.inside)} | {needs} | {status} |")
    return head + begin + "\n".join(lines) + end + tail


PAGES = {
    "images.md": render_images,
    "settings.md": render_settings,
    "commands.md": render_commands,
    "api.md": render_api,
    "variables.md": render_variables,
}

if __name__ == "__main__":
    for name, render in PAGES.items():
        (HERE / name).write_text(render())
