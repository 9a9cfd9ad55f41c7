"""Sentences of ours in another language: found in the code, and found again in what it wrote."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from __future__ import annotations

import ast
import re
from string import Formatter
from typing import Any
from unittest.mock import MagicMock

import pytest
from babel.messages.pofile import read_po
from gpuspawner.core.words import mark
from gpuspawner.language import ENGLISH, FOLDER, load
from gpuspawner.language.hubpages import retell_html
from gpuspawner.language.retell import MOST_CHARACTERS, PARTS, _is_part, _open, _Reader, read_template, retell
from gpuspawner.language.sentences import list_texts, read_ways, split_sentences, write_message
from gpuspawner.language.update import PACKAGE, SPEAKING, collect
from jupyterhub.handlers.base import BaseHandler
from tornado.web import RequestHandler

KNOWN = "active"
"""What stands where a part is put in."""


def messages_of(source: str) -> list[str]:
    """What the catalogue gets of a piece of code."""
    tree = ast.parse(source)
    found = [one for node in ast.walk(tree) for one in list_texts(node)]
    parts = [part for one in found for text in read_ways(one, {}) for part in split_sentences(text)]
    return [message for message in map(write_message, parts) if message]


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ('mark("the server runs")', ["the server runs"]),
        ('InvalidRequest("One. " "Two.")', ["One. Two."]),
        ('Refused(kind, f"You hold {held} GPUs.")', ["You hold {held} GPUs."]),
        ("mark(f\"{n} GPU{'' if n == 1 else 's'} free\")", ["{n} GPU free", "{n} GPUs free"]),
        ('mark(f"at most {limit.value:g}{limit.because}.")', ["at most {limit__because}."]),
        ('mark(f"It is gone.{hint} Ask again.")', ["It is gone.", "Ask again."]),
        ('mark(f"rule: it has {len(text)} characters.")', ["it has {text} characters."]),
        ('mark(f"{uuid}: its use is not known")', ["its use is not known"]),
        ('mark(f"from {a:%H:%M} to {a:%H:%M} {now - since}")', ["from {a} to {a2} {since}"]),
        ('mark("such as {a}")', ["such as {{a}}"]),
        ("mark(f\"none: {error or 'it is late'}\")", ["{error}", "it is late"][1:]),
        ("mark(reason)", []),
        ('mark(f"{what}: {why}")', []),
        ('SettingsError("this is for a shell")', []),
        ('print("not for people")', []),
    ],
)
def test_what_is_found_in_code(source: str, messages: list[str]) -> None:
    assert messages_of(source) == messages


def sample(name: str, number: int) -> str:
    return KNOWN if _is_part(name) else f"value{number}"


def list_templates() -> list[Any]:
    """Every text of the code that something is put into, with what it is in Chinese."""
    with (FOLDER / "zh.po").open("rb") as file:
        chinese = read_po(file, locale="zh")
    of_code = {
        str(one.id) for one in collect() if isinstance(one.id, str) and "{" in one.id and "%(" not in one.id
    }
    return [
        pytest.param(one, str(chinese[one].string), id=one[:60]) for one in sorted(of_code) if one in chinese
    ]


@pytest.mark.parametrize(("english", "chinese"), list_templates())
def test_each_template_finds_its_way_back(english: str, chinese: str) -> None:
    names = [name for _, name, _, _ in Formatter().parse(english) if name is not None]
    values = {name: sample(name, number) for number, name in enumerate(names)}
    told = {name: load("zh").gettext(KNOWN) if value == KNOWN else value for name, value in values.items()}
    # A weak one is only one of a part.
    depth = 1 if read_template(english).weak else 0
    found = _Reader("zh", _open("zh")).read(english.format(**values), depth)
    assert found.text == chinese.format(**told)


TABLE = {
    "You asked for 2 GPUs of model T4; 0 of 1 GPU is free now (1 in use).":
        "您请求 2 个 GPU（型号 T4）；1 个 GPU 中现有 0 个空闲（1 个使用中）。",
    "Waiting, because reserved for course `nlp` (Lab: a. b) until Tue 3 Mar 2026, 16:00 CET.":
        "正在等待，原因：已为 课程 `nlp` 预约（Lab: a. b）至 2026年3月3日周二 16:00 CET。",
    "Waiting, because a session may last 8 h at most. Files that were saved are still there; what was only "
    "in memory is lost.":
        "正在等待，原因：会话最长 8 h。已保存的文件仍在；只在内存中的内容已丢失。",
    "You hold 1 GPU already and asked for 1 more; one person may hold at most 1 (group `a` and group `b`).":
        "您已占用 1 个 GPU，又请求了 1 个；每人占用的上限为 1（组 `a`，组 `b`）。",
    "Its server could not be started in time. It is tried again in 60 s.":
        "其服务器没能及时启动。将在 60 s 后重试。",
    "1 of 2 people told. bob: This session is over already. And 2 more.":
        "已通知 2 人中的 1 人。bob: 此会话已经结束。另有 2 个。",
    "hardware or driver fault, XID 79 (the card has fallen off the bus), 7 (not in our table)":
        "硬件或驱动程序故障，XID 79（卡已从总线上脱落），7（不在我们的表中）",
    "GPU-1: its processes are not known; GPU-2: no sample (the driver gave no sample)":
        "GPU-1: 其进程未知；GPU-2: 没有采样数据（驱动程序没有提供采样数据）",
    "drained by ada: the fan is replaced": "被 ada 停用：the fan is replaced",
}  # fmt: skip


@pytest.mark.parametrize(("english", "chinese"), TABLE.items())
def test_whole_texts(english: str, chinese: str) -> None:
    assert retell(english, "zh") == chinese
    assert retell(english, ENGLISH) == english


@pytest.mark.parametrize(
    "words",
    [
        "", " ", "replaced with a new card", "(see the mail)", "note: call me", "broken; and hot", "{reason}",
        "until May", "one, two and three", "a; b; c", "It is mine. All of it.", "%(count)s", "\u202egnp.exe",
    ],
)  # fmt: skip
def test_what_a_person_wrote_stays_as_it_is(words: str) -> None:
    assert retell(words, "zh") == words


@pytest.mark.parametrize(
    "name",
    [
        "a server without a GPU", "the server runs", "{actor}", "{0} {}", "%s", "x: y", "a until b: c", "'",
        "`", "ends.\u202e Then", "<b>", "a" * 10_000, "(", "it is your turn",
    ],
)  # fmt: skip
def test_a_name_stays_what_it_is(name: str) -> None:
    assert retell(f"{name} stopped your session: {KNOWN}", "zh") == f"{name} 停止了您的会话：使用中"
    assert name in retell(f"The server of {name} is being stopped.", "zh")


@pytest.mark.parametrize(
    "text",
    [
        "Waiting, because " * 5000, "You are in line. " * 5000, "held by a lease; " * 5000,
        "a (" * 5000 + ")" * 5000,
        "a: " * 20_000, " with " * 20_000, ". " * 20_000, "1 GPU was free, " * 5000, "x" * 100_000,
    ],
)  # fmt: skip
def test_a_text_that_is_made_to_take_long_is_given_up(text: str) -> None:
    reader = _Reader("zh", _open("zh"))
    reader.read(text)
    assert 0 <= reader.left < MOST_CHARACTERS
    assert isinstance(retell(text, "zh"), str)


def test_html_keeps_its_tags_and_nothing_becomes_one() -> None:
    html = "The server runs<br>&lt;script&gt; stopped your session: <b>x</b>"
    told = retell_html(html, "zh")
    assert told == "服务器正在运行<br>&lt;script&gt; stopped your session: <b>x</b>"


def test_the_hub_gives_its_pages_a_method_of_the_handler() -> None:
    handler = MagicMock(settings={"login_url": "", "logout_url": "", "template_vars": {}})
    shown = BaseHandler.template_namespace.fget(handler)
    assert shown["static_url"] is handler.static_url, "the language of its pages is looked up by this"
    assert RequestHandler.static_url is BaseHandler.static_url


# -- nothing is left out --------------------------------------------------------------------------------

SILENT = ("debug", "info", "warning", "error", "exception", "Field", "Cure", "RuntimeError", "SettingsError")
"""Calls whose texts nobody reads on a page."""
NOT_SHOWN = {
    "adapters/freshdriver.py", "agent/command.py", "agent/loop.py", "controller/api/openapi.py",
    "controller/api/table.py", "controller/command.py", "controller/culling.py",
    "controller/ends.py", "controller/loop.py", "controller/metrics.py", "core/checkrun.py",
    "core/drift.py", "core/notices.py", "core/reproduce.py", "passport/inside.py", "policy/contradictions.py",
    "policy/login.py", "policy/notes.py", "policy/platforms.py", "policy/policy.py", "policy/policyfile.py",
    "policy/settings.py", "policy/yamlfile.py", "spawner/settings.py",
}  # fmt: skip
"""Files of which everything else is marked or speaks only to a shell, a log or a program."""
NOT_OURS = (
    "bind source path does not exist", "database or disk is full", "does not support reading",
    "SELECT 1 FROM", "_ of _ devices cannot be chosen", "a time without a time zone was given",
    "default-src 'none'", "NVML error 15 (GPU is lost)", "ended with exit code", "the server ended by itself",
    "the container was removed", "n=0", "There is no such calendar; copy", "The calendar cannot be read now.",
)  # fmt: skip
"""What others say, what is compared, what only programs are told."""


def find_unmarked(path: Any) -> list[str]:
    """Sentences of a file that no catalogue has: texts with a full stop, or of four words and more."""
    tree = ast.parse(path.read_text())
    known: set[int] = set()
    for node in ast.walk(tree):
        called = ""
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        taken: list[ast.AST] = [*list_texts(node), *([node] if called in SILENT else [])]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            taken.append(node.value)
        known |= {id(inner) for one in taken for inner in ast.walk(one)}
    found = []
    for node in ast.walk(tree):
        if id(node) in known or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
        said = "".join(str(one.value) if isinstance(one, ast.Constant) else "_" for one in pieces)
        if isinstance(node, ast.JoinedStr):
            known |= {id(inner) for inner in ast.walk(node)}
        words = [word for word in said.split() if word.strip(".,;:()'").isalpha()]
        if said.strip().startswith(NOT_OURS):
            continue
        if len(words) >= 4 or (len(words) >= 2 and said.rstrip().endswith(".")):
            found.append(f"{path.name}:{node.lineno}: {said[:90]}")
    return found


def test_no_sentence_is_left_unmarked() -> None:
    files = [
        path
        for name in SPEAKING
        for path in sorted((PACKAGE / name).rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in NOT_SHOWN and "migrations" not in path.parts
    ]
    assert [one for path in files for one in find_unmarked(path)] == []


OFTEN_OURS = ("reason", "end_reason", "health_reason", "because", "rule")
"""Attributes that hold texts of ours."""


def find_hidden_parts(path: Any) -> list[str]:
    """Marked texts that are put into others under a name that says nothing of it: they would stay English."""
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        ours = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and holds_mark(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for text in (one for node in ast.walk(function) for one in list_texts(node)):
            for put in (one.value for one in ast.walk(text) if isinstance(one, ast.FormattedValue)):
                name = put.id if isinstance(put, ast.Name) else getattr(put, "attr", "")
                hidden = name in (*ours, *OFTEN_OURS) and not _is_part(name.lower())
                # What follows on a sentence's end is a sentence, whatever it is called.
                if hidden and not re.search(r"[.!?]\{" + name, ast.unparse(text)):
                    found.append(f"{path.name}:{put.lineno}: {name}")
    return found


def holds_mark(node: ast.AST) -> bool:
    """Whether a value is a marked text, or a choice or list of some."""
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") == "mark"
    return any(map(holds_mark, ast.iter_child_nodes(node)))


def test_what_is_a_text_is_called_like_one() -> None:
    files = [path for name in SPEAKING for path in sorted((PACKAGE / name).rglob("*.py"))]
    assert [one for path in files for one in find_hidden_parts(path)] == []


def test_a_mark_changes_nothing() -> None:
    assert mark("the server runs") == "the server runs"
    assert "reason" in PARTS
