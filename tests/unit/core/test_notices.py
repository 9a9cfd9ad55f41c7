"""What is written into terminals and mails."""

from __future__ import annotations

import pytest
from gpuspawner.core.model import Message
from gpuspawner.core.notices import Notice, write_call, write_letter, write_line
from support.build import NOW, lease

HOSTILE = "a\x1b]0;owned\x07b\r\nc\u202ed\x9be\u2028f $(reboot) %s"


def message(text: str = "Your session is stopped.", owner: str = "ada") -> Message:
    return Message(NOW, owner, text, "culler", "lease1")


def test_a_line() -> None:
    assert write_line(message(), "/servers") == "*** Your session is stopped. (See /servers) ***"


def test_a_line_moves_no_cursor() -> None:
    line = write_line(message(HOSTILE), "/servers\n")
    assert line == "*** a ]0;owned b c d e f $(reboot) %s (See /servers) ***"
    assert len(write_line(message("x" * 5000), "/servers")) < 700


@pytest.mark.parametrize(
    ("owner", "to"),
    [
        ("ada", "ada@example.org"),
        ("ada.b-c_1", "ada.b-c_1@example.org"),
        ("ada@elsewhere.org", "ada@elsewhere.org"),
        ("ada b", None),
        ("ada\nBcc: x", None),
        ("ada,bob", None),
        ("<ada>", None),
        ("مريم", None),
        ("a@b@c", None),
        ("", None),
        ("x" * 65, None),
    ],
)
def test_addresses(owner: str, to: str | None) -> None:
    letter = write_letter(Notice(7, message(owner=owner), None), "example.org", "https://hub/servers")
    assert (letter.to if letter else None) == to


@pytest.mark.parametrize(
    ("address", "to"), [("ada@uni.example", "ada@uni.example"), ("", None), ("a b@c", None)]
)
def test_an_address_of_the_login_service_is_the_one(address: str, to: str | None) -> None:
    notice = Notice(7, message(owner="ada-2"), None, address=address)
    letter = write_letter(notice, "example.org", "https://hub/servers")
    assert (letter and letter.to) == to


def test_a_letter() -> None:
    letter = write_letter(
        Notice(7, message(f"{HOSTILE} {'y' * 200}"), None), "example.org", "https://hub/servers"
    )
    assert letter
    assert letter.subject.startswith("a ]0;owned b c d e f")
    assert len(letter.subject) < 100
    assert "https://hub/servers" in letter.text


def test_a_call() -> None:
    content = write_call(Notice(7, message(), lease(server="two")), "/servers")
    assert (content["id"], content["user"], content["server"], content["devices"]) == (
        7,
        "ada",
        "two",
        ["GPU-0"],
    )
    assert write_call(Notice(7, message(), None), "/servers")["server"] is None
