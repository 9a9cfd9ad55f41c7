"""For which course a server is: what is chosen, who is told to choose, and what the ledger keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Rosters
from gpuspawner.allocator.clock import utc_now
from gpuspawner.core.claims import Actor, ActorKind, Holder
from gpuspawner.core.model import Party
from gpuspawner.core.roster import Entry, Kind, Role, Who
from gpuspawner.spawner.coursechoices import list_courses, preselect_course
from jupyterhub.spawner import Spawner
from support.mock_hub import MockHub
from support.reservations import reservation

from .test_access import Site

POLICY = """\
groups: {default: {images: [base]}, students: , drawers: }
courses:
  sound: {group: students, image: torch, materials: [{path: /srv/sound, target: /data}]}
  vision: {group: drawers, image: torch, materials: [{path: /srv/vision, target: /data}]}
"""
TEACHER = Actor("grace", ActorKind.PERSON)


@pytest.fixture
def site(make: Callable[..., MockHub], tmp_path: Path) -> Site:
    path = tmp_path / "policy.yml"
    path.write_text(POLICY)
    return Site(make(policy=str(path)), path)


def put(ledger: Ledger, course: str) -> None:
    """A teacher puts ada into the roster of their course."""
    entry = Entry(Who(Kind.PERSON, "ada"), Role.STUDENT)
    Rosters(ledger).apply(course, [entry], seen=0, actor=TEACHER)


def courses(site: Site) -> tuple[str, ...]:
    """Of the session that runs."""
    (lease,) = (one for one in site.hub.live_leases() if not one.state.ending)
    return lease.party.courses


def data(spawner: Spawner) -> list[str]:
    return [one.path for one in spawner.course_mounts]


async def test_a_session_stays_of_the_course_that_it_was_started_for(site: Site, ledger: Ledger) -> None:
    """Another course's teacher, who names somebody later, has nothing of what runs, nor of the next start."""
    put(ledger, "vision")
    spawner = await site.hub.start({"image": "torch"})
    assert (courses(site), data(spawner)) == (("vision",), ["/srv/vision"])
    put(ledger, "sound")
    assert courses(site) == ("vision",)
    await site.hub.stop()
    refused = await site.refusal({"image": "torch"})
    assert "You are in several courses with the image 'torch'" in str(refused.jupyterhub_message)
    spawner = await site.hub.start({"course": "vision"})
    assert (courses(site), data(spawner)) == (("vision",), ["/srv/vision"])


async def test_a_server_for_no_course_is_nobodys_but_its_persons(site: Site, ledger: Ledger) -> None:
    put(ledger, "sound")
    spawner = await site.hub.start({"image": "torch", "course": ""})
    (lease,) = site.hub.live_leases()
    assert (lease.party, data(spawner)) == (Party(("students",)), [])


async def test_a_course_of_others_is_refused(site: Site, ledger: Ledger) -> None:
    put(ledger, "sound")
    refused = await site.refusal({"course": "vision"})
    assert str(refused.jupyterhub_message).startswith("You are not in the course 'vision'.")
    refused = await site.refusal({"course": "sound", "image": "base"})
    assert "have the image 'torch'" in str(refused.jupyterhub_message)


async def test_the_page_asks_for_which_of_several(site: Site, ledger: Ledger) -> None:
    assert 'name="for"' not in await site.page()
    put(ledger, "sound")
    put(ledger, "vision")
    page = await site.page()
    assert '<option value="course:sound" data-image="torch">sound (torch)</option>' in page
    await site.hub.start({"course": "vision"})
    await site.hub.stop()
    page = " ".join((await site.page()).split())
    assert '<option value="course:vision" data-image="torch" selected>vision (torch)</option>' in page


async def test_whoever_finds_no_seat_has_the_image_of_the_course_for_none_either(
    site: Site, ledger: Ledger
) -> None:
    """The course alone gives it; where a group does, it is theirs without a seat."""
    put(ledger, "sound")
    site.change("group: students, image", "seats: 1, group: students, image")
    refused = await site.refusal({"image": "torch", "course": ""})
    assert str(refused.jupyterhub_message).endswith("Choose the course (sound), or another image.")
    await site.hub.start({"image": "base"})
    assert courses(site) == ()
    await site.hub.stop()
    await site.hub.start({"image": "torch"})
    assert courses(site) == ("sound",)
    await site.hub.stop()
    site.change("images: [base]", "images: [base, torch]")
    await site.hub.start({"image": "torch", "course": ""})
    assert courses(site) == ()


async def test_what_is_reserved_for_the_course_that_is_chosen_first_is_free(
    site: Site, ledger: Ledger
) -> None:
    put(ledger, "sound")
    begun = utc_now() - timedelta(hours=1)
    lesson = reservation(holder=Holder("course", "sound"), devices=2, start=begun, length=timedelta(hours=3))
    with ledger.write() as unit:
        unit.put_reservation(lesson)
    assert "2 of 2 free now" not in " ".join((await site.page()).split())
    await site.hub.start({"course": "sound"})
    await site.hub.stop()
    assert "2 of 2 free now" in " ".join((await site.page()).split())


@pytest.mark.parametrize(
    ("images", "last", "course"),
    [
        (["base"], None, ""),
        (["torch"], None, None),
        (["torch"], "sound", "sound"),
        (["torch"], "", ""),
        (["torch"], "gone", None),
        (["jax"], None, "maps"),
        (["jax"], "sound", "maps"),
        (["jax"], "", ""),
        ([], "", ""),
        (["torch"], ["sound"], None),
    ],
)
def test_what_is_chosen_first(images: list[str], last: object, course: str | None) -> None:
    known = {"sound": "torch", "vision": "torch", "maps": "jax"}
    assert preselect_course(known, images, last) == course
    chosen = [one.name for one in list_courses(known, course) if one.selected]
    assert chosen == ([course] if course else [])
