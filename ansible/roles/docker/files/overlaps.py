"""Prints which networks of this server overlap with those that are named; bridges of the Engine aside."""

import ipaddress
import json
import subprocess
import sys

BRIDGES = ("docker", "br-", "veth", "gpuspawner")
routes = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, check=True).stdout
for route in json.loads(routes):
    if route["dst"] == "default" or route.get("dev", "").startswith(BRIDGES):
        continue
    for wanted in sys.argv[1:]:
        if ipaddress.ip_network(route["dst"]).overlaps(ipaddress.ip_network(wanted)):
            print(f"{wanted} with {route['dst']} ({route.get('dev', 'no device')})")
