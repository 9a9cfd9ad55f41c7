"""Sessions: who sees which, and what teachers, administrators and their own people can do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gpuspawner.core.activity import begin_activity
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Clock, Limits, Signal, Step, Verdict
from gpuspawner.core.model import LeaseState, Party
from support.build import NOW

if TYPE_CHECKING:
    from support.controller import Office

VISION = Party(groups=("students",), courses=("vision",))
OTHER = Party(groups=("students",), courses=("sound",))
END = NOW + timedelta(minutes=30)
EXTEND = {"until": "2030-05-17T14:00:00+00:00", "reason": "exam week"}
ACTIONS = {"extend": EXTEND, "stop": {"reason": "exam"}, "message": {"text": "hello"}}


@pytest.fixture(autouse=True)
def sessions(office: Office) -> None:
    office.add_lease("ada", "course", party=VISION, ends_at=END, warned=15)
    office.add_lease("ada", "private", party=OTHER, devices=("GPU-1",), server="two", ends_at=END)
    office.add_lease("grace", "teachers-own", devices=(), ends_at=END)
    office.add_lease("bob", "bobs", devices=(), ends_at=END)


def ids(office: Office, who: str) -> list[str]:
    return sorted(one["id"] for one in office.get("/leases", who)["sessions"])


def test_who_sees_which(office: Office) -> None:
    assert ids(office, "ada") == ["course", "private"]
    assert ids(office, "grace") == ["course", "teachers-own"]
    assert ids(office, "bob") == ["bobs"]
    assert ids(office, "admin") == ids(office, "hub-admin") == ["bobs", "course", "private", "teachers-own"]
    assert ids(office, "service-ada") == [], "a service is nobody, whatever its name"
    assert ids(office, "filtered") == []


@pytest.mark.parametrize(
    ("who", "lease_id"), [("grace", "private"), ("grace", "bobs"), ("ada", "bobs"), ("service-ada", "course")]
)
def test_what_one_may_not_see_does_not_exist(office: Office, who: str, lease_id: str) -> None:
    for method, path, body in [
        ("GET", f"/leases/{lease_id}", None),
        *(("POST", f"/leases/{lease_id}/{action}", body) for action, body in ACTIONS.items()),
    ]:
        refused = office.refusal(method, path, who, body)
        assert refused == (404, "not_found", "There is no such session.")
        assert refused == office.refusal(method, path.replace(lease_id, "nothing"), who, body)
    assert office.hub.calls == []
    assert office.trail("session") == []


@pytest.mark.parametrize("action", ["extend", "message"])
def test_one_s_own_session_is_for_others_to_extend(office: Office, action: str) -> None:
    status, kind, message = office.refusal("POST", f"/leases/private/{action}", "ada", ACTIONS[action])
    assert (status, kind) == (403, "forbidden")
    assert "teacher of the course" in message
    assert [event.actor for event in office.trail("access.denied")] == ["ada"]


@pytest.mark.parametrize("who", ["grace", "admin"])
def test_extend(office: Office, who: str) -> None:
    answer = office.ask("POST", "/leases/course/extend", who, EXTEND)
    assert answer.status_code == 200
    assert answer.json()["ends_at"] == "2030-05-17T14:00:00Z"
    assert office.services.sessions.find("course").warned is None
    assert office.get("/messages", "ada")["messages"][0]["actor"] == who


def test_extend_with_another_time_zone(office: Office) -> None:
    body = {"until": "2030-05-17T16:00:00+02:00", "reason": "r"}
    assert (
        office.ask("POST", "/leases/course/extend", "grace", body).json()["ends_at"] == "2030-05-17T14:00:00Z"
    )


def test_extend_is_bounded(office: Office) -> None:
    month = {"until": "2030-06-17T14:00:00Z", "reason": "r"}
    assert office.refusal("POST", "/leases/course/extend", "admin", month)[0] == 400
    lecture = {
        "title": "Lecture", "group": "students", "users": ["bob"], "devices": 2,
        "start": "2030-05-17T13:00", "length": "1 h",
    }  # fmt: skip
    made = office.ask("POST", "/reservations", "admin", lecture)
    assert made.json()["warnings"] == [], "both sessions end before it"
    status, kind, message = office.refusal("POST", "/leases/course/extend", "grace", EXTEND)
    assert (status, kind) == (409, "conflict")
    assert "beyond 2030-05-17 13:00 UTC: " in message
    assert "Lecture" in message
    assert office.services.sessions.find("course").ends_at == END


# -- one's own ----------------------------------------------------------------------------------------------

OWN = "/leases/private/extension"


@pytest.fixture
def generous(office: Office, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("students: {}", "students: {extension: 2 h}"))


@pytest.mark.usefixtures("generous")
def test_extend_one_s_own(office: Office) -> None:
    offered = office.get(OWN)
    assert offered == {"until": "2030-05-17T13:30:00Z", "why_not": ""}
    body = {"until": offered["until"]}
    assert office.ask("POST", OWN, "ada", body).json()["ends_at"] == "2030-05-17T13:30:00Z"
    status, kind, message = office.refusal("POST", OWN, "ada", body)
    assert (status, kind) == (409, "conflict")
    assert "2030-05-17 14:30 UTC now, which is not what you were shown" in message
    assert office.ask("POST", OWN).json()["ends_at"] == "2030-05-17T14:30:00Z", "whatever it comes to"


def test_one_s_own_without_a_word_of_the_policy(office: Office) -> None:
    assert office.get(OWN) == {"until": None, "why_not": "You cannot extend it by yourself."}
    assert office.refusal("POST", OWN) == (409, "conflict", "You cannot extend it by yourself.")
    assert office.services.sessions.find("private").ends_at == END


@pytest.mark.usefixtures("generous")
@pytest.mark.parametrize(
    ("who", "lease_id", "status"),
    [
        ("grace", "course", 403),
        ("admin", "private", 403),
        ("bob", "private", 404),
        ("service-ada", "private", 404),
    ],
)
def test_others_have_another_way(office: Office, who: str, lease_id: str, status: int) -> None:
    for method in ("GET", "POST"):
        assert office.refusal(method, f"/leases/{lease_id}/extension", who)[0] == status
    assert not office.trail("session")


def test_idleness_of_one_s_own(office: Office) -> None:
    found = office.get("/leases/private/idleness")
    assert (found["step"], found["reason"], found["acted_on"], found["kept_until"]) == (None, "", True, None)
    assert found["can_be_kept_until"] == "2030-05-17T13:00:00Z"
    signal = Signal("GPUs", "samples", NOW, "idle")
    verdict = Verdict(Step.WARN, Clock.GPUS, END, "Its GPUs have been idle.", (signal,))
    with office.services.ledger.write() as unit:
        unit.put_watches([Watch("private", Limits(), begin_activity(NOW), verdict)])
    found = office.get("/leases/private/idleness")
    assert (found["step"], found["reason"]) == ("warn", "Its GPUs have been idle.")
    assert found["signals"][0]["what"] == "GPUs"


def test_keep_one_s_own(office: Office) -> None:
    keep = "/leases/private/keep"
    assert office.ask("POST", keep).json() == {"until": "2030-05-17T13:00:00Z"}
    assert office.refusal("POST", keep)[2] == "It is kept until 13:00 UTC already."
    assert office.get("/leases/private/idleness")["kept_until"] == "2030-05-17T13:00:00Z"


def test_finish_one_s_own(office: Office, tmp_path: Path) -> None:
    finish = "/leases/private/finish"
    office.ask("POST", "/leases/private/keep")
    found = office.ask("POST", finish, "ada", {"finish": True}).json()
    assert (found["finish"], found["kept_until"]) == (True, None), "what is to end is not kept"
    assert office.ask("POST", finish, "ada", {"finish": False}).json()["finish"] is False
    assert office.refusal("POST", finish, "bob", {"finish": True})[0] == 404
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text() + "idle_sessions: ignore\n")
    status, _, message = office.refusal("POST", finish, "ada", {"finish": True})
    assert (status, message) == (409, "Nobody looks into sessions here, so none can end by itself.")


def test_who_is_waited_for_keeps_to_the_bound(office: Office, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("gpu_hours_per_week: 40", "gpu_hours_per_week: 40, keep: 0"))
    waits = office.ask("POST", "/queue", "bob", {"server": "two", "options": {"gpus": 2}})
    assert waits.status_code == 201, waits.text
    status, _, message = office.refusal("POST", "/leases/private/keep")
    assert (status, "Somebody waits for what it holds" in message) == (409, True)


@pytest.mark.parametrize(
    ("who", "lease_id", "status"),
    [("grace", "course", 403), ("admin", "private", 403), ("bob", "private", 404)],
)
def test_nobody_keeps_another_s(office: Office, who: str, lease_id: str, status: int) -> None:
    assert office.refusal("POST", f"/leases/{lease_id}/keep", who)[0] == status
    assert office.refusal("GET", f"/leases/{lease_id}/idleness", who)[0] == status
    assert not office.trail("session")


@pytest.mark.parametrize(("who", "lease_id"), [("ada", "private"), ("grace", "course"), ("admin", "bobs")])
def test_stop(office: Office, who: str, lease_id: str) -> None:
    assert office.ask("POST", f"/leases/{lease_id}/stop", who, {"reason": "exam"}).status_code == 200
    lease = office.services.sessions.find(lease_id)
    assert office.hub.calls == [("stop_server", lease.owner, lease.server)]
    assert [(e.kind, e.actor, e.reason) for e in office.trail("session")] == [
        ("session.stopping", who, "exam")
    ]


def test_a_stop_whose_answer_is_lost(office: Office) -> None:
    office.hub.fail("stop_server")
    assert office.refusal("POST", "/leases/course/stop", "grace", {"reason": "exam"})[:2] == (502, "hub_away")


def test_a_session_that_is_over(office: Office) -> None:
    office.add_lease("ada", "over", LeaseState.RELEASED, devices=())
    assert office.get("/leases/over")["state"] == "released"
    assert office.refusal("POST", "/leases/over/stop", "ada", {"reason": "r"})[:2] == (409, "conflict")
    assert office.hub.calls == []


def test_messages_are_one_s_own(office: Office) -> None:
    sent = office.ask("POST", "/leases/course/message", "grace", {"text": "<b>please</b> finish"})
    assert sent.json()["text"] == "<b>please</b> finish"
    assert [one["text"] for one in office.get("/messages", "ada")["messages"]] == ["<b>please</b> finish"]
    for who in ("grace", "bob", "admin"):
        assert office.get("/messages", who)["messages"] == []
    assert office.refusal("GET", "/messages", "service-ada")[0] == 403


def test_who_no_longer_teaches_sees_nothing_more(office: Office, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("[grace]", "[]"))
    assert ids(office, "grace") == ["teachers-own"]


def test_cards_name_holders_to_those_who_may_see_them(office: Office) -> None:
    def holders(who: str) -> list[tuple[str, str | None, bool]]:
        return [(c["state"], c["holder"], c["mine"]) for c in office.get("/cards", who)["cards"]]

    assert holders("ada") == [("held", "ada", True), ("held", "ada", True)]
    assert holders("grace") == [("held", "ada", False), ("held", None, False)]
    assert holders("bob") == [("held", None, False), ("held", None, False)]
    assert holders("service-ada") == [("held", None, False), ("held", None, False)]
    assert holders("admin") == [("held", "ada", False), ("held", "ada", False)]
