"""Defaults of the server in a session."""

import shutil

c = get_config()  # noqa: F821 - Jupyter puts it there

# Sessions have no desktop and no wastebasket: deleted files go at once, as in any shell.
c.FileContentsManager.delete_to_trash = False
# Server and kernel talk through files of this user, not through ports that others on the machine may try.
c.KernelManager.transport = "ipc"
# Where TensorBoard is, the launcher has it, and its address is below the server's own.
if shutil.which("tensorboard"):
    c.ServerProxy.servers = {
        "tensorboard": {
            "command": ["gpuspawner-tensorboard", "{port}"],
            "timeout": 60,
            "launcher_entry": {"title": "TensorBoard"},
        }
    }
