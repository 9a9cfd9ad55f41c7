"""JupyterHub's configuration file: settings first, then whatever the site adds.

Settings come from ``gpuspawner.yml`` (or the file that GPUSPAWNER_CONFIG names); Python files in
``jupyterhub_config.d`` beside it run afterwards, in order, and may change anything.
"""

import os
from pathlib import Path

from gpuspawner import hubconfig
from gpuspawner.policy.settings import load_settings

c = get_config()  # noqa: F821 - JupyterHub puts it there

settings_file = Path(os.environ.get("GPUSPAWNER_CONFIG", "gpuspawner.yml"))
settings = load_settings(settings_file)
hubconfig.require_policy(settings)
hubconfig.apply(c, settings, hubconfig.read_controller_token(settings))
for extra in sorted(settings_file.with_name("jupyterhub_config.d").glob("*.py")):
    load_subconfig(str(extra.absolute()))  # noqa: F821 - JupyterHub puts it there
hubconfig.require_login(c)
