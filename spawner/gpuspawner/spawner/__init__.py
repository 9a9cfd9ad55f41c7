"""The spawner plug-in: ``c.JupyterHub.spawner_class = "gpu"``."""

from .spawner import GPUSpawner

__all__ = ["GPUSpawner"]
