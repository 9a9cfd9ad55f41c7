"""The playbooks on a fresh server, what they print, and the commands of the pages that describe them."""

from __future__ import annotations

import re
import time
from pathlib import Path

from gpuspawner.setup.paths import CHECKOUT

from .client import Client
from .fresh_server import HOME, FreshServer

ANSIBLE = f"{HOME}/ansible"
SETTINGS = f"{ANSIBLE}/inventory/mine/gpuspawner.yml"
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
OURS = (
    "gpuspawner-firewall",
    "gpuspawner-sim",
    "gpuspawner-proxy",
    "gpuspawner-agent",
    "gpuspawner-hub",
    "gpuspawner-controller",
)
"""Our units."""
BLOCKS = r"^```{}\n(.*?)^```"


def play(server: FreshServer, name: str, *more: str) -> tuple[int, str]:
    """Run a playbook; its exit code, and what it printed."""
    command = ["../.gpuspawner/ansible/bin/ansible-playbook", "-i", "inventory/mine", f"{name}.yml", *more]
    begun = time.monotonic()
    done = server.run(*command, minutes=40, folder=f"{HOME}/ansible")
    print(f"\n{name}.yml {' '.join(more)}: {time.monotonic() - begun:.0f} s, exit code {done.returncode}")
    return done.returncode, done.stdout


def must_play(server: FreshServer, name: str, *more: str) -> dict[str, int]:
    """Run a playbook that must succeed; its recap."""
    code, printed = play(server, name, *more)
    assert code == 0, printed[-6000:]
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", printed.rpartition("PLAY RECAP")[2])}


def must_change_nothing(server: FreshServer) -> None:
    """Bring the server to a hub once more, which finds nothing to do."""
    code, printed = play(server, "site")
    assert code == 0, printed[-6000:]
    tasks = re.split(r"^TASK \[(.*?)\] \*+$", printed, flags=re.MULTILINE)
    found = zip(tasks[1::2], tasks[2::2], strict=True)
    changed = [name for name, said in found if re.search(r"^changed: ", said, re.MULTILINE)]
    assert not changed, f"it has changed something: {changed}"


def must_refuse(server: FreshServer, says: str, before: dict[str, str] | None = None) -> None:
    """Bring the server to a hub, which must stop with these words before it has changed anything.

    Args:
        server: The server.
        says: What it must say.
        before: The server's state as it was; asked for unless given.
    """
    before = before or server.state()
    code, printed = play(server, "site")
    assert code != 0
    # Ansible breaks lines, and shows some texts as YAML would write them.
    words = re.sub(r"\s+", " ", printed.replace("''", "'"))
    assert says in words, printed[-3000:]
    after = server.state()
    lines = {what: set(before[what].splitlines()) ^ set(after[what].splitlines()) for what in before}
    changed = {what: sorted(found) for what, found in lines.items() if found}
    assert not changed, changed


# -- pages --------------------------------------------------------------------------------------------------


def commands(page: str, heading: str = "", kind: str = "sh") -> list[str]:
    """The blocks of commands on a page, or those below one of its headings, which must be there."""
    text = (CHECKOUT / "docs" / page).read_text()
    if heading:
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        text = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    found = re.findall(BLOCKS.format(kind), text, re.DOTALL | re.MULTILINE)
    assert found, f"docs/{page} has no {kind} below {heading!r}"
    return found


def settings_on(page: str, heading: str) -> str:
    """What a page says to write into ``gpuspawner.yml``."""
    return "\n".join(["", *commands(page, heading, "yaml")])


def follow(server: FreshServer, page: str, heading: str, minutes: float = 20) -> str:
    """Type the commands below a heading of a page; what they print."""
    printed = ""
    for block in commands(page, heading):
        begun = time.monotonic()
        printed += server.shell(block, minutes=minutes)
        print(f"\n{heading}: {time.monotonic() - begun:.0f} s")
    return printed


def address(server: FreshServer) -> str:
    """Where browsers find it."""
    return server.must("hostname", "--ip-address").split()[0]


def log_in(server: FreshServer, name: str, folder: Path) -> Client:
    """Log in through TLS as one of the people of the inventory, trusting the server's own authority alone."""
    file = folder / "root.crt"
    file.write_text(server.must("cat", AUTHORITY))
    password = server.must("cat", f"{ANSIBLE}/inventory/mine/secrets/{name}").strip()
    client = Client(f"https://{address(server)}", name, password)
    client.session.verify = str(file)
    client.session.trust_env = False  # a REQUESTS_CA_BUNDLE of this machine would be taken instead
    client.login()
    return client
