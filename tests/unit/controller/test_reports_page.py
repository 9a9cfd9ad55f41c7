"""The reports page and its files: whose use is shown to whom, and that what people wrote does no harm."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.core.claims import TicketState, Usage
from gpuspawner.core.model import Event, Party
from markupsafe import escape
from support.build import HOST, NOW, ticket
from support.client import text_of

if TYPE_CHECKING:
    from support.controller import Office

ONE = Usage(
    "lease1", "GPU-0", NOW.date(), "ada", "", "demo/base:1", "A100", Party(("students",), ("vision",)),
    held_seconds=7200, sampled_seconds=3600, active_seconds=900, peak_memory_bytes=3 * 1024**3,
    energy_joules=3.6e6,
)  # fmt: skip
BOBS = replace(ONE, lease_id="lease2", owner="bob", party=Party(), held_seconds=36000)
HOSTILE = ["<script>alert(1)</script>", "عمر\u202eevil", "🦊" * 16, "x" * 64, "=cmd|' /C calc'!A0", "a&b\"'"]


def store(office: Office, *accounts: Usage) -> None:
    with office.services.ledger.write() as unit:
        unit.add_usage(HOST, accounts)


def page(office: Office, who: str = "ada", query: str = "") -> str:
    answer = office.raw("GET", f"/reports{query}", who)
    assert answer.status_code == 200, answer.text
    return answer.text


def file(office: Office, who: str = "admin", query: str = "") -> list[list[str]]:
    answer = office.raw("GET", f"/reports.csv{query}", who)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.content.decode())))


@pytest.mark.parametrize("who", ["ada", "admin", "hub-admin"])
def test_nothing_yet(office: Office, who: str) -> None:
    text = text_of(page(office, who))
    assert "Nothing was used in this period." in text
    assert (
        ("No turn came in this period." in text)
        == ("Nothing was refused in this period." in text)
        == (who != "ada")
    )


def test_people_see_their_own_use_only(office: Office) -> None:
    store(office, ONE, BOBS)
    for by in ("user", "group", "course", "image", "model", "device", "day"):
        html = page(office, "ada", f"?by={by}")
        text = text_of(html)
        assert "bob" not in html
        assert "Total 1 2.0 0.2 (25 %) 0.8 (75 %) 1.0 3.0 1.0" in text, text
        assert "Your own use." in text
        assert "Waits" not in text
    (_, mine) = file(office, "ada", "?by=user")
    assert mine == ["ada", "", "1", "2.0", "0.25", "0.25", "0.75", "0.75", "1.0", "3.0", "1.0"]


def test_who_manages_sees_everybody_s(office: Office) -> None:
    store(office, ONE, BOBS)
    for who in ("admin", "hub-admin"):
        text = text_of(page(office, who))
        assert text.index("bob 1 10.0") < text.index("ada 1 2.0"), "the most held first"
        assert "Total 2 12.0" in text
        assert [line[0] for line in file(office, who, "?by=user")] == ["user", "bob", "ada"]


@pytest.mark.parametrize("who", ["filtered", "planner", "grace"])
def test_others_do_not(office: Office, who: str) -> None:
    store(office, replace(ONE, party=Party()), BOBS)
    html = page(office, who, "?by=user")
    assert "bob" not in html
    assert "Nothing was used in this period." in html
    for table in ("waits", "refusals"):
        answer = office.raw("GET", f"/reports.csv?table={table}", who)
        assert answer.status_code == 403
        assert "only an administrator sees them" in answer.text
    assert office.trail("access.denied")[0].reason.startswith("/services/gpu/reports.csv: ")


def test_who_may_not_come_at_all(office: Office) -> None:
    for path in ("/reports", "/reports.csv"):
        assert office.raw("GET", path, None).status_code == 302
        assert office.raw("GET", path, "stranger").status_code == 403
        assert office.raw("GET", path, "blind").status_code == 403
        assert office.raw("GET", path, "service-ada").status_code == 403, "it has no use of its own"
    assert len(office.trail("access.denied")) == 4


def test_a_teacher_sees_what_the_course_held_and_not_who(office: Office) -> None:
    store(office, ONE, replace(BOBS, party=Party((), ("vision", "other"))))
    html = page(office, "grace")
    text = text_of(html)
    assert "Courses that you teach" in text
    assert "vision 2 12.0" in text
    assert "other" not in text.partition("Courses that you teach")[2]
    assert "bob" not in html
    assert [line[:4] for line in file(office, "grace", "?table=courses")][1:] == [["vision", "", "2", "12.0"]]
    assert file(office, "ada", "?table=courses")[1:] == []
    assert "Courses that you teach" not in page(office, "ada")


def test_the_week(office: Office) -> None:
    store(office, ONE)
    text = text_of(page(office))
    assert "2 h of 40 h used. The first hours come back on 2030-05-24 00:00 UTC" in text
    assert "The rule: default." in text
    assert "0 min of 40 h used. GPU-hours" in text_of(page(office, "bob")), "nothing comes back of nothing"


def test_a_session_that_runs_counts(office: Office) -> None:
    office.add_lease(created_at=NOW - timedelta(hours=3))
    assert "Total 1 3.0 not known not known 3.0 not known not known" in text_of(page(office))


def test_other_days(office: Office) -> None:
    store(office, ONE, replace(ONE, lease_id="l9", day=NOW.date() - timedelta(days=40)))
    assert "Total 1 2.0" in text_of(page(office))
    assert "Total 2 4.0" in text_of(page(office, query="?since=2030-01-01&until=2030-12-31"))
    assert "Nothing was used" in page(office, query="?since=2030-05-16&until=2030-05-16")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?since=%3Cscript%3E", "The first day is not a day."),
        ("?since=2030-05-18&until=2030-05-17", "Exchange them."),
        ("?until=9999-12-31", "must lie between"),
        ("?by=%3Cscript%3E", "There is no such report; there are: user, group"),
        ("?by=lease", "There is no such report"),
    ],
)
def test_hostile_questions(office: Office, query: str, sentence: str) -> None:
    store(office, ONE)
    html = page(office, "ada", query)
    assert sentence in text_of(html)
    assert "<script>" not in html
    assert "Total" not in text_of(html), "nothing is shown that was not asked for"
    answer = office.raw("GET", f"/reports.csv{query}", "ada")
    assert answer.status_code == 400
    assert sentence in text_of(answer.text)


def test_what_is_no_text_gives_a_sentence(office: Office) -> None:
    answer = office.raw("GET", "/reports?since=%25%ff", "ada")
    assert answer.status_code == 400
    assert "Invalid unicode in since: b'%\\xff'" in text_of(answer.text)


def test_there_is_no_such_table(office: Office) -> None:
    answer = office.raw("GET", "/reports.csv?table=%3Cscript%3E", "admin")
    assert answer.status_code == 400
    assert "There is no such table; there are: usage, courses, waits, refusals." in text_of(answer.text)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("by", ["user", "group", "course", "image", "device"])
def test_hostile_names(office: Office, name: str, by: str) -> None:
    names: dict[str, Any] = {
        "user": {"owner": name},
        "group": {"party": Party((name,))},
        "course": {"party": Party((), (name,))},
        "image": {"image": name},
        "device": {"device": name, "model": name},
    }
    store(office, replace(ONE, **names[by]))
    html = page(office, "admin", f"?by={by}")
    assert "<script>alert" not in html
    line = file(office, "admin", f"?by={by}")[1]
    assert line[0] == (f"'{name}" if name.startswith("=") else name)
    if by != "device":
        assert f"<bdi>{escape(name)}</bdi>" in html


def test_the_file_s_name(office: Office) -> None:
    answer = office.raw("GET", "/reports.csv?by=image", "admin")
    disposition = 'attachment; filename="usage-by-image-2030-05-11-2030-05-17.csv"'
    assert answer.headers["Content-Disposition"] == disposition
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.text.endswith("\r\n")


def test_waits_and_refusals(office: Office) -> None:
    offered = {"ticket": "t1", "owner": "ada", "waited_seconds": 1800.0, "claim": "share"}
    with office.services.ledger.write() as unit:
        unit.add_ticket(ticket(id="t2", owner="bob", state=TicketState.ENDED, state_since=NOW))
        unit.add_event(Event(NOW, "ticket.offered", "", "controller", data=offered))
        unit.add_event(Event(NOW - timedelta(days=9), "ticket.offered", "", data=offered | {"ticket": "t0"}))
        for kind in ("not_allowed", "not_allowed", "<script>"):
            unit.add_event(Event(NOW, "lease.refused", "no", "ada", data={"kind": kind}))
    html = page(office, "admin")
    text = text_of(html)
    assert "All turns 1 1 30 min 30 min 30 min A guaranteed share 1 1 30 min" in text
    assert "Left before their turn 1 1 1 min 1 min 1 min Had a turn, and did not take it 0 0" in text
    assert "A limit of the policy forbids it 2 1" in text
    assert "Another reason 1 1" in text
    assert "<script>" not in html.partition("<main")[2]
    assert file(office, "admin", "?table=waits")[1] == [
        "turn",
        "All turns",
        "1",
        "1",
        "1800.0",
        "1800.0",
        "1800.0",
    ]
    assert file(office, "admin", "?table=refusals")[1:] == [["not_allowed", "2", "1"], ["other", "1", "1"]]


def test_many_people(office: Office) -> None:
    store(
        office,
        *(replace(ONE, lease_id=f"l{n}", owner=f"person{n:03}", held_seconds=3600 + n) for n in range(500)),
    )
    html = page(office, "admin")
    assert html.count('<th scope="row" class="gpu-row-name">') == 100
    assert "The 100 rows with the most of 500 are shown." in text_of(html)
    assert page(office, "admin", "?by=user&all=yes").count('<th scope="row" class="gpu-row-name">') == 500
    assert len(file(office)) == 501


def test_a_policy_that_cannot_be_read_hides_the_week_only(office: Office, tmp_path: Any) -> None:
    store(office, ONE)
    (tmp_path / "policy.yml").write_text("groups: [")
    html = page(office)
    assert "Your week" not in html
    assert "Total 1 2.0" in text_of(html)


def test_the_way_there(office: Office) -> None:
    assert '<a class="nav-link active" href="/services/gpu/reports" aria-current="page">Reports</a>' in page(
        office
    )
