"""Where an installation keeps its ledger and its settings, for commands that were not told."""

from __future__ import annotations

import os
from pathlib import Path

from gpuspawner.core.errors import SettingsError

LEDGER_VARIABLE = "GPUSPAWNER_LEDGER"
DEMO_LEDGER = Path(".gpuspawner/demo/ledger.sqlite")
SETTINGS_VARIABLE = "GPUSPAWNER_CONFIG"
"""Read by jupyterhub_config.py as well."""
USUAL_SETTINGS = (Path("gpuspawner.yml"), Path(".gpuspawner/demo/gpuspawner.yml"))


def find_ledger(given: Path | None) -> Path:
    """Return the ledger to look at: what was given, else the variable's, else the demo's below here.

    Raises:
        SettingsError: None is named, or the one that is named does not exist.
    """
    named = os.environ.get(LEDGER_VARIABLE)
    path = given or (Path(named) if named else DEMO_LEDGER)
    if path.is_file():
        return path
    if given or named:
        raise SettingsError(
            f"There is no ledger {path}. Check the path; the hub or the agent makes the file."
        )
    raise SettingsError(
        f"No ledger was named, and there is no {DEMO_LEDGER} here. "
        f"Give --ledger PATH, or set {LEDGER_VARIABLE}=PATH."
    )


def find_settings(given: Path | None) -> Path | None:
    """Return the settings file: what was given, else the variable's, else a usual one that is there, or None.

    One that was named is returned unseen.
    """
    named = os.environ.get(SETTINGS_VARIABLE)
    if given or named:
        return given or Path(named or "")
    return next((path for path in USUAL_SETTINGS if path.is_file()), None)
