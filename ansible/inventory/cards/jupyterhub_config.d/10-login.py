"""Who may log in: people of the campus login, by OpenID Connect (see oauthenticator's documentation)."""

from pathlib import Path

c = get_config()  # noqa: F821 - JupyterHub puts it there

c.JupyterHub.authenticator_class = "generic-oauth"
c.GenericOAuthenticator.client_id = "gpuspawner"
# On the server, mode 0640, root:gpuspawner.
c.GenericOAuthenticator.client_secret = Path("/etc/gpuspawner/client_secret").read_text().strip()
c.GenericOAuthenticator.oauth_callback_url = "https://hub.example.org/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = "https://login.example.org/authorize"
c.GenericOAuthenticator.token_url = "https://login.example.org/token"  # noqa: S105 - an address
c.GenericOAuthenticator.userdata_url = "https://login.example.org/userinfo"
c.GenericOAuthenticator.scope = ["openid", "profile"]
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.allow_all = True
c.GenericOAuthenticator.admin_users = {"admin"}
