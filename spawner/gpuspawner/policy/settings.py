"""The settings file of an installation: what an administrator writes, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpuspawner.core.errors import SettingsError

_BYTES = r"^[0-9]+(\.[0-9]+)?[KMGT]$"
"""An amount of memory: a number with a suffix K, M, G, T (powers of 1024). JupyterHub wants one."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """What one server and one person may use."""

    gpus_per_server: Annotated[int, Field(ge=0, description="GPUs in one server.")] = 1
    gpus_per_person: Annotated[int, Field(ge=0, description="GPUs in all servers of a person.")] = 1
    memory: Annotated[
        str | None, Field(pattern=_BYTES, description="Memory of one server, as 8G; none is no limit.")
    ] = None
    cpus: Annotated[float | None, Field(gt=0, description="Processors of one server; none is no limit.")] = (
        None
    )
    pids: Annotated[int, Field(ge=64, description="Processes and threads of one server.")] = 4096
    shm: Annotated[str, Field(pattern=_BYTES, description="Size of /dev/shm in a server, as 1G.")] = "1G"


class Homes(_Section):
    """Where new homes are made."""

    kind: Annotated[Literal["volume", "bind"], Field(description="Docker volumes, or directories.")] = (
        "volume"
    )
    directory: Annotated[Path, Field(description="Directory for homes of the kind bind.")] = Path("homes")


class Network(_Section):
    """How browser, hub and containers reach each other."""

    bind_url: Annotated[str, Field(description="Where browsers find the hub.")] = "http://127.0.0.1:8000"
    proxy_api_url: Annotated[str, Field(description="The proxy's own API, for the hub.")] = (
        "http://127.0.0.1:8001"
    )
    docker_network: Annotated[str, Field(description="Docker network of the servers.")] = "gpuspawner"
    hub_address: Annotated[str, Field(description="Address of the hub in that network: its gateway.")] = (
        "172.17.0.1"
    )
    hub_port: Annotated[int, Field(ge=1, le=65535, description="Port of the hub's API there.")] = 8081


class DemoUser(_Section):
    """A login of the demo. Real installations use an authenticator of JupyterHub."""

    password: Annotated[str, Field(min_length=8)]
    admin: bool = False


class Settings(_Section):
    """A whole installation."""

    state_dir: Annotated[Path, Field(description="Directory of the ledger and the hub's own files.")]
    images: Annotated[
        dict[str, str], Field(min_length=1, description="Image name → reference; first is default.")
    ]
    ledger: Annotated[Path | None, Field(description="The ledger; in state_dir unless set.")] = None
    host: Annotated[str | None, Field(description="Name of this GPU host; its host name unless set.")] = None
    container_prefix: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Beginning of the containers' names.")
    ] = "jupyter"
    start_timeout: Annotated[int, Field(ge=30, description="Seconds that a start may take.")] = 120
    limits: Limits = Limits()
    homes: Homes = Homes()
    network: Network = Network()
    demo_users: Annotated[dict[str, DemoUser], Field(description="Logins of the demo, by name.")] = {}

    @property
    def ledger_path(self) -> Path:
        """The ledger's database file."""
        return self.ledger or self.state_dir / "ledger.sqlite"


def load_settings(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file {path} is not text in UTF-8.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # YAML leaves it to Python to refuse 2030-13-45
        raise SettingsError(
            f"The settings file {path} is not YAML: {' '.join(str(error).split())}."
        ) from error
    if not isinstance(data, Mapping):
        raise SettingsError(f"The settings file {path} must hold keys and values.")
    _require_unique(path, node)
    try:
        return Settings.model_validate(dict(data))
    except ValidationError as error:
        raise SettingsError(_explain(path, node, error)) from None


def _explain(path: Path, node: yaml.Node | None, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"]]
    where = f"{path}, line {_find_line(node, keys)}: {'.'.join(keys)}"
    if first["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        near = get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are: {', '.join(known)}."
        return f"{where} is not a setting; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing. Add it."
    return f"{where}: {first['msg']}; it is {str(first['input'])[:60]!r}."


def _known_keys(path: list[str]) -> list[str]:
    kind: Any = Settings
    for key in path:
        # A section, or the values of a mapping such as that of the logins.
        kind = kind.model_fields[key].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
    return list(kind.model_fields)


def _require_unique(path: Path, node: yaml.Node | None) -> None:
    """Refuse a key that is there twice: YAML would take the last one without a word."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            raise SettingsError(
                f"{path}, line {key.start_mark.line + 1}: {key.value} is there twice. Remove one."
            )
        seen.add(str(key.value))
        _require_unique(path, value)


def _find_line(node: yaml.Node | None, keys: list[str]) -> int:
    line = node.start_mark.line + 1 if node else 1
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((k, v) for k, v in node.value if k.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
