"""A server is drained, backed up, wiped and brought back. Slow: ``make test-ansible``.

The last of the server's tests: it takes the hub off.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.client import Client
from support.fresh_server import HOME, FreshServer
from support.playing import ANSIBLE, SETTINGS, follow, log_in, must_play, must_refuse, play, settings_on

pytestmark = [pytest.mark.docker, pytest.mark.server]

PAGE = "maintenance.md"
LEDGER = "/var/lib/gpuspawner/ledger.sqlite"
DUMP = (
    "import json, sqlite3; db = sqlite3.connect('file:{file}?mode=ro', uri=True);"
    "print(json.dumps([db.execute(query).fetchall() for query in {queries!r}]))"
)
KEPT = (
    "SELECT owner, kind, source, created_at FROM homes ORDER BY owner",
    "SELECT id, owner, created_at FROM leases ORDER BY id",
    "SELECT id, owner, queued_at, state FROM tickets WHERE live ORDER BY id",
    "SELECT id, at, kind, reason, actor FROM events WHERE id <= {last} ORDER BY id",
    "SELECT device, reason FROM drains ORDER BY device",
)
"""What must be back of the ledger. Leases end when they are back: what stays of them is compared."""
HOMES = (
    "for home in $(docker volume ls --quiet --filter name=gpuspawner-home- | sort); do"
    " cd /var/lib/docker/volumes/$home/_data;"
    " find . -not -path './.cache*' -printf '%p %u %g %m %y %l\\n' | sort;"
    " find . -type f -not -path './.cache*' -print0 | sort -z | xargs -0 sha256sum; done"
)

LOOK = """
import os, sys
sys.path[:0] = ["{0}/ansible/roles/backup/files", "{0}/ansible/roles/gpuspawner/files"]
import backup
from pathlib import Path

homes = Path("/mnt/btrfs/homes")
(homes / "one" / "thesis").write_text("as it was")
with backup.held_still(dict(homes=homes)) as still, backup.bound(still["homes"], Path("/tmp/seen")):
    (homes / "one" / "thesis").write_text("changed")
    found = Path("/tmp/seen/one/thesis").read_text()
print(found, os.listdir("/mnt/btrfs"))
"""


def read(server: FreshServer, last: int) -> Any:
    queries = [query.format(last=last) for query in KEPT]
    return json.loads(server.must("python3", "-c", DUMP.format(file=LEDGER, queries=queries)))


def people_of_the_hub(server: FreshServer) -> Any:
    queries = ["SELECT name, admin FROM users ORDER BY name"]
    file = "/var/lib/gpuspawner/jupyterhub.sqlite"
    return json.loads(server.must("python3", "-c", DUMP.format(file=file, queries=queries)))


def container_of(server: FreshServer, person: str) -> str:
    return server.must("docker", "ps", "--quiet", "--filter", f"label=gpuspawner.owner={person}").split()[0]


@pytest.fixture(scope="module")
def grace(server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Client:
    client = log_in(server, "grace", tmp_path_factory.mktemp("grace-again"))
    if client.model() is None:
        assert client.spawn({"gpus": 1}, seconds=300).ready
    return client


def test_a_drained_server_starts_nobody_and_tells_people(
    server: FreshServer, ada: Client, grace: Client
) -> None:
    assert ada.model() or ada.spawn({"gpus": 1}, seconds=300).ready
    printed = follow(server, PAGE, "Drain a server")
    assert "ada is still on it" in printed
    assert "grace is still on it" in printed
    for gpus, why in enumerate(("new disks (from 23:30 on)", "out of service")):
        refused = ada.spawn({"gpus": gpus, "wait": False}, "another")
        assert not refused.ready
        assert why in refused.message
    model = ada.model()
    assert model is not None
    assert model["ready"]
    told = "SELECT text FROM messages WHERE owner = 'ada' ORDER BY id DESC LIMIT 1"
    text = json.loads(server.must("python3", "-c", DUMP.format(file=LEDGER, queries=[told])))[0][0][0]
    assert text.startswith("No new sessions begin here: new disks (from 23:30 on).")


def test_what_is_drained_is_back_in_use_by_the_same_playbook(server: FreshServer, ada: Client) -> None:
    follow(server, PAGE, "Back into use")
    assert ada.spawn({"gpus": 0}, "another", seconds=300).ready
    ada.stop("another")


def test_some_cards_alone_are_drained_and_their_sessions_ended(server: FreshServer, grace: Client) -> None:
    devices = json.loads(server.must("gpuspawner", "status", "--json"))["devices"]
    hers = next(one["index"] for one in devices if (one["holder"] or "").startswith("grace"))
    printed = play(
        server, "drain", "-e", f"drain_cards={hers}", "-e", "drain_reason=fan",
        "-e", "drain_end=now", "-e", "drain_wait=4",
    )  # fmt: skip
    assert printed[0] == 0, printed[1][-4000:]
    assert f"Nobody is on {hers} any more." in printed[1]
    assert grace.model() is None
    after = json.loads(server.must("gpuspawner", "status", "--json"))["devices"]
    assert [one["index"] for one in after if one["drained"]] == [hers]


@pytest.fixture(scope="module")
def backed_up(server: FreshServer, ada: Client) -> dict[str, Any]:
    """What there was when the backup was made: homes, the ledger, and somebody who waits in line."""
    server.shell(f"mkdir -p /mnt/backup && echo 'pass word' >{ANSIBLE}/inventory/mine/secrets/backup")
    server.write(SETTINGS, server.must("cat", SETTINGS) + settings_on(PAGE, "Backups"))
    must_refuse(server, "backup_repository is /mnt/backup/hub")
    container = container_of(server, "ada")
    script = "mkdir -p ~/d; echo private >~/d/f; chmod 600 ~/d/f; ln -s d/f ~/link; touch -d 2001-01-01 ~/d"
    server.must("docker", "exec", container, "sh", "-c", script)
    # All cards are drained, so that the place in line stays one.
    must_play(server, "drain", "-e", "drain_reason=before", "-e", "drain_cards=0,1,2,3")
    asked = ada.ask({"gpus": 1}, "waits")
    assert asked.status_code == 409, asked.text
    follow(server, PAGE, "Backups")
    queries = ["SELECT max(id) FROM events"]
    last = json.loads(server.must("python3", "-c", DUMP.format(file=LEDGER, queries=queries)))[0][0][0]
    found = {"last": last, "ledger": read(server, last), "homes": server.shell(HOMES)}
    printed = follow(server, PAGE, "A backup now")
    assert re.search(r"backup \w+: [2-9] homes", printed)
    return found | {"people": people_of_the_hub(server)}


@pytest.mark.usefixtures("backed_up")
def test_a_password_or_a_repository_that_is_none_stops_the_run(server: FreshServer) -> None:
    secret = f"{ANSIBLE}/inventory/mine/secrets/backup"
    server.shell(f"cp {secret} /root/password && echo wrong >{secret}")
    try:
        must_refuse(server, "backup_password is not the password of /mnt/backup/hub")
    finally:
        server.shell(f"cp /root/password {secret}")
    server.shell("mv /mnt/backup/hub /mnt/backup/away")
    try:
        must_refuse(server, "backup_repository is /mnt/backup/hub, which cannot be opened")
    finally:
        server.shell("mv /mnt/backup/away /mnt/backup/hub")


def test_homes_on_btrfs_are_read_as_they_were_at_one_moment(server: FreshServer) -> None:
    server.write("/root/look.py", LOOK.format(HOME))
    printed = server.shell(
        "apt-get -o DPkg::Lock::Timeout=60 install -y -q --no-install-recommends btrfs-progs;"
        "truncate -s 300M /root/btrfs && mkfs.btrfs -q /root/btrfs && mkdir -p /mnt/btrfs;"
        "mount -o loop /root/btrfs /mnt/btrfs && mkdir -p /mnt/btrfs/homes/one;"
        "python3 -B /root/look.py && umount /mnt/btrfs && rm /root/btrfs"
    )
    assert printed.splitlines()[-1] == "as it was ['homes']"


@pytest.mark.usefixtures("backed_up")
def test_a_restore_refuses_a_server_with_people(server: FreshServer) -> None:
    before = server.started()
    code, printed = play(server, "restore")
    assert code != 0
    assert "This server has people on it" in " ".join(printed.split())
    assert server.started() == before


@pytest.mark.usefixtures("backed_up")
def test_uninstalling_must_be_meant_and_keeps_homes_and_ledger(server: FreshServer) -> None:
    homes = server.shell(HOMES)
    assert homes.strip()
    before = server.started()
    code, printed = play(server, "uninstall")
    assert code != 0
    assert "uninstall_confirmed" in printed
    assert server.started() == before
    server.shell("apt-get install -y -q --no-install-recommends ufw")
    server.shell("ufw allow 9998/tcp; ufw allow 443/tcp comment gpuspawner; ufw --force enable")
    must_play(server, "uninstall", "-e", "uninstall_confirmed=true")
    left = server.must("ufw", "show", "added")
    assert ("9998" in left, "443" in left) == (True, False)
    server.shell("ufw --force disable")
    assert server.shell(HOMES) == homes
    server.must("test", "-f", LEDGER)
    assert server.must("docker", "ps", "--all", "--quiet") == ""
    assert server.must("systemctl", "list-units", "--all", "--no-legend", "gpuspawner-*").strip() == ""
    server.must("test", "!", "-e", "/opt/gpuspawner")


def test_what_was_destroyed_is_back(server: FreshServer, backed_up: dict[str, Any], tmp_path: Path) -> None:
    server.shell(
        "docker volume ls --quiet --filter name=gpuspawner-home- | xargs docker volume rm;"
        "rm -rf /var/lib/gpuspawner /etc/gpuspawner /var/backups/gpuspawner"
    )
    must_play(server, "site")
    printed = follow(server, PAGE, "Restore")
    assert "is back" in printed
    assert read(server, backed_up["last"]) == backed_up["ledger"]
    assert server.shell(HOMES) == backed_up["homes"]
    assert people_of_the_hub(server) == backed_up["people"]
    ada = log_in(server, "ada", tmp_path)
    # With the cards back in use, the turn of who waited comes.
    must_play(
        server, "drain", "-e", "drain_reason=after", "-e", "drain_cards=0,1,2,3", "-e", "drain_undo=true"
    )
    assert ada.spawn({"gpus": 0}, seconds=300).ready
    container = container_of(server, "ada")
    assert server.must("docker", "exec", container, "sh", "-c", "cat ~/link") == "private\n"


@pytest.mark.usefixtures("backed_up")
def test_a_restore_over_people_ends_their_servers_and_keeps_what_is_new_in_homes(server: FreshServer) -> None:
    container = container_of(server, "ada")
    script = "echo new >~/new; echo changed >~/d/f"
    server.must("docker", "exec", container, "sh", "-c", script)
    must_play(server, "restore", "-e", "restore_over_people=true")
    assert server.must("docker", "ps", "--all", "--quiet") == ""
    found = server.shell("cat /var/lib/docker/volumes/gpuspawner-home-*/_data/{new,d/f}")
    assert found.split() == ["new", "private"]
