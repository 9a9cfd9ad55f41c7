"""Measurements against stock DockerSpawner: ``python -m tests.bench``."""
