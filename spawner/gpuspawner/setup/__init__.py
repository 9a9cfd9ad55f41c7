"""Preparing a host: what ``make demo`` and ``make test`` need before the first import of anything else.

Runs with the bare ``python3`` of Debian (``PYTHONPATH=spawner python3 -m gpuspawner.setup``), so it imports
the standard library only. Everything it makes in the checkout is below ``.gpuspawner/``.
"""
