"""From settings to JupyterHub's configuration: one pure function, so that tests read what it sets."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.auth import Authenticator
from jupyterhub.utils import subdomain_hook_idna
from traitlets import Dict

from .adapters.secret import ensure_secret, read_private
from .core.errors import SettingsError
from .policy.login import TITLES, Login
from .policy.policy import load_policy
from .policy.settings import SERVICE, DemoUser, Settings

HUB_TEMPLATES = Path(__file__).parent / "spawner" / "templates" / "hub"
HUB_WORDS = "gpuspawner.language.hubpages.HubWords"
"""What translates them."""


_WAYS = {
    "github": ("github", "GitHubLogin"),
    "lti": ("lti", "LtiLogin"),
    "local": ("local", "LocalLogin"),
}
"""Module and class of the ways to log in that are not OpenID Connect's."""
TOKEN_LIFE = timedelta(days=365)
"""The longest, of tokens that people make; who asks for none gets it. The Hub's own limit is none."""
NAMED_SERVERS = 4
"""Servers that a person may have beside the default one: enough to compare, too few to flood a host."""

SESSION = "custom:gpu:session"
KEYS = "custom:gpu:keys"
SSH = "custom:gpu:ssh"
CUSTOM_SCOPES = {
    "custom:gpu:read": {"description": "See the GPUs, and what is one's own: sessions, place in line, use."},
    "custom:gpu:manage": {
        "description": "See and change everybody's sessions and places in line; drain and assign GPUs.",
        "subscopes": ["custom:gpu:read"],
    },
    "custom:gpu:reserve": {"description": "Reserve GPUs.", "subscopes": ["custom:gpu:read"]},
    KEYS: {
        "description": "Add and remove one's own keys for SSH, which open one's servers.",
        "subscopes": ["custom:gpu:read"],
    },
    SSH: {"description": "Reach the gateway of SSH through port 443, for which a key is needed as well."},
    SESSION: {"description": "See, keep and end the session of one server, from inside of it."},
}
"""What somebody may do at the controller. The hub's administrators may do all, see :data:`ADMIN_MARK`."""
ADMIN_MARK = "admin-ui"
"""What tells the controller that a login is an administrator's: JupyterHub lets nobody add to their role.

By itself it opens the hub's admin page, and gives no right to do anything there.
"""
ACCESS = f"access:services!service={SERVICE}"
SERVER_SCOPES = ("users:activity!user", "access:servers!server", ACCESS, f"{SESSION}!server")
"""What a server's own token may do: JupyterHub's own two, and to ask the controller about this server."""
CONTROLLER_SCOPES = (
    "list:users",
    "read:users:name",
    "read:users:groups",
    "read:servers",
    "start:servers",
    "delete:servers",  # the scope that stopping one takes
    "delete:users",  # for people whom an administrator has removed; homes are the ledger's, and stay
)
"""What the controller may do at the hub; it is no administrator.

Not ``access:servers``: a server is its user's, and would read a token of the controller that is sent to it.
"""


def apply(c: Any, settings: Settings, controller_token: str = "") -> None:
    """Configure a hub.

    Args:
        c: JupyterHub's configuration object.
        settings: The checked settings.
        controller_token: What :func:`read_controller_token` returned.
    """
    _apply_hub(c, settings)
    _apply_spawner(c, settings)
    if settings.controller.enabled:
        _apply_controller(c, settings, controller_token)
    if settings.login:
        _apply_login(c, settings.login, settings)
    if settings.demo_users:
        _apply_demo_login(c, settings.demo_users)


def require_login(c: Any) -> None:
    """Stop a hub that nobody could log in to, or that would let in whoever the host knows.

    Args:
        c: JupyterHub's configuration object, with whatever the site added.

    Raises:
        SettingsError: No way to log in is configured, with the fix.
    """
    if "authenticator_class" not in c.JupyterHub:
        raise SettingsError(
            "Nobody is allowed to log in: the settings file has no section `login` (docs/login.md), and no "
            "file in jupyterhub_config.d sets c.JupyterHub.authenticator_class."
        )


def require_policy(settings: Settings) -> None:
    """Stop a hub that starts with a broken policy: later a broken file keeps the old one in force.

    Raises:
        SettingsError: With file, line, key and fix.
    """
    if settings.policy:
        load_policy(settings.policy, images=settings.images, places=settings.places)


def read_controller_token(settings: Settings) -> str:
    """The secret that hub and controller share, made at the first start; empty without a controller.

    Raises:
        SettingsError: It cannot be read or made, or is not private.
    """
    return ensure_secret(settings.controller_token_path) if settings.controller.enabled else ""


def _apply_hub(c: Any, settings: Settings) -> None:
    hub, network = c.JupyterHub, settings.network
    hub.spawner_class = "gpu"
    hub.bind_url = network.bind_url
    hub.hub_ip = network.hub_address
    hub.hub_port = network.hub_port
    hub.db_url = f"sqlite:///{quote(str(settings.state_dir / 'jupyterhub.sqlite'), safe='/ ')}"
    hub.cookie_secret_file = str(settings.state_dir / "cookie_secret")
    # Servers and their connections outlive a restart of the hub: the proxy is a process of its own.
    hub.cleanup_servers = False
    hub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = network.proxy_api_url
    if network.subdomain_host:
        hub.subdomain_host = network.subdomain_host
        hub.subdomain_hook = name_of_servers
    # A hub that gives up waiting for its spawners forgets servers that run.
    hub.init_spawners_timeout = -1
    hub.template_paths = [str(HUB_TEMPLATES)]
    hub.jinja_environment_options = {"extensions": [HUB_WORDS]}
    hub.token_expires_in_max_seconds = int(TOKEN_LIFE.total_seconds())
    hub.allow_named_servers = True
    hub.named_server_limit_per_user = NAMED_SERVERS


def name_of_servers(name: str, domain: str, kind: str) -> str:
    """The name at which a person's servers are; the controller, which is trusted as the hub is, stays at its.

    Args:
        name: The person's, or the service's.
        domain: The hub's.
        kind: ``user`` or ``service``; JupyterHub asks.
    """
    return str(subdomain_hook_idna(name, domain, kind)) if kind == "user" else domain


def _apply_spawner(c: Any, settings: Settings) -> None:
    spawner, limits = c.GPUSpawner, settings.limits
    spawner.ledger = str(settings.ledger_path)
    if settings.host:
        spawner.host = settings.host
    if settings.policy:
        spawner.policy = str(settings.policy)
    spawner.allowed_images = dict(settings.images)
    spawner.image = next(iter(settings.images.values()))
    if settings.candidates:
        spawner.candidates = list(settings.candidates)
    if settings.frozen:
        spawner.frozen = {name: f"{day:%Y-%m-%d}" for name, day in settings.frozen.items()}
    spawner.passports = str(settings.passports_path)
    spawner.prefix = settings.container_prefix
    spawner.network_name = settings.network.docker_network
    spawner.start_timeout = settings.start_timeout
    spawner.http_timeout = settings.start_timeout
    spawner.gpus_per_server = limits.gpus_per_server
    spawner.gpus_per_person = limits.gpus_per_person
    if limits.memory is not None:
        spawner.mem_limit = limits.memory
    if limits.cpus is not None:
        spawner.cpu_limit = limits.cpus
    spawner.pids_limit = limits.pids
    spawner.shm_size = limits.shm
    spawner.home_kind = settings.homes.kind
    spawner.home_base = str(settings.homes.directory)
    if settings.courses.directory:
        spawner.course_base = str(settings.courses.directory)


def _apply_controller(c: Any, settings: Settings, token: str) -> None:
    """Make the controller a service of the hub.

    An external one, which the hub only knows: a service that the hub starts itself ends the hub when it
    does not come up.
    """
    hub = c.JupyterHub
    hub.custom_scopes = CUSTOM_SCOPES
    hub.services = [
        {
            "name": SERVICE,
            "url": f"http://127.0.0.1:{settings.controller.port}",
            "api_token": token,
            "oauth_no_confirm": True,
            # What a login at the controller carries over from the person; less would hide an administrator.
            "oauth_client_allowed_scopes": [ACCESS, ADMIN_MARK, *sorted(set(CUSTOM_SCOPES) - {SESSION, SSH})],
        }
    ]
    # Everybody may see. Who else may manage or reserve gets that by roles of the site (docs/controller.md).
    # A token may do no more than its person: so they have the scopes of a server's, and of one for SSH, too.
    hub.extra_user_scopes = {ACCESS, "custom:gpu:read", KEYS, SESSION, SSH}
    hub.load_roles = [
        {"name": "gpu-controller", "scopes": list(CONTROLLER_SCOPES), "services": [SERVICE]},
        {"name": "server", "scopes": list(SERVER_SCOPES)},
    ]
    if settings.ssh.enabled:
        c.GPUSpawner.ssh_dir = str(settings.ssh_folder)
    c.GPUSpawner.session_url = settings.session_url
    c.GPUSpawner.queue_url = f"{settings.service_url}queue"


def _apply_login(c: Any, login: Login, settings: Settings) -> None:
    """Let people log in, by whatever way the settings say."""
    hub, (module, name) = c.JupyterHub, _WAYS.get(login.provider, ("oidc", "OidcLogin"))
    hub.authenticator_class = f"gpuspawner.login.{module}.{name}"
    hub.cookie_max_age_days = login.stay / timedelta(days=1)
    # That is what the hub takes; this is when browsers forget them, else after 30 days.
    hub.tornado_settings = {"cookie_options": {"expires_days": login.stay / timedelta(days=1)}}
    key = ensure_secret(settings.state_dir / "auth_state_key")
    c.CryptKeeper.keys = [sha256(key.encode()).digest()]
    way = c[name]
    way.enable_auth_state = True
    way.auth_refresh_age = int(login.refresh.total_seconds())
    way.ledger = str(settings.ledger_path)
    _apply_rules(way, login)
    if login.by_service:
        _apply_service(way, login)
    elif login.provider == "lti":
        hub.template_vars = {"from_course": True}
        way.username_key = login.username_claim or ""
        way.callback_address = login.callback_url or ""
        way.platforms = [one.model_dump() for one in login.platforms]
    else:
        hub.template_vars = {"password_page": "password"}


def _apply_rules(way: Any, login: Login) -> None:
    """Who may log in, and who administers."""
    allow, admins = login.allow, login.admins
    # With domains or institutions alone, all of these may come.
    way.everybody = allow.everybody or not (allow.groups or allow.users)
    way.allowed_users = set(allow.users)
    way.manage_groups = True
    way.allowed_groups = set(allow.groups)
    way.admin_groups = set(admins.groups)
    way.admin_names = set(admins.users)
    way.required_claims = {
        claim: sorted(values) for claim, values in (("hd", allow.domains), ("idp", allow.idps)) if values
    }
    way.any_allow_config = True


def _apply_service(way: Any, login: Login) -> None:
    """How to log in at a service."""
    allow = login.allow
    way.provider = login.url
    way.client_id = login.client_id
    way.client_secret = read_private(login.client_secret_file) if login.client_secret_file else ""
    way.login_service = login.title or TITLES[login.provider]
    way.scope = login.scopes
    way.username_claim = login.name_claim
    if login.callback_url:
        way.oauth_callback_url = login.callback_url
    if login.provider == "github":
        way.github_url = login.url
        way.subject_claim = "id"
        way.populate_teams_in_auth_state = True
    else:
        way.groups_claim = login.groups_claim
    if login.provider == "google":
        way.extra_authorize_params = {"hd": next(iter(allow.domains))} if len(allow.domains) == 1 else {}
    if login.provider == "cilogon" and allow.idps:
        way.extra_authorize_params = {"selected_idp": ",".join(sorted(allow.idps))}


def _apply_demo_login(c: Any, users: dict[str, DemoUser]) -> None:
    c.JupyterHub.authenticator_class = DemoAuthenticator
    c.DemoAuthenticator.passwords = {name: user.password for name, user in users.items()}
    c.DemoAuthenticator.allowed_users = set(users)
    c.DemoAuthenticator.admin_users = {name for name, user in users.items() if user.admin}


class DemoAuthenticator(Authenticator):
    """Passwords from the settings file: for trying things out on one's own machine, and for nothing else."""

    passwords = Dict(help="Password of each login.").tag(config=True)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The user name if the password is right, else None."""
        known = self.passwords.get(data["username"], "")
        right = compare_digest(known.encode(), data["password"].encode())
        return data["username"] if known and right else None
