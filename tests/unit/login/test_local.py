"""Accounts with a password here: who gets one, who gets in, and who does not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.accounts import Accounts
from gpuspawner.allocator.identities import Identities
from gpuspawner.core.accounts import INVITATION_LASTS, LOCKED_FOR, TRIES, judge_password
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.core.policy import resolve_allowance
from gpuspawner.login.deletion import PersonHandler
from gpuspawner.login.known import Denied
from gpuspawner.login.local import MOST_WAITING, Busy
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import SERVICE
from jupyterhub import orm
from jupyterhub.apihandlers.users import UserAPIHandler
from nativeauthenticator.orm import UserInfo

from .conftest import make_way

ROOT = Actor("root", ActorKind.SHELL)
PASSWORD = "nine blue teapots"


class Desk:
    """An installation with accounts, and a clock that can be set."""

    def __init__(self, folder: Path, **login: Any) -> None:
        self.now = datetime(2026, 10, 1, 12, tzinfo=UTC)
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.accounts = Accounts(self.ledger, lambda: self.now)
        self.people = Identities(self.ledger, clock=lambda: self.now)
        self.way = make_way(folder, {"provider": "local", "allow": {"everybody": True}, **login})
        self.way._accounts = self.accounts

    def invite(self, name: str, *groups: str) -> str:
        return self.accounts.invite(name, groups, "", actor=ROOT)[1]

    def make(self, name: str, *groups: str, password: str = PASSWORD) -> None:
        secret = self.invite(name, *groups)
        kept = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()  # a quick one
        self.accounts.redeem(secret, kept)

    async def log_in(self, name: str, password: str = PASSWORD, handler: Any = None) -> Any:
        return await self.way.get_authenticated_user(handler, {"username": name, "password": password})

    def events(self, kind: str) -> list[str]:
        with self.ledger.read() as unit:
            return [event.reason for event in unit.find_events(EventSearch(kind=kind), 99)]


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(tmp_path: Path) -> MakeDesk:
    return lambda **login: Desk(tmp_path, **login)


class User:
    """Somebody who is logged in."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.name, self._state = found["name"], found["auth_state"]
        self.spawners: dict[str, Any] = {}
        self.orm_user, self.db = self, self
        self.cookie_id, self.api_tokens, self.deleted = "before", [Token("s"), Token(None)], []

    async def get_auth_state(self) -> Any:
        return self._state

    def delete(self, token: Any) -> None:
        self.deleted.append(token)

    def commit(self) -> None:
        pass


class Handler:
    """The login page of a hub that knows one person."""

    def __init__(self, user: User) -> None:
        self._user = user

    def find_user(self, name: str) -> User | None:
        return self._user if name == self._user.name else None


class Token:
    def __init__(self, session_id: str | None) -> None:
        self.session_id = session_id


# -- logging in ---------------------------------------------------------------------------------------------


async def test_who_was_invited_and_chose_a_password(make_desk: MakeDesk) -> None:
    desk = make_desk(allow={"groups": ["ml"]}, admins={"groups": ["root"]})
    desk.make("ada", "ml", "root")
    desk.make("eve")
    found = await desk.log_in("ada")
    assert (found["name"], found["groups"], found["admin"]) == ("ada", ["ml", "root"], True)
    assert (await desk.log_in(" Ada "))["name"] == "ada"
    assert await desk.log_in("eve") is None  # she has an account, but no rule lets her in


async def test_groups_drive_the_policy(make_desk: MakeDesk, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("groups: {default: {gpus_per_person: 0}, ml: {gpus_per_person: 3}}\n")
    desk = make_desk()
    desk.make("ada", "ml")
    desk.make("eve", "ML")
    for name, gpus in (("ada", 3), ("eve", 0)):
        found = await desk.log_in(name)
        allowance = resolve_allowance(load_policy(policy, images=None), name, found["groups"])
        assert allowance.gpus_per_person.value == gpus


@pytest.mark.parametrize(
    "password", ["", "nine blue teapot", f"{PASSWORD} ", PASSWORD.upper(), f"{PASSWORD}\0", "x" * 5000]
)
async def test_a_wrong_password(make_desk: MakeDesk, password: str) -> None:
    desk = make_desk()
    desk.make("ada")
    with pytest.raises(Denied, match="Wrong name or password"):
        await desk.log_in("ada", password)


@pytest.mark.parametrize(
    "name",
    ["", "nobody", "ad\u0430", "\uff41da", "ada\0", "../ada", "ada/", "a" * 5000, "ada'--", "\u212ada"],
)
async def test_a_name_that_is_nobodys(make_desk: MakeDesk, name: str) -> None:
    desk = make_desk()
    desk.make("ada")
    desk.make("kda", password="another of them all")
    with pytest.raises(Denied, match="Wrong name or password"):
        await desk.log_in(name)


async def test_who_was_only_invited_has_no_password(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.invite("ada")
    for password in ("", "-", "nobody has this one"):
        with pytest.raises(Denied):
            await desk.log_in("ada", password)


async def test_guessing_locks_for_a_while(make_desk: MakeDesk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk = make_desk()
    desk.make("ada")
    desk.make("eve")
    for _ in range(TRIES):
        with pytest.raises(Denied):
            await desk.log_in("ada", "a guess of somebody")
    with pytest.raises(Denied):
        await desk.log_in("ada")  # the right one neither
    assert await desk.log_in("eve")
    assert desk.events("login.locked") == ["wrong passwords for ada: none is tried before 12:15 UTC"]
    again = Desk(desk.folder)  # a hub that was started anew has not forgotten
    with pytest.raises(Denied):
        await again.log_in("ada")
    desk.now += LOCKED_FOR
    assert await desk.log_in("ada")
    assert PASSWORD not in caplog.text
    assert "a guess of somebody" not in caplog.text


async def test_guessing_at_once_locks_too(make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, tried = make_desk(), []
    desk.make("ada")
    holder = desk.accounts.find("ada")
    assert holder is not None

    def compare(known: UserInfo, _: str) -> bool:
        tried.append(known.password)
        return False

    monkeypatch.setattr(UserInfo, "is_valid_password", compare)
    await asyncio.gather(*(desk.way.check("ada", f"guess {number}") for number in range(40)))
    assert len(tried) == 40
    assert TRIES <= tried.count(holder.account.password.encode()) <= TRIES + 1  # two are checked at once


async def test_a_flood_of_logins_is_told_to_come_again(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, go_on = make_desk(), threading.Event()
    desk.make("ada")
    monkeypatch.setattr(UserInfo, "is_valid_password", lambda *_: go_on.wait(30))
    flood = [
        asyncio.create_task(desk.way.check(f"guess-{number}", "x" * 12)) for number in range(MOST_WAITING)
    ]
    await asyncio.sleep(0)
    try:
        for more in (desk.log_in("ada"), desk.way.hash(PASSWORD)):
            with pytest.raises(Busy) as busy:
                await asyncio.wait_for(more, 10)
            assert (busy.value.status_code, busy.value.headers["Retry-After"]) == (503, "15")
            assert "in a moment" in busy.value.jupyterhub_message
        flood[-1].cancel()  # one who goes away makes room
        await asyncio.wait([flood[-1]])
    finally:
        go_on.set()
    assert await desk.log_in("ada")
    await asyncio.wait(flood)
    monkeypatch.undo()
    assert await desk.log_in("ada")


async def test_the_right_password_forgets_wrong_ones(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    for _ in range(2):
        for _ in range(TRIES - 1):
            with pytest.raises(Denied):
                await desk.log_in("ada", "a guess")
        assert await desk.log_in("ada")


# -- accounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Ada", "ada ", "\u00e4da", "a/b", "..", "", "-rf", "a" * 60, "a b", "\uff41da"]
)
def test_names_that_could_be_anothers(make_desk: MakeDesk, name: str) -> None:
    desk = make_desk()
    with pytest.raises(InvalidRequest, match="cannot be a name"):
        desk.invite(name)
    assert desk.people.list() == []


@pytest.mark.parametrize("group", ["ml ", " ml", "\uff4d\uff4c", "m\nl", "", "x" * 256])
def test_groups_that_look_like_others(make_desk: MakeDesk, group: str) -> None:
    desk = make_desk()
    with pytest.raises(InvalidRequest, match="cannot be a group"):
        desk.invite("ada", "ml", group)
    assert desk.people.list() == []


async def test_two_hundred_groups(make_desk: MakeDesk) -> None:
    desk = make_desk(allow={"groups": ["g199"]})
    desk.make("ada", *(f"g{n}" for n in range(200)))
    assert len((await desk.log_in("ada"))["groups"]) == 200


def test_a_name_is_given_once(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.invite("ada")
    with pytest.raises(Conflict, match="Take ada-2"):
        desk.invite("ada")
    desk.people.remove("ada", actor=ROOT)
    with pytest.raises(Conflict, match="people restore ada"):
        desk.invite("ada")
    with desk.ledger.write() as unit:
        unit.put_home(Home("old", HomeKind.VOLUME, "home-old"), desk.now)
    with pytest.raises(Conflict, match="people invite old --old-home"):
        desk.invite("old")


def test_a_home_from_before_is_handed_over_when_that_is_said(make_desk: MakeDesk) -> None:
    desk = make_desk()
    with desk.ledger.write() as unit:
        unit.put_home(Home("old", HomeKind.VOLUME, "home-old"), desk.now)
    identity, secret = desk.accounts.invite("old", (), "", actor=ROOT, old_home=True)
    assert identity.name == desk.accounts.redeem(secret, "kept").name == "old"
    assert desk.events("account.invited") == [
        "old was invited, and gets the home under that name from before"
    ]
    with pytest.raises(Conflict, match="is somebody's name since"):  # it is nobody else's any more
        desk.accounts.invite("old", (), "", actor=ROOT, old_home=True)
    desk.people.remove("old", actor=ROOT)
    with pytest.raises(Conflict, match="people restore old"):
        desk.accounts.invite("old", (), "", actor=ROOT, old_home=True)
    with pytest.raises(NotFound, match="Leave out --old-home"):
        desk.accounts.invite("new", (), "", actor=ROOT, old_home=True)


def test_an_invitation_is_good_once_and_not_for_long(make_desk: MakeDesk) -> None:
    desk = make_desk()
    secret = desk.invite("ada")
    with desk.ledger.read() as unit:
        assert secret not in str(unit.account_of(desk.people.list()[0].subject))
    for wrong in ("", secret[:-1], secret.upper()):
        with pytest.raises(NotFound, match="not valid any more"):
            desk.accounts.redeem(wrong, "x")
    desk.accounts.redeem(secret, "kept")
    with pytest.raises(NotFound):
        desk.accounts.redeem(secret, "once more")
    late = desk.invite("eve")
    desk.now += INVITATION_LASTS
    with pytest.raises(NotFound):
        desk.accounts.redeem(late, "kept")


async def test_a_reset_voids_the_password_and_the_logins(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    found = await desk.log_in("ada")
    user = User(found)
    assert (await desk.way.refresh_user(user))["name"] == "ada"
    desk.accounts.reset("ada", actor=ROOT)
    with pytest.raises(Denied):
        await desk.log_in("ada")
    assert await desk.way.refresh_user(user) is False
    assert user.cookie_id != "before"
    assert [token.session_id for token in user.deleted] == ["s"]
    with pytest.raises(NotFound, match="no account 'bob'"):
        desk.accounts.reset("bob", actor=ROOT)


async def test_a_login_by_a_new_password_ends_those_by_the_one_of_before(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    user = User(await desk.log_in("ada"))
    handler = Handler(user)
    await desk.log_in("ada", handler=handler)  # in one more browser
    assert user.cookie_id == "before"
    secret = desk.accounts.reset("ada", actor=ROOT)
    desk.now += timedelta(minutes=1)
    desk.accounts.redeem(secret, bcrypt.hashpw(b"seven green kettles", bcrypt.gensalt(4)).decode())
    with pytest.raises(Denied):
        await desk.log_in("ada", handler=handler)
    assert user.cookie_id == "before"
    await desk.log_in("ada", "seven green kettles", handler=handler)  # nobody was looked at again meanwhile
    assert user.cookie_id != "before"
    assert [token.session_id for token in user.deleted] == ["s"]


async def test_groups_change_for_who_is_logged_in(make_desk: MakeDesk) -> None:
    desk = make_desk(allow={"groups": ["ml"]})
    desk.make("ada", "ml")
    user = User(await desk.log_in("ada"))
    desk.accounts.regroup("ada", ["ml", "new"], actor=ROOT)
    assert (await desk.way.refresh_user(user))["groups"] == ["ml", "new"]
    desk.accounts.regroup("ada", [], actor=ROOT)
    assert await desk.way.refresh_user(user) is False
    assert len(desk.events("login.refused")) == 1


async def test_who_was_removed_comes_back_only_as_themselves(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    user = User(await desk.log_in("ada"))
    desk.people.remove("ada", actor=ROOT, reason="left the lab")
    with pytest.raises(Denied, match="closed this hub to you"):
        await desk.log_in("ada")
    assert await desk.way.refresh_user(user) is False
    assert desk.events("people.removed") == ["ada may not come any more; their home stays: left the lab"]
    desk.people.restore("ada", actor=ROOT)
    assert await desk.log_in("ada")


async def test_who_is_deleted_on_the_hubs_page_is_removed(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    await desk.way.delete_user(User(await desk.log_in("ada")))
    with pytest.raises(Denied, match="closed this hub to you"):
        await desk.log_in("ada")
    stranger = User({"name": "stranger", "auth_state": {}})
    await desk.way.delete_user(stranger)


@pytest.mark.parametrize("caller", ["the controller", "an administrator", "another service"])
@pytest.mark.parametrize("removed_before", [True, False])
async def test_who_may_come_again_while_the_hub_deletes_them(
    *, make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch, caller: str, removed_before: bool
) -> None:
    """A deletion takes its time, as servers are stopped first; the authenticator hears of it at its end."""
    desk = make_desk()
    desk.make("ada")
    user = User(await desk.log_in("ada"))

    async def delete(_: Any, user_name: str) -> None:
        if removed_before:
            desk.people.restore(user_name, actor=ROOT)
        await desk.way.delete_user(user)

    monkeypatch.setattr(UserAPIHandler, "delete", delete)
    handler = PersonHandler.__new__(PersonHandler)
    settings = {"authenticator": desk.way}
    handler.application = type("Application", (), {"settings": settings})  # type: ignore[assignment]
    name = SERVICE if caller == "the controller" else "tidy"
    handler._jupyterhub_user = orm.User(name="root") if "admin" in caller else orm.Service(name=name)
    if removed_before:
        desk.people.remove("ada", actor=ROOT)
    await handler.delete("ada")
    stays = removed_before or caller == "the controller"
    assert desk.people.is_removed("ada") is not stays
    await desk.way.delete_user(user)  # another time, by other means
    assert desk.people.is_removed("ada")


async def test_a_broken_ledger_lets_nobody_in_and_throws_nobody_out(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.make("ada")
    found = await desk.log_in("ada")
    broken = make_way(desk.folder, {"provider": "local", "allow": {"everybody": True}})
    broken.ledger = "/nonexistent/ledger.db"
    assert await broken.refresh_user(User(found)) is True
    with pytest.raises(Exception, match="ledger cannot be used"):
        await broken.get_authenticated_user(None, {"username": "ada", "password": PASSWORD})


# -- passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaaaaaaaa",
        "12121212121212",
        "x" * 73,
        "\u00e9" * 40,
        "tab\tin the middle",
        "i am ada lovelace",
    ],
)
def test_passwords_that_are_not_taken(password: str) -> None:
    assert judge_password(password, "ada lovelace", common=False)


def test_common_passwords_are_not_taken(make_desk: MakeDesk) -> None:
    way = make_desk().way
    assert way.judge("leavemealone", "ada") == way.judge("LeaveMeAlone", "ada") != way.judge(PASSWORD, "ada")
    assert way.judge(PASSWORD, "ada") is None
