#!/bin/sh
# Makes any UID a person with a name and a home, then becomes the command.
set -eu

uid=$(id -u)
if [ "$uid" = 0 ]; then
    echo "This image does not run as root. Start it with --user and any other number." >&2
    exit 77
fi

if ! [ -w "$HOME" ]; then
    if mountpoint -q "$HOME"; then
        # Work that lands elsewhere would be lost without a word: rather not start.
        echo "The home at $HOME cannot be written by user id $uid. Its owner on the host must be $uid." >&2
        exit 73
    fi
    HOME=$(mktemp -d "${TMPDIR:-/tmp}/home.XXXXXX")
    export HOME
    cd "$HOME"
    echo "No home is mounted: $HOME is used, and is gone when this container is." >&2
fi

# Programs such as ssh and git refuse a user without a name. /etc/passwd cannot be written here, so this user is
# added to a copy of it, which the C library is shown instead.
if ! getent passwd "$uid" >/dev/null; then
    names=$(mktemp -d "${TMPDIR:-/tmp}/names.XXXXXX")
    grep -v '^jovyan:' /etc/passwd >"$names/passwd"
    echo "jovyan:x:$uid:$(id -g):jovyan:$HOME:/bin/bash" >>"$names/passwd"
    chmod 444 "$names/passwd"
    chmod 555 "$names"
    export NSS_WRAPPER_PASSWD="$names/passwd" NSS_WRAPPER_GROUP=/etc/group
    export LD_PRELOAD="libnss_wrapper.so${LD_PRELOAD:+:$LD_PRELOAD}"
fi

# The image's own working directory is a home that is not theirs.
if [ "$PWD" = /home/jovyan ]; then
    cd "$HOME"
fi
# Folders of courses lie beside the home, so that nothing in it can be in their way; there they are seen.
if [ -d /courses ]; then
    [ -e "$HOME/courses" ] || [ -L "$HOME/courses" ] || ln -s /courses "$HOME/courses" || true
elif [ "$(readlink "$HOME/courses" || true)" = /courses ]; then
    rm -f "$HOME/courses"
fi
. /etc/profile.d/jupyter.sh
# Python looks there only if it is there when a kernel starts: the first package would be found after a restart of it.
mkdir -p "$PYTHONUSERBASE/lib/$(cd /opt/jupyter/lib && echo python3*)/site-packages" || true
# Notebooks show TensorBoard (%tensorboard) through the server, which is all that a browser can reach.
export TENSORBOARD_PROXY_URL="${JUPYTERHUB_SERVICE_PREFIX:-/}proxy/%PORT%/"

# Its person comes in by SSH too, where the hub has a gateway for that (docs/ssh.md).
# What ends, as when memory is short, is started again; what does not last a minute, after a longer and longer pause.
keep_ssh() {
    pause=2
    folder=$(mktemp -d "${TMPDIR:-/tmp}/ssh.XXXXXX") || return 0
    while :; do
        began=$(date +%s) || began=0 # These, too, may be killed.
        code=0
        gpuspawner-session sshd --folder "$folder" || code=$?
        case $code in
            2 | 126 | 127) return 0 ;; # It is not wanted here, or there is none.
        esac
        ended=$(date +%s) || ended=$began
        [ $((ended - began)) -lt 60 ] || pause=2
        sleep "$pause" || true
        pause=$((pause < 150 ? pause * 2 : 300))
    done
}
if [ -r /opt/gpuspawner/ssh/host_key ]; then
    keep_ssh &
fi

# Without a hub, on a laptop or a cluster, its server would not start: JupyterLab itself does. Apptainer gives a container
# the network of the host, where others work too.
if [ "${1:-}" = jupyterhub-singleuser ] && [ -z "${JUPYTERHUB_API_TOKEN:-}" ]; then
    shift
    if [ -n "${APPTAINER_CONTAINER:-}" ]; then address=127.0.0.1; else address=0.0.0.0; fi
    set -- jupyter lab --no-browser --ServerApp.ip="$address" "$@"
fi

# The first process must collect ended ones; with `docker run --init` another one does.
if [ $$ = 1 ]; then
    exec /usr/bin/tini -- "$@"
fi
exec "$@"
