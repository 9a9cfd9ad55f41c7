"""A ledger of the first version, with a session that runs, is taken over as it is."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.ledger.ledger import MIGRATIONS
from gpuspawner.allocator import Allocator, Feeds, Line, Reservations, Sessions, UsageReports
from gpuspawner.allocator.identities import Identities
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.model import LeaseState, Party, SpawnRequest
from gpuspawner.core.policy import allow
from pydantic_core import to_json
from support.build import HOST, NOW
from support.office import STALE

AT = NOW.strftime("%Y-%m-%d %H:%M:%S.%f")
ROWS = (
    'INSERT INTO devices (host, uuid, "index", model, memory_bytes, present, health, health_reason, seen_at)'
    f" VALUES ('{HOST}', 'GPU-{{n}}', {{n}}, 'A100', 42949672960, 1, 'ok', '', '{AT}')",
    "INSERT INTO leases (id, host, owner, server, state, reason, claimant, created_at, state_since, image,"
    f" container_id, evidence) VALUES ('old{{n}}', '{HOST}', 'ada', 's{{n}}', '{{state}}', 'runs', 'run1',"
    f" '{AT}', '{AT}', 'base', 'c1', '')",
    "INSERT INTO lease_devices (lease_id, position, host, device, live)"
    f" VALUES ('old{{n}}', 0, '{HOST}', 'GPU-{{n}}', {{live}})",
)
RESERVATION = (
    "INSERT INTO reservations (id, host, title, holder_kind, holder, users, devices, cards, pool, start,"
    " length_seconds, zone, rule, left_out, lead_seconds, actor, made_at)"
    f" VALUES ('old', '{HOST}', 'Lab', 'person', 'ada', '[]', 1, '[]', '', '{AT}', 3600, 'UTC', '', '[]', 0,"
    f" 'ada', '{AT}')"
)
FEED = (
    f"INSERT INTO calendar_feeds (owner, digest, made_at, party) VALUES ('ada', '{'d' * 64}', '{AT}', '{{}}')"
)
REQUEST = (
    '{{"gpus": 1, "model": null, "image": null, "slice_bytes": null, "memory_bytes": null,'
    ' "compute_capability": null, "session_seconds": null, "shorten": false, "wait": true}}'
)
TERMS = (
    '{{"cards": null, "slices": null, "longest_seconds": null, "weight": 1.0, "shares": [],'
    ' "gpus_per_person": null, "gpu_hours": null, "seats": []}}'
)
LEASE_OF_PARTY = (
    "INSERT INTO leases (id, host, owner, server, state, reason, claimant, created_at, state_since, image,"
    f" evidence, party) VALUES ('{{name}}', '{HOST}', 'ada', '{{name}}', 'active', 'runs', 'run1', '{AT}',"
    f" '{AT}', 'base', '', '{{party}}')"
)
TICKET_OF_PARTY = (
    "INSERT INTO tickets (id, host, owner, server, request, image, asked_at, queued_at, state, state_since,"
    " reason, terms, party, returns, failures, live)"
    f" VALUES ('{{name}}', '{HOST}', 'ada', '{{name}}', '{REQUEST}', 'base', '{AT}', '{AT}', 'waiting',"
    f" '{AT}', '', '{TERMS}', '{{party}}', 0, 0, 1)"
)


def upgrade(connection: sa.Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def make_first_version(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, "0001")
        for n, state in enumerate((LeaseState.ACTIVE, LeaseState.RELEASED)):
            for row in ROWS:
                connection.exec_driver_sql(row.format(n=n, state=state.value, live=int(state.live)))
    engine.dispose()


def test_a_session_of_the_first_version_goes_on(tmp_path: Path) -> None:
    make_first_version(tmp_path / "ledger.db")
    ledger = Ledger(tmp_path / "ledger.db")
    clock = lambda: NOW  # noqa: E731
    allocator = Allocator(ledger, HOST, allow(1, 2), STALE, clock)
    (old,) = allocator.status().leases
    assert (old.id, old.devices, old.party) == ("old0", ("GPU-0",), Party())
    assert (old.ends_at, old.claim_by, old.reservation, old.accounted_at) == (None, None, None, None)
    assert Sessions(ledger, HOST, clock).plan_ends() == ()
    assert Line(ledger, HOST, STALE, clock).view().places == ()
    UsageReports(ledger, HOST, clock).report("user", NOW.date(), NOW.date())
    made = allocator.reserve(SpawnRequest(1), owner="bob", server="", claimant="run1", image="base")
    assert made.devices == ("GPU-1",)
    allocator.request_release("old0", reason="stopped", actor="ada")
    ledger.close()


def test_a_ledger_of_the_second_version_gets_calendars(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0002")
        connection.exec_driver_sql(RESERVATION)
    engine.dispose()
    ledger = Ledger(tmp_path / "ledger.db")
    feeds = Feeds(ledger, lambda: NOW)
    assert feeds.of("ada") is None
    found = feeds.find(feeds.make("ada"))
    assert found is not None
    assert (found.owner, found.made_at, found.read_at) == ("ada", NOW, None)
    assert feeds.find(found.digest) is None
    (kept,) = Reservations(ledger, HOST, lambda: NOW).standing()
    assert (kept.id, kept.holder.name) == ("old", "ada")
    ledger.close()


def test_a_ledger_of_the_third_version_does_not_know_where_a_name_is_from(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0003")
        connection.exec_driver_sql(RESERVATION)
        connection.exec_driver_sql(FEED)
    engine.dispose()
    ledger = Ledger(tmp_path / "ledger.db")
    book = Reservations(ledger, HOST, lambda: NOW)
    (kept,) = book.standing()
    assert kept.actor == Actor("ada", ActorKind.UNKNOWN)
    assert not kept.actor.is_person("ada")
    book.cancel(kept.id, actor=Actor("root", ActorKind.SHELL), reason="r")
    assert book.find("old").actor == kept.actor  # type: ignore[union-attr]
    (feed,) = Feeds(ledger).list()
    assert (feed.owner, feed.digest, feed.made_at, feed.read_at) == ("ada", "d" * 64, NOW, None)
    ledger.close()


def test_somebody_who_logged_in_before_addresses_were_kept_has_none_yet(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0008")
        connection.exec_driver_sql(
            "INSERT INTO identities (provider, subject, name, shown, groups, first_seen, last_seen)"
            f" VALUES ('oidc', 's1', 'ada', 'Ada', '[]', '{AT}', '{AT}')"
        )
    engine.dispose()
    ledger = Ledger(tmp_path / "ledger.db")
    (kept,) = Identities(ledger).list()
    assert (kept.name, kept.email) == ("ada", "")
    ledger.close()


def test_a_session_that_counted_for_several_courses_counts_for_none(tmp_path: Path) -> None:
    """Which was meant is not known, so that no teacher of either is let in; one that was alone stays."""
    courses = {"both": ["vision", "sound"], "one": ["vision"], "none": []}
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0013")
        connection.exec_driver_sql(ROWS[1].format(n=0, state="active"))
        for name, said in courses.items():
            party = to_json({"groups": ["students"], "courses": said}).decode()
            connection.exec_driver_sql(LEASE_OF_PARTY.format(name=name, party=party))
            connection.exec_driver_sql(TICKET_OF_PARTY.format(name=name, party=party))
    engine.dispose()
    ledger = Ledger(tmp_path / "ledger.db")
    leases = {one.id: one.party for one in Allocator(ledger, HOST, allow(1, 2), STALE).status().leases}
    empty, vision = Party(("students",)), Party(("students",), ("vision",))
    assert leases == {"old0": Party(), "both": empty, "one": vision, "none": empty}
    with ledger.read() as unit:
        places = {one.id: (one.party, one.request.course) for one in unit.live_tickets(HOST)}
    assert places == {"both": (empty, ""), "one": (vision, "vision"), "none": (empty, "")}
    ledger.close()
