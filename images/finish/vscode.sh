#!/bin/sh
# VS Code for this server's person, at the socket that jupyter-server-proxy chose, which no other user can open. Who may see it is
# Jupyter's matter. What it keeps (settings, extensions) is in the home; two servers with one home do not meet.
set -eu
own=$(mktemp -d "${TMPDIR:-/tmp}/vscode.XXXXXX")
exec code-server --auth none --socket "$1" --socket-mode 600 --config "$own/config.yaml" --session-socket "$own/session" \
    --abs-proxy-base-path "${JUPYTERHUB_SERVICE_PREFIX:-/}vscode" --disable-telemetry --disable-update-check \
    --disable-workspace-trust --disable-getting-started-override --app-name "VS Code" "$HOME"
