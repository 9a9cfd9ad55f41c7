"""gpuspawner: JupyterHub for shared GPU servers, every person with GPUs of their own."""
