from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.simulate.csvfiles import read_trace
from gpuspawner.simulate.traces import MINUTE, Session, Trace, TraceError, Work

SESSIONS = "session,user,start_min,stop_min,max_gpus\n"
EVENTS = "session,start_min,duration_min,gpus,gpu_util_pct\n"


class Files:
    def __init__(self, folder: Path) -> None:
        self.sessions, self.events = folder / "s.csv", folder / "e.csv"

    def read(self, sessions: str | bytes, events: str | bytes = EVENTS) -> Trace:
        for path, text in ((self.sessions, sessions), (self.events, events)):
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_trace(self.sessions, self.events)

    def error(self, sessions: str | bytes, events: str | bytes = EVENTS) -> str:
        with pytest.raises(TraceError) as caught:
            self.read(sessions, events)
        return str(caught.value).replace(f"{self.sessions.parent}/", "")


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def test_a_good_trace(files) -> None:
    trace = files.read(
        SESSIONS + "b,ada,130.5,190.5,2\na,,100,160,1\n",
        EVENTS + "b,140.5,10,2,50\na,101,2,1,\n",
    )
    assert trace == Trace(
        (
            Session("a", "session a", 0, 60 * MINUTE, 1, (Work(MINUTE, 3 * MINUTE, 2 * MINUTE),), None),
            Session(
                *("b", "ada", round(30.5 * MINUTE), 60 * MINUTE, 2),
                (Work(10 * MINUTE, 20 * MINUTE, 20 * MINUTE),),
                10 * MINUTE,
            ),
        )
    )


def test_columns_in_any_order_a_byte_order_mark_blank_lines_and_windows_ends(files) -> None:
    trace = files.read(
        "\ufeffmax_gpus,stop_min, start_min ,user,session\r\n\r\n2.0,5,1e0,ada,a\r\n,,,,\r\n".encode(), EVENTS
    )
    assert trace.sessions == (Session("a", "ada", 0, 4 * MINUTE, 2, (), 0),)


SAME = SESSIONS + "a,ada,0,60,4\n"


@pytest.mark.parametrize(
    ("events", "work"),
    [
        ("a,10,5,1,\na,15,5,2,\n", [(10, 20, 15)]),
        ("a,10,10,1,\na,12,4,2,\n", [(10, 20, 18)]),
        ("a,10,10,3,\na,15,10,3,\n", [(10, 25, 50)]),
        ("a,10,5,4,\na,10,5,4,\n", [(10, 15, 20)]),
        ("a,20,5,1,\na,10,5,1,\n", [(10, 15, 5), (20, 25, 5)]),
        ("a,10,5,0,\n", []),
        ("a,10,0,1,\n", []),
        ("a,-5,10,1,\na,55,10,1,\n", [(0, 5, 5), (55, 60, 5)]),
    ],
    ids=["touch", "overlap", "share", "share all", "any order", "no GPU", "no time", "cut"],
)
def test_events_become_stretches_of_work(files, events: str, work: list) -> None:
    (session,) = files.read(SAME, EVENTS + events).sessions
    assert session.work == tuple(Work(*(m * MINUTE for m in piece)) for piece in work)


def test_what_was_cut_is_said(files) -> None:
    trace = files.read(SAME, EVENTS + "a,-5,10,1,\na,55,10,1,\na,5,5,1,\n")
    assert trace.notes == ("2 events beyond the session, cut to it.",)


def test_numbers_as_tools_write_them(files) -> None:
    second = "0.016666666666666666"
    trace = files.read(
        SESSIONS + f"a,,.5,100.{'0' * 17}1,1\n", EVENTS + f"a,1,{second},1,100.00000000000001\n"
    )
    assert trace.sessions == (
        Session("a", "session a", 0, 5970 * 1000, 1, (Work(30_000, 31_000, 1000),), 1000.0),
    )


@pytest.mark.parametrize("written", ["", "NaN", "NA", "null", "None"])
def test_a_utilisation_that_was_not_recorded(files, written: str) -> None:
    trace = files.read(SAME, EVENTS + f"a,1,1,1,{written}\n")
    assert trace.sessions[0].computed is None
    assert not trace.notes


@pytest.mark.parametrize("written", ["101", "-1", "186.5", "1e300"])
def test_a_utilisation_that_cannot_be_is_not_known(files, written: str) -> None:
    trace = files.read(SAME, EVENTS + f"a,1,1,1,{written}\na,5,1,1,50\n")
    assert trace.sessions[0].computed is None
    assert trace.notes == ("1 event with a utilisation that is not from 0 to 100, taken as not known.",)


def test_events_outside_are_left_out_and_said(files) -> None:
    trace = files.read(SAME, EVENTS + "a,1,1,1,\na,60.001,1,1,\n")
    assert trace.sessions[0].work == (Work(MINUTE, 2 * MINUTE, MINUTE),)
    assert trace.notes == ("1 event outside the session, left out; the first in line 3.",)


def test_events_on_another_clock_are_an_error(files) -> None:
    assert "e.csv, line 2, column `start_min`: this and most events lie outside" in files.error(
        SAME, EVENTS + "a,61,1,1,\na,5,1,1,\na,90,1,1,\n"
    )


def test_gpus_that_events_share_compute_no_more_than_they_can(files) -> None:
    one = SESSIONS + "a,ada,0,60,1\n"
    assert files.read(one, EVENTS + "a,0,10,1,100\na,0,10,1,100\n").sessions[0].computed == 10 * MINUTE
    assert files.read(one, EVENTS + "a,0,10,1,80\na,5,10,1,40\n").sessions[0].computed == pytest.approx(
        (5 * 0.8 + 5 * 0.6 + 5 * 0.4) * MINUTE
    )
    assert files.read(SAME, EVENTS + "a,0,10,2,100\na,0,10,2,50\n").sessions[0].computed == 30 * MINUTE


BAD_SESSIONS = {
    "semicolons": ("session;user\na;b\n", "s.csv, line 1: cells are parted by commas."),
    "tabs": (SESSIONS.replace(",", "\t"), "s.csv, line 1: cells are parted by commas."),
    "empty": ("", "s.csv, line 1: column `session` is missing."),
    "no rows": (SESSIONS, "s.csv: there is no session."),
    "missing": (SESSIONS.replace("max_gpus", "maxgpus"), "Is 'maxgpus' meant?"),
    "twice": (SESSIONS.replace("user", "user,user"), "line 1, column `user`: is there twice"),
    "extra": (SESSIONS.replace("user", "user,team"), "line 1, column 'team': is not known. Remove it"),
    "short row": (SESSIONS + "a,ada,0,60\n", "s.csv, line 2: 4 cells, and 5 headings."),
    "long row": (SESSIONS + "a,ada,0,60,1,9\n", "s.csv, line 2: 6 cells, and 5 headings."),
    "no name": (SESSIONS + ",ada,0,60,1\n", "s.csv, line 2, column `session`: is empty."),
    "long name": (SESSIONS + "a" * 201 + ",,0,60,1\n", "column `session`: 'aaa"),
    "escape": (SESSIONS + "a,\x1b[2J,0,60,1\n", r"column `user`: '\x1b[2J' is not a name"),
    "same name": (
        SESSIONS + "a,,0,1,1\nb,,0,1,1\na,,0,1,1\n",
        "s.csv, line 4, column `session`: 'a' is in line 2 already.",
    ),
    "words": (SESSIONS + "a,ada,noon,60,1\n", "s.csv, line 2, column `start_min`: 'noon' is not a number."),
    "not a number": (SESSIONS + "a,ada,nan,60,1\n", "'nan' is not a number"),
    "infinite": (SESSIONS + "a,ada,0,inf,1\n", "column `stop_min`: 'inf' is not a number"),
    "huge": (SESSIONS + "a,ada,0,1e99,1\n", "column `stop_min`: '1e99' is out of range."),
    "underscore": (SESSIONS + "a,ada,0,1_0,1\n", "'1_0' is not a number"),
    "other digits": (SESSIONS + "a,ada,0,\u0661\u0662,1\n", r"'\u0661\u0662' is not a number"),
    "empty number": (SESSIONS + "a,ada,,60,1\n", "column `start_min`: '' is not a number. Write minutes"),
    "backwards": (SESSIONS + "a,ada,60,59,1\n", "column `stop_min`: '59' is before the start, '60'."),
    "fraction of a GPU": (SESSIONS + "a,ada,0,60,1.5\n", "column `max_gpus`: '1.5' is not a number of GPUs."),
    "negative GPUs": (SESSIONS + "a,ada,0,60,-1\n", "column `max_gpus`: '-1' is not a number of GPUs."),
    "too many GPUs": (SESSIONS + "a,ada,0,60,100001\n", "column `max_gpus`"),
    "too long together": (SESSIONS + "a,,0,9e8,1\nb,,0,9e8,1\n", "together last longer than"),
    "open quote": (SESSIONS + 'a,"ada,0,60,1\n', "s.csv, line 2: is not CSV"),
    "huge cell": (SESSIONS + "a," + "x" * 200_000 + ",0,60,1\n", "s.csv, line 2: is not CSV"),
    "latin 1": (SESSIONS.encode() + b"a,m\xfcller,0,60,1\n", "is not UTF-8. Save it as CSV in UTF-8."),
    "null byte": (SESSIONS.encode() + b"a,\x00,0,60,1\n", "s.csv, line 2"),
}


@pytest.mark.parametrize(("text", "words"), BAD_SESSIONS.values(), ids=BAD_SESSIONS)
def test_each_fault_of_the_sessions_is_named(files, text, words: str) -> None:
    assert words in files.error(text)


BAD_EVENTS = {
    "unknown session": ("x,0,1,1,\n", "e.csv, line 2, column `session`: 'x' is not in s.csv."),
    "too many": ("a,0,1,5,\n", "column `gpus`: 5 is more than the session's max_gpus, 4 (s.csv, line 2)."),
    "negative length": ("a,0,-1,1,\n", "column `duration_min`: '-1' is out of range. Write minutes from 0"),
    "after": ("a,61,1,1,\n", "e.csv, line 2, column `start_min`: this and most events lie outside"),
    "before": ("a,-9,1,1,\n", "e.csv, line 2, column `start_min`: this and most events lie outside"),
    "point": ("a,.,1,1,\n", "column `start_min`: '.' is not a number."),
    "per cent sign": ("a,0,1,1,50%\n", "column `gpu_util_pct`: '50%' is not a number."),
}


@pytest.mark.parametrize(("rows", "words"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_each_fault_of_the_events_is_named(files, rows: str, words: str) -> None:
    assert words in files.error(SAME, EVENTS + rows)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(TraceError, match=r"s\.csv: cannot be read: No such file"):
        read_trace(tmp_path / "s.csv", tmp_path / "e.csv")


def test_a_folder(tmp_path) -> None:
    with pytest.raises(TraceError, match="cannot be read: Is a directory"):
        read_trace(tmp_path, tmp_path)
