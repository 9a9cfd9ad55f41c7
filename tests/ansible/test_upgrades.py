"""The next release, and the way back, while three people work. Slow: ``make test-ansible``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.client import Client
from support.fresh_server import HOME, FreshServer
from support.kernels import Kernel, start_kernel
from support.kills import kill_at
from support.playing import ANSIBLE, SETTINGS, follow, log_in, must_change_nothing, must_play, play

pytestmark = [pytest.mark.docker, pytest.mark.server]

PAGE = "maintenance.md"
FOLLOW = {"gpuspawner-agent", "gpuspawner-hub", "gpuspawner-controller"}
"""What is restarted with a release."""
RULES = ("nft", "--stateless", "list", "table", "inet", "gpuspawner")
"""What people's servers may reach, as the kernel has it."""
VERSIONS = f"{HOME}/spawner/gpuspawner/adapters/ledger/migrations/versions"
MIGRATION = '''
"""What a later release may change."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None

def upgrade() -> None:
    op.create_table("of_later", sa.Column("id", sa.Integer, primary_key=True))

def downgrade() -> None:
    raise NotImplementedError
'''


HUBS = "/var/lib/gpuspawner/jupyterhub.sqlite"
OLDER = f"""
from alembic import command
from alembic.config import Config
from jupyterhub import dbutil

dbutil.write_alembic_ini("/tmp/older.ini", "sqlite:///{HUBS}")
command.downgrade(Config("/tmp/older.ini"), "-1")
"""
"""Makes the hub's own database that of an older JupyterHub."""
MIGRATE = """
- hosts: all
  tasks:
    - include_role: {name: gpuspawner, tasks_from: form}
      vars: {gpuspawner_release: /opt/gpuspawner/current}
    - include_role: {name: gpuspawner, tasks_from: again}
"""


@dataclass(frozen=True)
class Worker:
    """Who has a kernel that remembers something."""

    client: Client
    kernel: Kernel


@pytest.fixture(scope="module")
def people(
    server: FreshServer, ada: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Worker]]:
    """Three with a server each, two of them with a card, and a variable in a kernel."""
    clients = [ada, *(log_in(server, name, tmp_path_factory.mktemp(name)) for name in ("grace", "admin"))]
    found = []
    for gpus, client in enumerate(clients):
        if client.model() is None:
            started = client.spawn({"gpus": min(gpus, 1)}, seconds=300)
            assert started.ready, started.message
        kernel = start_kernel(client, str(client.session.verify))
        kernel.run(f"x = ['{client.user}', 6 * 7]")
        kernel.run(f"open('thesis', 'w').write('{client.user}')")
        found.append(Worker(client, kernel))
    return found


@pytest.fixture(scope="module")
def original(server: FreshServer) -> str:
    """The release that was there first."""
    return current(server)


def current(server: FreshServer) -> str:
    return server.must("readlink", "/opt/gpuspawner/current").strip()


def leases(server: FreshServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.must("gpuspawner", "lease", "--json"))["leases"]
    return [{key: one[key] for key in ("id", "owner", "devices", "created_at", "container")} for one in found]


def form(server: FreshServer, database: str = "/var/lib/gpuspawner/ledger.sqlite") -> str:
    """The version of the ledger."""
    ask = f"import sqlite3; print(*sqlite3.connect('{database}').execute("
    return server.must(
        "python3", "-c", f"{ask}'SELECT version_num FROM alembic_version').fetchone())"
    ).strip()


def require_undisturbed(people: list[Worker]) -> None:
    for person in people:
        assert person.kernel.run("print(x)") == f"['{person.client.user}', 42]"
        model = person.client.model()
        assert model is not None
        assert model["ready"]


def test_an_upgrade_disturbs_nobody(server: FreshServer, people: list[Worker], original: str) -> None:
    before, held, known = server.started(), leases(server), form(server)
    server.write(f"{VERSIONS}/9999_later.py", MIGRATION.format(before=known))
    follow(server, PAGE, "To the next release")
    assert current(server) != original
    assert form(server) == "9999"
    after = server.started()
    assert {name for name in before if before[name] != after[name]} == FOLLOW
    assert leases(server) == held
    require_undisturbed(people)


def test_the_way_back_says_what_it_loses_and_takes_it_only_if_told(
    server: FreshServer, people: list[Worker], original: str
) -> None:
    before, held, newer = server.started(), leases(server), current(server)
    server.must("gpuspawner", "drain", "3", "--reason", "written since", "--until", "23:59")
    code, printed = play(server, "rollback")
    said = " ".join(printed.split())
    assert code != 0
    assert "does not know the version 9999 of the ledger" in said
    assert "1 lines of the audit trail" in said
    assert (current(server), server.started()) == (newer, before)
    follow(server, PAGE, "Back, with settings and databases of then")
    assert current(server) == original
    assert form(server) != "9999"
    after = server.started()
    assert {name for name in before if before[name] != after[name]} == FOLLOW
    assert leases(server) == held
    assert not any(
        one["drained"] for one in json.loads(server.must("gpuspawner", "status", "--json"))["devices"]
    )
    require_undisturbed(people)
    # There is nothing left to go back from.
    code, printed = play(server, "rollback")
    assert code != 0
    assert "there was no upgrade" in " ".join(printed.split())


def break_release(server: FreshServer) -> None:
    """The release of the checkout has a hub that does not start."""
    server.shell("echo 'raise SystemExit(\"a broken release\")' >>spawner/gpuspawner/hubconfig.py")


def mend_release(server: FreshServer) -> None:
    server.shell("sed -i '/a broken release/d' spawner/gpuspawner/hubconfig.py")


def test_a_release_that_does_not_come_up_is_taken_back_by_itself(
    server: FreshServer, people: list[Worker], original: str
) -> None:
    held, settings = leases(server), server.must("cat", "/etc/gpuspawner/gpuspawner.yml")
    before, rules = server.started(), server.must(*RULES)
    break_release(server)
    server.shell(
        f"sed -i 's/shm: 256M/shm: 300M/' {SETTINGS}; echo 'firewall_host_ports: [9797]' >>{SETTINGS}"
    )
    try:
        code, printed = play(server, "upgrade")
    finally:
        mend_release(server)
        server.shell(f"sed -i 's/shm: 300M/shm: 256M/; /^firewall_host_ports/d' {SETTINGS}")
    assert code != 0
    assert "did not come up" in printed
    assert f"release {original.rpartition('/')[2]} runs again" in " ".join(printed.split())
    assert current(server) == original
    assert form(server) != "9999"  # the broken release had the migration too
    assert server.must("cat", "/etc/gpuspawner/gpuspawner.yml") == settings
    assert server.must(*RULES) == rules
    assert "9797" not in server.must("cat", "/etc/gpuspawner/firewall.nft")
    after = server.started()
    assert {name for name in before if before[name] != after[name]} == FOLLOW
    assert leases(server) == held
    require_undisturbed(people)


def test_the_way_back_from_a_release_whose_hub_does_not_start(
    server: FreshServer, people: list[Worker], original: str
) -> None:
    held = leases(server)
    server.must("rm", f"{VERSIONS}/9999_later.py")
    break_release(server)
    try:
        kill_at(server, "Wait until hub and controller answer", "upgrade")
    finally:
        mend_release(server)
    assert current(server) != original
    assert people[0].client.page("/hub/login").status_code >= 500
    follow(server, PAGE, "Back to the release before")
    assert current(server) == original
    assert leases(server) == held
    require_undisturbed(people)


def test_after_all_this_nothing_is_left_to_do(
    server: FreshServer, people: list[Worker], original: str
) -> None:
    must_play(server, "site")  # tidies up what the run that was killed has left
    assert current(server) == original
    must_change_nothing(server)
    require_undisturbed(people)


def test_the_database_of_an_older_jupyterhub_becomes_one_of_this(
    server: FreshServer, people: list[Worker]
) -> None:
    newest, python = form(server, HUBS), "/opt/gpuspawner/current/venv/bin/python"
    server.shell(f"systemctl stop {' '.join(sorted(FOLLOW))}")
    server.must("runuser", "--user=gpuspawner", "--", python, "-c", OLDER, folder="/tmp")
    assert form(server, HUBS) != newest
    server.write(f"{ANSIBLE}/form.yml", MIGRATE)
    must_play(server, "form")
    server.must("rm", f"{ANSIBLE}/form.yml")
    assert form(server, HUBS) == newest
    require_undisturbed(people)
