"""The audit trail: what is looked for, a page of what was found, and the file."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.audit import COLUMNS, SHOWN, read_search, view_audit, write_events
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Event
from gpuspawner.core.undo import Undoing
from support.build import NOW, ago

LINKS = Links("/hub/", "/gpu/")
DRAINED = Event(NOW, "device.drained", "fan", "root", device="GPU-0", data={"now": True}, id=9)
GRANTED = Event(ago(1), "lease.granted", "free", lease_id="lease1", id=8)


def test_what_it_says() -> None:
    page = view_audit([DRAINED, GRANTED], {"kind": "device."}, LINKS)
    first, second = page.events
    assert (first.kind, first.actor, first.reason, first.device) == ("device.drained", "root", "fan", "GPU-0")
    assert (first.evidence, second.evidence) == ('{\n "now": true\n}', "")
    assert [one.label for one in page.kinds if one.current] == ["GPUs"]
    assert page.kinds[0].href == "/gpu/audit"
    assert (page.newest, page.older) == ("", "")


@pytest.mark.parametrize(("why_not", "href"), [("", "/gpu/board/do/undo/9"), ("too late", "")])
def test_what_can_be_taken_back(why_not: str, href: str) -> None:
    undoings = {9: Undoing(DRAINED, "GPU-0", why_not=why_not)}
    assert [row.undo for row in view_audit([DRAINED, GRANTED], {}, LINKS, undoings=undoings).events] == [
        *(href, "")
    ]


def test_pages_keep_what_is_looked_for() -> None:
    events = [Event(NOW, "x", "y", id=n) for n in range(200, 200 - SHOWN - 1, -1)]
    page = view_audit(events, {"person": "a&b", "kind": "device.", "strange": "x", "before": "201"}, LINKS)
    assert len(page.events) == SHOWN
    assert page.older == "/gpu/audit?person=a%26b&kind=device.&before=151"
    assert page.newest == "/gpu/audit?person=a%26b&kind=device."
    assert page.file == "/gpu/audit.csv?person=a%26b&kind=device."
    assert page.kinds[2].href == "/gpu/audit?person=a%26b&kind=session."
    assert view_audit(events[:SHOWN], {}, LINKS).older == ""


def test_what_is_looked_for() -> None:
    assert read_search({}) == EventSearch()
    typed = {
        "person": " ada ",
        "card": "GPU-1",
        "kind": "device.",
        "text": "a\x00b\u202e",
        "since": "2030-05-16",
        "until": "2030-05-17",
        "before": "7",
    }
    assert read_search(typed) == EventSearch(
        kind="device.",
        person="ada",
        card="GPU-1",
        text="a b",
        since=datetime(2030, 5, 16, tzinfo=UTC),
        until=datetime(2030, 5, 18, tzinfo=UTC),
        before=7,
    )
    assert len(read_search({"text": "x" * 10_000}).text) == 255


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"since": "yesterday"}, "The first day is not a day."),
        ({"until": "20300517"}, "The last day is not a day."),
        ({"until": "9999-12-31"}, "The last day must lie between"),
        ({"since": "2030-05-17", "until": "2030-05-16"}, "is before the first"),
        ({"before": "-1"}, "There is no such page."),
        ({"before": "٣"}, "There is no such page."),
        ({"before": "9" * 19}, "There is no such page."),
    ],
)
def test_what_makes_no_sense(query: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_search(query)
    page = view_audit((), query, LINKS, problem="no")
    assert (page.events, page.problem) == ((), "no")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", 'a "b", c\nd', "🦊"])
def test_a_file_runs_nothing(text: str) -> None:
    event = Event(
        NOW + timedelta(seconds=1), text, text, text, lease_id=text, device=text, data={"x": text}, id=3
    )
    header, row = csv.reader(io.StringIO(write_events([event])))
    assert tuple(header) == COLUMNS
    assert row[:2] == ["3", "2030-05-17T12:00:01Z"]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)
    assert row[4].removeprefix("'") == text
