"""Rosters as files: what is taken, and what is said line by line of what is not."""

# ruff: noqa: RUF001 - letters that look alike are what is tested

from __future__ import annotations

import time
import unicodedata

import pytest
from gpuspawner.core.errors import RosterRefused
from gpuspawner.core.roster import Entry, Kind, Role, Who
from gpuspawner.policy.rostercsv import MOST_BYTES, MOST_ROWS, read_roster, write_roster
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ADA = Entry(Who(Kind.PERSON, "ada"), Role.STUDENT, "red", "Ada Müller")
GOOD = "person;role;team;name\nada;student;red;Ada Müller\n"
CHINESE = "用户名,角色,姓名\nada,学生,王小明\n"


def problems(data: bytes | str, encoding: str = "") -> list[tuple[int, str]]:
    with pytest.raises(RosterRefused) as caught:
        read_roster(data if isinstance(data, bytes) else data.encode(), encoding)
    return [(one.line, one.why) for one in caught.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_files_of_all_programs_are_read(encoding: str, ending: str, separator: str) -> None:
    data = GOOD.replace(";", separator).replace("\n", ending).encode(encoding)
    assert read_roster(data).entries == (ADA,)


@pytest.mark.parametrize(
    ("text", "encoding", "chosen", "meant"),
    [
        (GOOD, "cp1252", "windows-1252", "windows-1252 'ada;student;red;Ada Müller'"),
        (CHINESE, "gbk", "gbk", "gbk '用户名,角色,姓名'"),
    ],
)
def test_another_encoding_is_told_by_line_and_read_where_it_is_chosen(
    text: str, encoding: str, chosen: str, meant: str
) -> None:
    found = problems(text.encode(encoding))
    assert found[0][0] == (1 if encoding == "gbk" else 2)
    assert "It is not UTF-8." in found[0][1]
    assert meant in found[0][1]
    assert read_roster(text.encode(encoding), chosen).entries == read_roster(text.encode()).entries


def test_what_was_saved_in_a_wrong_encoding_before_is_told() -> None:
    twice = GOOD.encode().decode("cp1252")
    assert problems(twice) == [
        (
            2,
            "name: 'Ada MÃ¼ller' seems to be 'Ada Müller', read in a wrong encoding; save the file as UTF-8.",
        )
    ]
    assert problems(GOOD.replace("ü", "\ufffd"))[0][0] == 2
    assert problems(GOOD.encode("utf-16")[:-1])[0][1].startswith("It is not utf-16.")
    assert problems(GOOD, "klingon")[0][1].startswith("encoding: write one of utf-8")


def test_everything_that_is_wrong_is_told_at_once_by_line() -> None:
    text = (
        "person,mail,role,team\n"
        "ada,,student,red\n"
        ",,student,\n"
        "\n"
        "Ada,,teacher,\n"
        "bob,,boss,\n"
        "eve,,,Red\n"
        ",not an address,student,\n"
        "a b,,student,../x\n"
        "zoe,,student,,too,many\n"
    )
    assert [(line, why.split(";")[0][:60]) for line, why in problems(text)] == [
        (3, "It does not say who it is: person, mail and subject are empt"),
        (5, "'ada' is in line 2 already."),
        (6, "role: write student, assistant or teacher"),
        (7, "role: write student, assistant or teacher"),
        (7, "team: 'Red' is 'red' in line 2."),
        (8, "mail: 'not an address' is no address."),
        (9, "person: 'a b' is no user name"),
        (9, "team: '../x' has other characters than letters, digits, spac"),
        (10, "It has 6 cells"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 0, "It is empty"),
        ("\n\n", 0, "It is empty"),
        ("role\nstudent\n", 1, "No column says who it is"),
        ("person,name\nada,Ada\n", 1, "The column role is missing"),
        ("person,user,role\nada,ada,student\n", 1, "The column person is there twice"),
        ('person,role\n"ada,student\nbob,student\n', 2, "It cannot be read"),
        ("person,role\nada\x00,student\n", 2, "cannot be seen"),
        ("person,role,name\nada,student,A\u202eda\n", 2, "cannot be seen"),
        ("person,role,name\nada,student," + "x" * 101, 2, "it has 101 characters"),
        ("person,role\n\u0430da,student\n", 2, "several alphabets (CYRILLIC and LATIN)"),
        ("person,role\n=cmd|x,student\n", 2, "is no user name"),
        ("person,role\n@ada,student\n", 2, "begins like a formula"),
        ("person,role\n<b>ada</b>,student\n", 2, "is no user name"),
        ("person,role\n\uff41da,student\n", 2, "is no user name"),
        ('person,role,name\nada,student,"A\nda"\n', 2, "cannot be seen"),
        ("person,role\nada," + "x" * 200_000, 2, "It cannot be read"),
    ],
)
def test_one_thing_is_wrong(text: str, line: int, why: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0][0] == line
    assert why in found[0][1]


def test_what_is_passed_over_or_looks_alike_is_noted() -> None:
    text = "sep=;\nperson;role;matriculation\nada1;student;7\nadal;student;8\nада;student;9\n"
    found = read_roster(text.encode())
    assert found.notes == (
        "These columns are passed over: 'matriculation'.",
        "Line 4: 'adal' looks like 'ada1'.",
        "Line 5: 'ада' is written in Cyrillic letters.",
    )
    assert found.lines[Who(Kind.PERSON, "ada1")] == 3


def test_the_subject_counts_before_the_name_and_that_before_the_address() -> None:
    text = "subject,person,mail,role\ns-1,ada,a@x.org,TA\n,bob,b@x.org,Teacher\n,,C@X.org,student\n"
    assert [
        (one.who.kind.value, one.who.value, one.role.value) for one in read_roster(text.encode()).entries
    ] == [
        ("subject", "s-1", "assistant"),
        ("person", "bob", "teacher"),
        ("mail", "c@x.org", "student"),
    ]


def test_five_thousand_are_read_in_little_time_and_one_more_is_refused() -> None:
    text = "person,role,name\n" + "".join(f"s{n:04},student,Name {n}\n" for n in range(MOST_ROWS))
    began = time.process_time()
    assert len(read_roster(text.encode()).entries) == MOST_ROWS
    assert time.process_time() - began < 5
    assert problems(text + "x,student,\n") == [
        (0, "It has 5001 people; 5000 is the most. Divide it."),
    ]
    assert problems(b"x" * (MOST_BYTES + 1))[0][1].endswith(f"{MOST_BYTES} is the most.")


def test_a_sheet_computes_nothing_and_it_comes_back_whole() -> None:
    entry = Entry(Who(Kind.SUBJECT, "=1+1"), Role.STUDENT, name='@SUM(A1)"; <script>')
    text = write_roster([entry])
    assert "'=1+1" in text
    assert "'@SUM" in text
    assert read_roster(text.encode()).entries == (entry,)


def printable(most: int) -> st.SearchStrategy[str]:
    plain = st.text(max_size=most).map(lambda text: unicodedata.normalize("NFC", text).strip())
    return plain.filter(lambda text: text.isprintable() and not text.startswith("'") and len(text) <= most)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(Kind))
    value = draw(
        {
            Kind.PERSON: st.from_regex(r"[a-z0-9][a-z0-9._-]{0,40}", fullmatch=True),
            Kind.MAIL: st.from_regex(r"[a-z0-9]{1,9}@[a-z]{1,9}\.org", fullmatch=True),
            Kind.SUBJECT: printable(60).filter(bool),
        }[kind]
    )
    team = draw(st.sampled_from(["", "red", "blue 2", "组"]))
    return Entry(Who(kind, value), draw(st.sampled_from(Role)), team, draw(printable(80)))


@settings(max_examples=150, deadline=None)
@given(st.lists(entries(), max_size=12, unique_by=lambda one: one.who), st.sampled_from(["utf-8", "utf-16"]))
def test_whatever_can_be_in_a_roster_comes_back_from_its_file(found: list[Entry], encoding: str) -> None:
    try:
        back = read_roster(write_roster(found).encode(encoding)).entries
    except RosterRefused as error:
        assume("wrong encoding" not in str(error))
        raise
    assert list(back) == found


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: f"person,role\n{t}".encode())))
def test_any_file_is_read_or_refused_by_line(data: bytes) -> None:
    try:
        taken, told = read_roster(data).entries, None
    except RosterRefused as error:
        taken, told = (), error.problems
    assert told is None or (told and all(one.line >= 0 and one.why.endswith(".") for one in told))
    assert len({one.who for one in taken}) == len(taken)
