"""Defaults of the server in a session."""

import os
import shutil
from importlib.util import find_spec

c = get_config()  # noqa: F821 - Jupyter puts it there

# Sessions have no desktop and no wastebasket: deleted files go at once, as in any shell.
c.FileContentsManager.delete_to_trash = False
# Server and kernel talk through files of this user, not through ports that others on the machine may try.
c.KernelManager.transport = "ipc"
# Jupyter's own default is three times as long; Tornado then warns in the log at each kernel.
c.ServerApp.tornado_settings = {"ws_ping_timeout": 30_000}
# What is in the image is in the launcher, and its address is below the server's own.
proxied = {}
if shutil.which("tensorboard"):
    proxied["tensorboard"] = {
        "command": ["gpuspawner-tensorboard", "{port}"],
        "timeout": 60,
        "launcher_entry": {"title": "TensorBoard"},
    }
if shutil.which("code-server"):
    proxied["vscode"] = {
        "command": ["gpuspawner-vscode", "{unix_socket}"],
        "unix_socket": True,
        "timeout": 60,
        # An open editor talks to its server all the time: that is nothing that anybody does.
        "update_last_activity": False,
        "launcher_entry": {"title": "VS Code", "icon_path": "/opt/jupyter/share/gpuspawner/vscode.svg"},
    }
if proxied:
    c.ServerProxy.servers = proxied
# Grading is for who grades. Its folders are not in the servers of others anyhow; so neither are its pages.
if find_spec("nbgrader"):
    courses = os.environ.get("GPUSPAWNER_COURSES", "")
    c.ServerApp.jpserver_extensions = {
        "nbgrader.server_extensions.formgrader": "=grader" in courses,
        "nbgrader.server_extensions.course_list": False,
        "nbgrader.server_extensions.assignment_list": bool(courses),
        "nbgrader.server_extensions.validate_assignment": bool(courses),
    }
