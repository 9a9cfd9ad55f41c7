"""``gpuspawner cull`` and ``gpuspawner history``, over a real ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Rosters
from gpuspawner.cli import main
from gpuspawner.core.activity import Kernels
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import HubError
from gpuspawner.core.model import Event, LeaseState
from gpuspawner.core.roster import Entry, Kind, Role, Who
from gpuspawner.ports import HubServer
from gpuspawner.shell import cull
from support.build import HOST, lease, record
from support.fake_engine import FakeEngine
from support.fake_hub import FakeHub

HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    path, now = tmp_path / "ledger.db", datetime.now(UTC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUSPAWNER_LEDGER", str(path))
    engine = FakeEngine()
    container = engine.create("ada")
    engine.start(container)
    monkeypatch.setattr(cull, "DockerEngine", lambda: engine)
    monkeypatch.setattr(cull, "NotebookServers", Calm)
    monkeypatch.setattr(cull.time, "sleep", lambda seconds: None)
    made = Ledger(path)
    with made.write() as unit:
        unit.put_device(record("GPU-0", seen_at=now))
        unit.add_lease(
            lease(
                LeaseState.ACTIVE,
                "GPU-0",
                created_at=now - 9 * HOUR,
                container_id=container,
                server="\x1b[31m",
            )
        )
        signals = [{"what": "GPUs", "source": "samples", "at": None, "says": "idle"}]
        for kind, data in (
            ("session.idle_stop", {"signals": signals, "dry_run": True}),
            ("lease.granted", {}),
            ("session.stopping", {}),
        ):
            unit.add_event(Event(now - HOUR, kind, f"why {kind}", "culler\x1b[31m", "lease1", data=data))
        unit.add_event(Event(now - 40 * 24 * HOUR, "session.ended", "long ago", "culler", "lease1"))
    yield made
    made.close()


class Calm:
    def ask(self, servers: dict) -> dict:
        return {name: Kernels(0, 1, 0, None) for name in servers}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, color=True)


def test_the_verdicts_as_a_table(ledger: Ledger) -> None:
    found = run("cull", "--dry-run", "--host", HOST)
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[0].split()[:4] == ["PERSON", "SERVER", "GPUS", "VERDICT"]
    assert "keep" in lines[1]
    assert "never" in lines[1]
    assert "It is not known what its GPUs do" in lines[1]
    assert "\x1b" not in found.output
    with ledger.read() as unit:
        assert unit.watches() == {}, "nothing was written"


def test_the_verdicts_for_programs(ledger: Ledger) -> None:
    found = json.loads(run("cull", "--dry-run", "--host", HOST, "--json").output)
    assert (found["schema"], found["idle_sessions"]) == (1, "stop")
    (session,) = found["sessions"]
    assert (session["user"], session["devices"], session["verdict"], session["at"]) == (
        "ada", ["GPU-0"], "keep", None,
    )  # fmt: skip
    assert [one["source"] for one in session["signals"]] == [
        "samples of the driver", "its server", "the Docker Engine",
        "the Hub, which believes what servers say",
    ]  # fmt: skip
    assert session["signals"][-1]["says"] == "not known"


@pytest.mark.usefixtures("ledger")
def test_what_the_hub_says_is_shown_and_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t" * 32)
    network = {"hub_address": "127.0.0.1"}
    settings = {"state_dir": str(tmp_path), "images": {"base": "b:1"}, "network": network,
                "controller": {"enabled": True, "token_file": str(tmp_path / "token")}}  # fmt: skip
    hub = FakeHub()
    said = datetime(2030, 1, 1, 12, 34, tzinfo=UTC)
    monkeypatch.setattr(hub, "server", lambda user, server: HubServer(True, None, said, said, {}))
    monkeypatch.setattr(cull, "HttpHubApi", lambda *given, **more: hub)
    (tmp_path / "gpuspawner.yml").write_text(json.dumps(settings))
    words = ("cull", "--dry-run", "--host", HOST, "--settings", str(tmp_path / "gpuspawner.yml"), "--json")
    (session,) = json.loads(run(*words).output)["sessions"]
    assert session["signals"][-1]["says"] == "last activity at 12:34 UTC, which keeps no session"
    assert session["verdict"] == "keep"
    monkeypatch.setattr(hub, "server", fail)
    (session,) = json.loads(run(*words).output)["sessions"]
    assert session["signals"][-1]["says"] == "not known"


def test_the_limits_are_also_those_of_courses_in_whose_rosters_people_are(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the controller, which would not stop the session."""
    policy = (
        "groups: {default: {idle_cpu: 1 h}, drawers: }\n"
        "courses: {art: {group: drawers, image: base, idle_cpu: 9 h}}\n"
    )
    (tmp_path / "policy.yml").write_text(policy)
    settings = {
        "state_dir": str(tmp_path),
        "images": {"base": "b:1"},
        "policy": str(tmp_path / "policy.yml"),
    }
    (tmp_path / "gpuspawner.yml").write_text(json.dumps(settings))
    found = []
    running = lease(LeaseState.ACTIVE)
    monkeypatch.setattr(cull, "_look", lambda book, host, limits: found.append(limits(running).session) or ())
    words = ("cull", "--dry-run", "--host", HOST, "--settings", str(tmp_path / "gpuspawner.yml"))
    assert run(*words).exit_code == 0
    entry = Entry(Who(Kind.PERSON, running.owner), Role.STUDENT)
    Rosters(ledger).apply("art", [entry], seen=0, actor=Actor("grace", ActorKind.PERSON))
    assert run(*words).exit_code == 0
    assert found == [HOUR, 9 * HOUR]


def fail(user: str, server: str) -> HubServer:
    raise HubError("The Hub is away.")


def test_nothing_is_stopped_from_the_shell(ledger: Ledger) -> None:
    found = run("cull", "--host", HOST)
    assert found.exit_code == 1
    assert "Give --dry-run." in found.output


def test_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Ledger(tmp_path / "empty.db").close()
    with Ledger(tmp_path / "empty.db").write() as unit:
        unit.put_device(record("GPU-0"))
    found = run("cull", "--dry-run", "--host", HOST, "--ledger", str(tmp_path / "empty.db"))
    assert found.output == "No session runs.\n"


def test_history(ledger: Ledger) -> None:
    lines = run("history", "ada", "--host", HOST).output.splitlines()
    assert [line.partition("UTC  ")[2] for line in lines if "UTC  " in line] == [
        "session.stopping, by culler?[31m",
        "session.idle_stop, by culler?[31m",
    ]
    assert lines[-3:] == [
        "  why session.idle_stop",
        "    GPUs (samples): idle",
        "    Nobody was told or stopped: the policy says `idle_sessions: report`.",
    ]
    assert "long ago" in run("history", "ada", "--days", "60", "--host", HOST).output


def test_history_for_programs(ledger: Ledger) -> None:
    found = json.loads(run("history", "ada", "--host", HOST, "--json").output)
    assert [(one["kind"], one["lease"]) for one in found["events"]] == [
        ("session.stopping", "lease1"),
        ("session.idle_stop", "lease1"),
    ]
    assert found["events"][1]["evidence"]["dry_run"] is True


def test_a_long_history_says_that_it_is_cut(ledger: Ledger) -> None:
    with ledger.write() as unit:
        for n in range(100):
            at = datetime.now(UTC) - timedelta(minutes=n)
            unit.add_event(Event(at, "session.warned", f"number {n}", "controller", "lease1"))
    lines = run("history", "ada", "--host", HOST).output.splitlines()
    assert lines[-1] == "There is more before that: these are the newest 100."
    found = json.loads(run("history", "ada", "--host", HOST, "--json").output)
    assert (len(found["events"]), found["more"]) == (100, True)


def test_history_of_a_stranger(ledger: Ledger) -> None:
    found = run("history", "eve", "--host", HOST)
    assert found.output == "Nothing happened to sessions of eve in the last 30 days.\n"
