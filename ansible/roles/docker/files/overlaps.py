"""Prints which of some networks overlap: with each other, or with one of this server's that is no bridge."""

import ipaddress
import json
import subprocess
import sys

BRIDGES = ("docker", "br-", "veth", "gpuspawner")
wanted = [(text, ipaddress.ip_network(text)) for text in sys.argv[1:]]
for number, (text, network) in enumerate(wanted):
    for other, found in wanted[number + 1 :]:
        if network.version == found.version and network.overlaps(found):
            print(f"{text} with {other}")
routes = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, check=True).stdout
for route in json.loads(routes):
    if route["dst"] == "default" or route.get("dev", "").startswith(BRIDGES):
        continue
    for text, network in wanted:
        if network.version == 4 and ipaddress.ip_network(route["dst"]).overlaps(network):
            print(f"{text} with {route['dst']} ({route.get('dev', 'no device')})")
