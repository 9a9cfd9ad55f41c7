"""Which reservations somebody's own calendar has."""

from __future__ import annotations

import pytest
from gpuspawner.core.claims import Holder
from gpuspawner.core.feeds import choose_usable, digest_secret
from gpuspawner.core.model import Party
from support.reservations import reservation

PARTY = Party(("students",), ("vision",))


@pytest.mark.parametrize(
    ("kind", "name", "users", "usable"),
    [
        ("person", "ada", (), True),
        ("person", "bob", (), False),
        ("person", "students", (), False),
        ("group", "students", (), True),
        ("group", "staff", (), False),
        ("group", "vision", (), False),
        ("group", "default", (), True),
        ("course", "vision", (), True),
        ("course", "vision", ("ada",), True),
        ("course", "vision", ("bob",), False),
        ("course", "students", (), False),
    ],
)
def test_what_may_be_used(kind: str, name: str, users: tuple[str, ...], usable: bool) -> None:
    one = reservation(holder=Holder(kind, name), users=users)
    assert choose_usable("ada", PARTY, [one]) == ((one,) if usable else ())


def test_a_digest_is_always_the_same_and_not_the_secret() -> None:
    assert digest_secret("s") == digest_secret("s") != digest_secret("t")
    assert len(digest_secret("s")) == 64
