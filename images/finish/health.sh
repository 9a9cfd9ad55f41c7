#!/bin/bash
# Whether the server in this container answers. It has written down where, whatever it was told to listen on.
for server in "${JUPYTER_RUNTIME_DIR:-/tmp}"/jpserver-*.json; do
    [ -r "$server" ] || continue
    read_key() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" "$server"; }
    host=$(read_key hostname) port=$(read_key port)
    case $host in 0.0.0.0 | :: | '') host=127.0.0.1 ;; esac
    { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || continue
    printf 'GET %sapi HTTP/1.0\r\nHost: localhost\r\n\r\n' "$(read_key base_url)" >&3
    read -r _ status _ <&3
    [ "$status" = 200 ] && exit 0
done
exit 1
