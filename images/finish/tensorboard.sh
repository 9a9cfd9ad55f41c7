#!/bin/sh
# TensorBoard for this server's person, on the port that jupyter-server-proxy chose. It looks where PyTorch's SummaryWriter
# of a notebook in the home writes; TENSORBOARD_LOGDIR names another folder. The whole home could have millions of files.
set -eu
logs=${TENSORBOARD_LOGDIR:-$HOME/runs}
mkdir -p "$logs"
exec tensorboard --host 127.0.0.1 --port "$1" --logdir "$logs"
