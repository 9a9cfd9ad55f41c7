"""One's servers as a page: what it says, stopping one, and the file of what its GPUs did."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.activity import begin_activity
from gpuspawner.core.culling import Watch, Wish
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.idleness import Clock, Limits, Signal, Step, Verdict
from gpuspawner.core.model import Event, LeaseState, Party, Sample, SpawnRequest
from support.build import GIB, HOST, NOW, ago
from support.client import text_of
from support.controller import POLICY

if TYPE_CHECKING:
    from support.controller import Office

HOUR = timedelta(hours=1)
HOSTILE = ["<script>alert(1)</script>", "w" * 64, "مريم", "🦊 fox"]


def page(office: Office, who: str = "ada") -> str:
    answer = office.raw("GET", "/servers", who)
    assert answer.status_code == 200, answer.text
    return answer.text


def add_samples(office: Office, *samples: Sample, device: str = "GPU-0") -> None:
    with office.services.ledger.write() as unit:
        unit.add_samples(HOST, [(device, one) for one in samples])


def test_nothing_runs(office: Office) -> None:
    text = text_of(page(office))
    assert "No server of yours runs." in text
    assert "Start a server" in text
    assert "has ended" not in text


def test_how_the_last_one_ended(office: Office) -> None:
    office.add_lease(lease_id="failed", state=LeaseState.RELEASED, devices=(), reason="never ran")
    ran = {"state": LeaseState.RELEASED, "container_id": "c1", "devices": ()}
    office.add_lease(lease_id="old", **ran, created_at=ago(900), reason="an older one")
    office.add_lease(
        lease_id="new", **ran, created_at=ago(800), ended_at=ago(30), reason="idle", server="two"
    )
    office.add_lease("bob", "bobs", **ran, created_at=ago(100), reason="bob's")
    text = text_of(page(office))
    assert "Server two has ended 2030-05-17 11:59 UTC : Idle" in text
    assert text.count("has ended") == 1
    assert "with the same choices" not in text, "it is not known what was asked for"


def test_what_was_not_wished_for_is_told_beside_what_runs(office: Office) -> None:
    office.add_lease()
    ran = {"state": LeaseState.RELEASED, "container_id": "c1", "devices": (), "ended_at": ago(30)}
    office.add_lease(lease_id="own", **ran, reason="the server was stopped", server="own")
    office.add_lease(lease_id="idle", **ran, server="idle", warned=0, end_reason="Its GPUs were idle.")
    office.add_lease(lease_id="told", **ran, server="told")
    past = ran | {"ended_at": ago(2 * 86400)}
    office.add_lease(lease_id="past", **past, server="past", warned=0, end_reason="long ago")
    request = SpawnRequest(1, model="A100", image="base")
    with office.services.ledger.write() as unit:
        unit.put_choices("idle", request)
        unit.add_event(Event(NOW, "session.stopping", "the lab moves", "root", "told"))
    html = page(office)
    text = text_of(html)
    assert "Your last server was stopped: Its GPUs were idle. Files that were saved" in text
    assert "root stopped your last server: the lab moves. Files" in text
    assert text.count("has ended") == 2
    assert html.count("Start again with the same choices") == 1
    assert 'href="/hub/spawn/ada/idle?opt-again=idle"' in html


def test_a_session(office: Office) -> None:
    end = NOW + timedelta(hours=1)
    office.add_lease(ends_at=end, end_reason="the longest session is 2 h", party=Party((), ("vision",)))
    office.add_lease("bob", "bobs", devices=("GPU-1",), server="bob's own")
    add_samples(office, *(Sample(ago(10 * n), 50, GIB) for n in range(3, 50)))
    html = page(office)
    text = text_of(html)
    assert "Ends 2030-05-17 13:00 UTC : the longest session is 2 h" in text
    assert "A teacher of vision or an administrator can extend it." in text
    assert "A100 GPU-0, 40 GiB" in text
    assert "Now: 0 % utilisation, 4 MiB of memory in use" in text
    assert "Over the last hour between 50 and 50 %." in text
    assert html.count("<polyline") == 2
    assert "bob" not in html
    assert "style=" not in html


@pytest.mark.parametrize(
    ("mode", "step", "says"),
    [
        ("stop", Step.KEEP, "If nothing changes, you are warned at 2030-05-17 12:00 UTC ."),
        ("stop", Step.WARN, "If nothing changes, it is stopped at 2030-05-17 12:00 UTC ."),
        ("report", Step.WARN, "Here this is only written down: nobody is stopped for it."),
    ],
)
def test_how_idle_it_is(office: Office, tmp_path: Path, mode: str, step: Step, says: str) -> None:
    (tmp_path / "policy.yml").write_text(f"{POLICY}\nidle_sessions: {mode}\n")
    office.add_lease()
    office.add_lease("bob", "bobs", devices=("GPU-1",))
    signal = Signal("Processors", "the Docker Engine", NOW, "0.02 in use")
    verdict = Verdict(step, Clock.GPUS, NOW, "Its GPUs have been idle for 2 h of the 2 h allowed.", (signal,))
    with office.services.ledger.write() as unit:
        unit.put_watches(
            [
                Watch("lease1", Limits(), begin_activity(NOW), verdict),
                Watch("bobs", Limits(), begin_activity(NOW), replace(verdict, reason="bob's own")),
            ]
        )
    text = text_of(page(office))
    assert "Its GPUs have been idle for 2 h of the 2 h allowed." in text
    assert says in text
    assert "Processors (the Docker Engine, 2030-05-17 12:00 UTC ): 0.02 in use" in text
    assert ("Keep it for 1 h" in text) == (mode == "stop")
    assert "bob" not in text


def judge(office: Office, lease_id: str = "lease1") -> None:
    verdict = Verdict(Step.WARN, Clock.GPUS, NOW, "Its GPUs have been idle.", ())
    with office.services.ledger.write() as unit:
        unit.put_watches([Watch(lease_id, Limits(), begin_activity(NOW), verdict)])


def test_keep(office: Office, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text(f"{POLICY}\nidle_sessions: stop\n")
    office.add_lease()
    judge(office)
    pressed = office.raw("POST", "/servers/lease1/keep", "ada", data={"_xsrf": office.cookie("ada")})
    assert pressed.status_code == 303
    with office.services.ledger.read() as unit:
        assert unit.wish_of("lease1") == Wish(NOW + HOUR, HOUR)
    assert [(e.actor, e.reason) for e in office.trail("session.kept")] == [
        ("ada", "it is kept until 2030-05-17 13:00 UTC, whatever is done in it")
    ]
    html = page(office)
    assert re.search(r"<button[^>]* disabled>Keep it for 1 h</button>", html), "disabled, and never hidden"
    assert "It is kept until 13:00 UTC already." in text_of(html)


@pytest.mark.parametrize("mode", ["stop", "report"])
def test_finish_and_release(office: Office, tmp_path: Path, mode: str) -> None:
    (tmp_path / "policy.yml").write_text(f"{POLICY}\nidle_sessions: {mode}\n")
    office.add_lease()
    judge(office)
    assert "Finish and release" in text_of(page(office))
    for wanted, shown in (("yes", "Do not stop it by itself"), ("no", "Finish and release")):
        form = {"_xsrf": office.cookie("ada"), "finish": wanted}
        assert office.raw("POST", "/servers/lease1/finish", "ada", data=form).status_code == 303
        assert shown in text_of(page(office))
    assert [e.reason for e in office.trail("session.finish")] == [
        "it does not end by itself any more when nothing runs in it",
        "it ends as soon as nothing runs in it any more",
    ]


def test_what_was_measured_before_the_session_is_not_shown(office: Office) -> None:
    office.add_lease(created_at=ago(120))
    add_samples(office, *(Sample(ago(10 * n), 77, GIB) for n in range(13, 50)))
    assert "<polyline" not in page(office)
    assert "77" not in office.raw("GET", "/servers/lease1/use.csv").text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words(office: Office, name: str) -> None:
    office.add_lease(server=name, image=name, ends_at=NOW, end_reason=name, party=Party((), (name,)))
    office.services.sessions.message("lease1", name, actor=name)
    html = page(office)
    assert "<script>alert" not in html
    assert text_of(html).count(name) >= 6


def test_messages(office: Office) -> None:
    office.add_lease()
    office.services.sessions.message("lease1", "old", actor="grace")
    office.now[0] += timedelta(days=2)
    office.services.sessions.message("lease1", "new", actor="grace")
    text = text_of(page(office))
    assert text.index("new from grace") < text.index("Your default server")
    assert text.index("Earlier messages old from grace") > text.index("Your default server")
    assert "from grace" not in page(office, "bob")


@pytest.mark.parametrize(("reason", "noted"), [("", "its person stopped it"), (" done ", "done")])
def test_stop(office: Office, reason: str, noted: str) -> None:
    office.add_lease(server="two")
    assert "Kernels and terminals that run in it end" in page(office)
    answer = office.raw("POST", "/servers/lease1/stop", data={"reason": reason})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/gpu/servers")
    assert office.hub.calls == [("stop_server", "ada", "two")]
    assert [(e.kind, e.actor, e.reason) for e in office.trail("session")] == [
        ("session.stopping", "ada", noted)
    ]


# -- extending it oneself -----------------------------------------------------------------------------------


@pytest.fixture
def generous(office: Office, tmp_path: Path) -> None:
    """Sessions last 8 h, and students may add 2 h by themselves."""
    policy = tmp_path / "policy.yml"
    text = policy.read_text().replace("gpus_per_server: 2,", "gpus_per_server: 2, longest_session: 8 h,")
    policy.write_text(text.replace("students: {}", "students: {extension: 2 h}"))
    office.add_lease(created_at=NOW - 7 * HOUR, ends_at=NOW + HOUR, warned=15, end_reason="8 h at most")


def press_extend(office: Office, until: str, who: str = "ada") -> tuple[int, str]:
    """The button as a browser presses it; the status, and the page to which it leads."""
    browser = requests.Session()
    browser.headers["Authorization"] = f"token {who}"
    answer = browser.post(
        f"{office.url}/services/gpu/servers/lease1/extend", data={"until": until}, timeout=10
    )
    return answer.status_code, text_of(answer.text)


@pytest.mark.usefixtures("generous")
def test_extend_by_a_step_and_not_beyond_the_bound(office: Office) -> None:
    for hour in (14, 15):
        html = page(office)
        assert f"If you extend it, it ends at 2030-05-17 {hour}:00 UTC ." in text_of(html)
        (until,) = re.findall(r'name="until" value="([^"]*)"', html)
        assert f"Your session goes on until 2030-05-17 {hour}:00 UTC." in press_extend(office, until)[1]
    lease = office.services.sessions.find("lease1")
    assert (lease.ends_at, lease.warned) == (NOW + 3 * HOUR, None), "warnings begin anew"
    html = page(office)
    assert "It goes on for as long as you may let it: 2 h beyond the longest session (group `students`)" in (
        text_of(html)
    )
    assert re.search(r"<button[^>]* disabled>Extend by 1 h</button>", html), "disabled, and never hidden"
    assert [(e.actor, e.reason) for e in office.trail("session.extended")] == [
        ("ada", "60 min more for themselves, as the policy allows")
    ] * 2
    assert office.get("/messages")["messages"] == [], "who does it needs no message"


@pytest.mark.usefixtures("generous")
def test_a_press_does_what_was_shown_or_nothing(office: Office) -> None:
    shown = (NOW + 2 * HOUR).isoformat()
    assert "goes on until" in press_extend(office, shown)[1]
    assert "which is not what you were shown" in press_extend(office, shown)[1], "pressed twice is once"
    office.ask("POST", "/queue", "bob", {"server": "", "options": {"gpus": 2}})
    assert "1 person waits for what it holds." in press_extend(office, (NOW + 3 * HOUR).isoformat())[1]
    assert "1 person waits for what it holds." in text_of(page(office))
    assert office.services.sessions.find("lease1").ends_at == NOW + 2 * HOUR
    assert "bob" not in page(office)


@pytest.mark.usefixtures("generous")
@pytest.mark.parametrize(
    "until", ["", "soon", "9999-99-99", "<script>alert(1)</script>", "2030-05-17T14:00:00"]
)
def test_hostile_ends(office: Office, until: str) -> None:
    status, text = press_extend(office, until)
    assert status == 200
    assert "until: " in text
    assert not office.trail("session")


def test_where_the_policy_gives_nothing_the_button_says_so(office: Office) -> None:
    office.add_lease(ends_at=NOW + HOUR)
    html = page(office)
    assert "It cannot be extended by you now: You cannot extend it by yourself." in text_of(html)
    assert re.search(r"<button[^>]* disabled>Extend by 1 h</button>", html)
    assert "You cannot extend it by yourself." in press_extend(office, (NOW + 2 * HOUR).isoformat())[1]


def test_a_session_without_an_end_has_no_such_button(office: Office) -> None:
    office.add_lease()
    assert "Extend by" not in page(office)


@pytest.mark.usefixtures("generous")
def test_a_policy_that_cannot_be_read_extends_nothing(office: Office) -> None:
    def broken(*_: object) -> None:
        raise SettingsError("line 7 is wrong")

    office.services.policies.allowance = broken  # type: ignore[method-assign, assignment]
    assert "The policy cannot be read at the moment." in text_of(page(office))
    assert press_extend(office, (NOW + 2 * HOUR).isoformat())[0] == 503
    assert not office.trail("session")


# -- samples ------------------------------------------------------------------------------------------------


def test_samples_are_read_again_when_the_plots_move_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.add_lease(created_at=ago(600))
    add_samples(office, *(Sample(ago(2 * n), 50, GIB) for n in range(30, 200)))
    read: list[str] = []
    really = LedgerUnit.recent_samples

    def note(unit: LedgerUnit, host: str, device: str, since: datetime) -> tuple[Sample, ...]:
        read.append(device)
        return really(unit, host, device, since)

    monkeypatch.setattr(LedgerUnit, "recent_samples", note)
    looks = []
    for seconds in (5, 7, 12, 29, 31, 33, 35, 40):
        office.now[0] = NOW + timedelta(seconds=seconds)
        html = page(office)
        looks.append((len(read), re.findall(r"<polyline[^>]*>", html)))
    # A window ends at NOW, and the next half a minute later: for its first 4 s the newest may be missing yet.
    assert [count for count, _ in looks] == [1, 1, 1, 1, 2, 3, 4, 4]
    assert looks[0][1] == looks[3][1] != looks[4][1]
    office.add_lease("bob", "l2", devices=("GPU-1",))
    page(office, "bob")
    assert read[-1] == "GPU-1"
    assert "<polyline" not in page(office, "bob")


@pytest.mark.parametrize("what", ["stop", "extend"])
@pytest.mark.parametrize("who", ["bob", "grace", "admin", "service-ada"])
def test_others_servers_are_not_there(office: Office, who: str, what: str) -> None:
    office.add_lease(party=Party((), ("vision",)), ends_at=NOW + HOUR)
    answer = office.raw("POST", f"/servers/lease1/{what}", who)
    assert answer.status_code == 404
    assert text_of(answer.text) == text_of(office.raw("POST", f"/servers/nothing/{what}", who).text)
    assert (office.hub.calls, office.trail("session")) == ([], [])


def test_what_cannot_be_stopped_is_told(office: Office) -> None:
    office.add_lease()
    office.hub.fail("stop_server")
    assert office.raw("POST", "/servers/lease1/stop").status_code == 303
    too_long = office.raw("POST", "/servers/lease1/stop", data={"reason": "x" * 501})
    assert too_long.status_code == 303
    office.add_lease(lease_id="over", state=LeaseState.RELEASED, devices=())
    assert office.raw("POST", "/servers/over/stop").status_code == 303
    assert len(office.trail("session")) == 1


def test_the_csv(office: Office) -> None:
    office.add_lease(created_at=ago(100), party=Party((), ("vision",)))
    add_samples(office, Sample(ago(101), 99), Sample(ago(90), 50, GIB), Sample(ago(4), None, None))
    answer = office.raw("GET", "/servers/lease1/use.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.text.splitlines() == [
        "time,gpu,utilization_percent,memory_used_bytes",
        f"2030-05-17T11:58:30Z,GPU-0,50,{GIB}",
        "2030-05-17T11:59:56Z,GPU-0,,",
    ]
    assert office.raw("GET", "/servers/lease1/use.csv", "grace").status_code == 200, "its teacher sees it too"
    for who in ("bob", "service-ada"):
        assert office.raw("GET", "/servers/lease1/use.csv", who).status_code == 404
    assert office.raw("GET", "/servers/lease1/use.csv", None).status_code == 302


def test_no_csv_of_what_is_somebody_else_s_now(office: Office) -> None:
    office.add_lease(state=LeaseState.RELEASING)
    add_samples(office, Sample(ago(5), 99))
    assert office.raw("GET", "/servers/lease1/use.csv").status_code == 404
