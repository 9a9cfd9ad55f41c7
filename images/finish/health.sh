#!/bin/bash
# Whether the server in this container answers, at the address at which the hub (or nobody) told it to listen.
url=${JUPYTERHUB_SERVICE_URL:-http://127.0.0.1:${JUPYTER_PORT:-8888}/}
rest=${url#*://}
address=${rest%%/*}
host=${address%:*} port=${address##*:}
case $host in 0.0.0.0 | '' | '*' | '[::]') host=127.0.0.1 ;; esac
{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || exit 1
printf 'GET /%sapi HTTP/1.0\r\nHost: localhost\r\n\r\n' "${rest#*/}" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
