"""The settings file of an installation: what an administrator writes, checked before anything is touched."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from gpuspawner.core.policy import Rule, settings_rule
from gpuspawner.core.sharing import Places
from gpuspawner.core.words import mark

from .login import Login
from .units import read_bytes, read_duration
from .yamlfile import STRICT, YamlFile, read_yaml, suggest

_BYTES = r"^[0-9]+(\.[0-9]+)?[KMGT]$"
"""An amount of memory: a number with a suffix K, M, G, T (powers of 1024). JupyterHub wants one."""


SERVICE = "gpu"
"""Name of the controller among the hub's services."""
EVERYWHERE = "0.0.0.0"  # noqa: S104 - where it is said, the administrator may say something else
LOOPBACK = "127.0.0.1"


class _Section(BaseModel):
    model_config = STRICT


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

    def as_rule(self) -> Rule:
        """What everybody may use where the policy says nothing."""
        return settings_rule(
            gpus_per_server=self.gpus_per_server,
            gpus_per_person=self.gpus_per_person,
            memory=None if self.memory is None else read_bytes(self.memory),
            cpus=self.cpus,
            shm=read_bytes(self.shm),
        )


class Homes(_Section):
    """Where new homes are made."""

    kind: Annotated[Literal["volume", "bind"], Field(description="Docker volumes, or directories.")] = (
        "volume"
    )
    directory: Annotated[Path, Field(description="Directory for homes of the kind bind.")] = Path("homes")


class Courses(_Section):
    """What courses have of their own (docs/courses.md)."""

    directory: Annotated[
        Path | None,
        Field(description="Where folders of teams and hand-ins are made; none: there are none."),
    ] = None

    @model_validator(mode="after")
    def _require_absolute(self) -> Courses:
        if self.directory is not None and not self.directory.is_absolute():
            raise ValueError("directory must be an absolute path, such as /srv/courses")
        return self


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
    subdomain_host: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?$",
            description="Where browsers find the hub, as https://hub.example.org, if each person's servers "
            "are to be at a name of their own below that one, as ada.hub.example.org; names and certificate "
            "must be for *.hub.example.org too, and the proxy must run with --host-routing.",
        ),
    ] = None


class Controller(_Section):
    """The process that keeps the line, ends sessions and serves /services/gpu (docs/controller.md)."""

    enabled: Annotated[
        bool, Field(description="Whether there is a controller: without it nobody queues.")
    ] = False
    port: Annotated[
        int,
        Field(
            ge=1, le=65535, description="Its port: on 127.0.0.1 for the proxy, on hub_address for servers."
        ),
    ] = 8082
    token_file: Annotated[
        Path | None, Field(description="The secret it shares with the hub; in state_dir unless set.")
    ] = None
    tick: Annotated[float, Field(ge=0.1, le=60, description="Seconds from one tick to the next.")] = 2.0
    claim_window: Annotated[
        timedelta,
        BeforeValidator(read_duration),
        Field(description="How long somebody whose turn has come may take to open the server."),
    ] = timedelta(minutes=5)
    look: Annotated[
        timedelta,
        BeforeValidator(read_duration),
        Field(description="From one look into all sessions, for idle ones, to the next; 5 s to 60 s."),
        Field(ge=timedelta(seconds=5), le=timedelta(seconds=60)),
    ] = timedelta(seconds=30)


class Mail(_Section):
    """A mail server that takes messages to people."""

    host: Annotated[str, Field(min_length=1, description="Its name.")]
    port: Annotated[int, Field(ge=1, le=65535, description="Its port.")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"], Field(description="How the connection is kept secret.")
    ] = "starttls"
    sender: Annotated[
        str, Field(pattern=r"^[^@\s]+@[^@\s]+$", description="Address that the mails come from.")
    ]
    domain: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9.-]+$",
            description="What follows on name@ in people's addresses; a name that has an @ is one itself.",
        ),
    ]
    user: Annotated[str | None, Field(description="Login at the mail server; none logs in nowhere.")] = None
    password_file: Annotated[Path | None, Field(description="File with the password of that login.")] = None

    @model_validator(mode="after")
    def _require_both(self) -> Mail:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: write both, or neither")
        return self


class WebhookSettings(_Section):
    """A program of the site that messages to people are posted to."""

    url: Annotated[
        str, Field(pattern=r"^https?://[^\s/]+", description="Where to; a redirect is not followed.")
    ]
    secret_file: Annotated[
        Path | None, Field(description="File with the secret that signs them (HMAC-SHA256).")
    ] = None


class Notices(_Section):
    """Where warnings, ends and other messages reach people outside of the pages (docs/notices.md)."""

    hub: Annotated[
        str | None,
        Field(pattern=r"^https?://[^\s]+$", description="What people open in a browser; for links."),
    ] = None
    mail: Annotated[Mail | None, Field(description="By mail; none sends no mail.")] = None
    webhook: Annotated[WebhookSettings | None, Field(description="To a program; none calls none.")] = None


class Ssh(_Section):
    """Terminals and editors on people's own machines (docs/ssh.md)."""

    enabled: Annotated[
        bool, Field(description="Whether servers can be reached by SSH; needs the controller.")
    ] = False
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the gateway.")] = 2222
    address: Annotated[str, Field(description="Address of this host that it listens on.")] = EVERYWHERE
    ways: Annotated[
        Literal["both", "port", "web"],
        Field(
            description="How people reach the gateway: by its port, through the hub's own address (port 443, "
            "`web`), or both. With `web` it listens on this host alone, and its port stays closed."
        ),
    ] = "both"
    client: Annotated[
        str,
        Field(
            description="How people install gpuspawner-session for port 443, as their page tells it: a "
            "command, which names a place that is yours. Unless set they are sent to their administrators.",
        ),
    ] = ""
    host: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$",
            description="What people's programs connect to; the name in notices.hub or bind_url unless set.",
        ),
    ] = None
    account: Annotated[
        str,
        Field(
            pattern=r"^[a-z_][a-z0-9_-]{0,31}$",
            description="Unix account without a shell that everybody comes in as.",
        ),
    ] = "nobody"
    folder: Annotated[
        Path | None, Field(description="Directory of keys and sockets; `ssh` in state_dir unless set.")
    ] = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses that the gateway listens on; what comes through port 443 finds it on loopback."""
        if self.ways == "web":
            return (LOOPBACK,)
        more = self.ways == "both" and self.address not in (EVERYWHERE, LOOPBACK)
        return (self.address, LOOPBACK) if more else (self.address,)

    @property
    def reached_at(self) -> str:
        """Where this host itself reaches the gateway."""
        return {EVERYWHERE: LOOPBACK, "::": "::1"}.get(self.addresses[0], self.addresses[0])


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
    candidates: Annotated[
        list[str], Field(description="Images that only those can choose whose policy names them.")
    ] = []
    frozen: Annotated[
        dict[str, date],
        Field(description="Image name → last day on which it can be chosen, such as 2027-07-31."),
    ] = {}
    passports: Annotated[
        Path | None,
        Field(
            description="Directory of the images' passports (docs/passports.md); "
            "`passports` in state_dir unless set."
        ),
    ] = None
    ledger: Annotated[Path | None, Field(description="The ledger; in state_dir unless set.")] = None
    policy: Annotated[
        Path | None, Field(description="Policy file (docs/policy.md); none: limits are the same for all.")
    ] = None
    host: Annotated[str | None, Field(description="Name of this GPU host; its host name unless set.")] = None
    container_prefix: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Beginning of the containers' names.")
    ] = "jupyter"
    start_timeout: Annotated[int, Field(ge=30, description="Seconds that a start may take.")] = 120
    limits: Limits = Limits()
    homes: Homes = Homes()
    courses: Courses = Courses()
    network: Network = Network()
    controller: Controller = Controller()
    notices: Notices = Notices()
    ssh: Ssh = Ssh()
    login: Annotated[
        Login | None, Field(description="How people log in; none: an authenticator of the site's own.")
    ] = None
    demo_users: Annotated[dict[str, DemoUser], Field(description="Logins of the demo, by name.")] = {}

    @model_validator(mode="after")
    def _require_one_login(self) -> Self:
        if self.login and self.demo_users:
            raise ValueError("there are both login and demo_users, which are for trying out; remove one")
        return self

    @model_validator(mode="after")
    def _require_controller(self) -> Self:
        if self.ssh.enabled and not self.controller.enabled:
            raise ValueError(
                "ssh needs the controller, which says who may come in: set controller.enabled to true, or "
                "ssh.enabled to false"
            )
        return self

    @property
    def ssh_folder(self) -> Path:
        """The directory of the keys and sockets of SSH."""
        return self.ssh.folder or self.state_dir / "ssh"

    @property
    def ssh_host(self) -> str:
        """The name by which people's programs find the gateway."""
        found = urlsplit(self.notices.hub or "").hostname or urlsplit(self.network.bind_url).hostname
        return self.ssh.host or found or "127.0.0.1"

    @property
    def ledger_path(self) -> Path:
        """The ledger's database file."""
        return self.ledger or self.state_dir / "ledger.sqlite"

    @property
    def places(self) -> Places:
        """Directories that a policy must fit to."""
        private = {
            str(self.state_dir.absolute()): mark("the hub's own files"),
            str(self.ledger_path.parent.absolute()): mark("the hub's own files"),
        }
        if self.homes.kind == "bind":
            private[str(self.homes.directory.absolute())] = mark("people's homes")
        if self.courses.directory is not None:
            private[str(self.courses.directory)] = mark("folders of courses")
        return Places(private, self.courses.directory is not None)

    @property
    def passports_path(self) -> Path:
        """The directory of the images' passports."""
        return self.passports or self.state_dir / "passports"

    @property
    def controller_token_path(self) -> Path:
        """The file of the secret that hub and controller share."""
        return self.controller.token_file or self.state_dir / "controller_token"

    @property
    def base_url(self) -> str:
        """The path under which the hub is served: ``/``, or what ``bind_url`` ends with."""
        path = urlsplit(self.network.bind_url).path.strip("/")
        return f"/{path}/" if path else "/"

    @property
    def address(self) -> str:
        """What people open in a browser: as told for links, else where the proxy listens; ends in a slash."""
        hub = urlsplit(self.notices.hub or self.network.bind_url)
        return f"{hub.scheme}://{hub.netloc}{self.base_url}"

    @property
    def service_url(self) -> str:
        """The path of everything that the controller serves, ending in a slash."""
        return f"{self.base_url}services/{SERVICE}/"

    @property
    def servers_page(self) -> str:
        """Where people see their servers: an address, or a path where no address of the hub is set."""
        hub = urlsplit(self.notices.hub or "")
        origin = f"{hub.scheme}://{hub.netloc}" if hub.netloc else ""
        return f"{origin}{self.service_url}servers"

    @property
    def hub_origin(self) -> str:
        """What the addresses of the hub's pages begin with, for people outside of them."""
        hub = urlsplit(self.notices.hub or self.network.bind_url)
        return f"{hub.scheme}://{hub.netloc}"

    @property
    def session_url(self) -> str:
        """Where servers ask the controller about their own session."""
        return f"http://{self.network.hub_address}:{self.controller.port}{self.service_url}api/session"

    @property
    def hub_api_url(self) -> str:
        """The hub's REST API, not through the proxy."""
        network = self.network
        return f"http://{network.hub_address}:{network.hub_port}{self.base_url}hub/api"


def load_settings(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    file = read_yaml(path, kind="settings file", word="a setting")
    settings = file.check(Settings)
    require_images(settings, file)
    return settings


def require_images(settings: Settings, file: YamlFile) -> None:
    """Check that the images that a settings file speaks of are among its images.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    for key, names in (("candidates", settings.candidates), ("frozen", list(settings.frozen))):
        for name in names:
            if name not in settings.images:
                fix = suggest(name, list(settings.images), "images are")
                raise file.error([key, name], f": there is no image {name!r}; {fix}")
