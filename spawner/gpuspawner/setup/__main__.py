"""``python3 -m gpuspawner.setup``."""

from .cli import main

main()
