"""What a policy makes of a start and of the start page, by the person's groups in the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.idleness import IdleLimits
from jupyterhub import orm
from jupyterhub.spawner import SpawnException
from sqlalchemy.orm import Session
from support import build
from support.fake_docker import FakeDocker, api_error, image_id
from support.mock_hub import MockHub
from traitlets import TraitError

GIB = 2**30
POLICY = """\
pools:
  teaching: [L40S, GPU-1]
groups:
  default:
    gpus_per_person: 1
    images: [base]
    memory: 2G
    cpus: 1
    shm: 128M
    pools: [teaching]
  lab:
    gpus_per_person: 2
    gpus_per_server: 2
    models: all
    images: all
    memory: unlimited
    cpus: unlimited
    shm: 1G
  students:
  closed:
people:
  bob: {gpus_per_person: 0}
  grace:
courses:
  cs231:
    group: students
    teachers: [grace]
    image: torch
    materials: [{path: /srv/notes, target: /notes}]
    mounts: [{path: "/srv/{username}", target: /hand-in, mode: rw}]
"""


class Site:
    """A hub with a policy, and people in its groups."""

    def __init__(self, hub: MockHub, path: Path) -> None:
        self.hub = hub
        self.path = path

    def enrol(self, *groups: str, name: str = "ada") -> None:
        user = self.hub.user(name)
        for group in groups:
            found = orm.Group.find(self.hub.db, group)
            if found is None:
                found = orm.Group(name=group)
                self.hub.db.add(found)
            user.orm_user.groups.append(found)
        self.hub.db.commit()

    async def refusal(self, options: dict[str, Any], name: str = "ada") -> SpawnException:
        with pytest.raises(SpawnException) as refused:
            await self.hub.start(options, name=name)
        return refused.value

    async def page(self, name: str = "ada") -> str:
        return str(await self.hub.spawner(name).get_options_form())

    def change(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))


@pytest.fixture
def site(make: Callable[..., MockHub], db: Session, tmp_path: Path) -> Iterator[Site]:
    path = tmp_path / "policy.yml"
    path.write_text(POLICY)
    yield Site(make(policy=str(path), mem_limit="4G", cpu_limit=3, shm_size="64M"), path)
    for group in db.query(orm.Group):
        db.delete(group)
    db.commit()


@pytest.fixture
def l40s(ledger: Ledger, docker: FakeDocker) -> None:
    docker.cdi.add("nvidia.com/gpu=GPU-L")
    with ledger.write() as unit:
        unit.put_device(build.record("GPU-L", model="L40S", index=2, seen_at=datetime.now(UTC)))


def host_config(docker: FakeDocker, name: str = "ada") -> dict[str, Any]:
    return dict(docker.named(f"jupyter-{name}").settings["host_config"])


def sizes(docker: FakeDocker) -> tuple[int, int | None, int]:
    found = host_config(docker)
    return found["Memory"], found.get("CpuQuota"), found["ShmSize"]


# -- GPUs ---------------------------------------------------------------------------------------------------


async def test_default_gets_cards_of_its_pool(site: Site) -> None:
    spawner = await site.hub.start({"gpus": 1})
    assert spawner.lease.devices == ("GPU-1",)


async def test_a_group_gets_its_own(site: Site) -> None:
    site.enrol("lab")
    spawner = await site.hub.start({"gpus": 2})
    assert spawner.lease.devices == ("GPU-0", "GPU-1")


async def test_groups_are_those_of_the_person(site: Site) -> None:
    site.enrol("lab", name="eve")
    assert (await site.refusal({"gpus": 2})).reason == "not_allowed"
    await site.hub.start({"gpus": 2}, name="eve")


async def test_a_group_that_is_left_is_left(site: Site) -> None:
    site.enrol("lab")
    await site.hub.start({"gpus": 2})
    await site.hub.stop()
    site.hub.user().orm_user.groups.clear()
    site.hub.db.commit()
    refused = await site.refusal({"gpus": 2})
    assert refused.jupyterhub_message == "You asked for 2 GPUs; a server may have at most 1."


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("bob", {"gpus": 1}, "one person may hold at most 0 (person `bob`)."),
        ("ada", {"image": "torch"}, "The image 'torch' is not allowed to you: default allows base."),
        (
            "ada",
            {"gpus": 1, "model": "A100", "image": "torch"},
            "The image 'torch' is not allowed to you: default allows base.",
        ),
    ],
)
async def test_refusals_name_the_rule(site: Site, name: str, options: dict[str, Any], says: str) -> None:
    refused = await site.refusal(options, name)
    assert says in refused.jupyterhub_message
    assert says in refused.jupyterhub_html_message.replace("&#39;", "'")
    assert (refused.status_code, refused.reason) == (400, "not_allowed")


async def test_a_model_that_is_not_allowed(site: Site, l40s: None) -> None:
    site.change("L40S, GPU-1", "L40S")
    refused = await site.refusal({"gpus": 1, "model": "A100"})
    assert refused.jupyterhub_message.startswith(
        "The GPUs of model A100 that are here are not allowed to you: default allows L40S."
    )
    spawner = await site.hub.start({"gpus": 1})
    assert spawner.lease.devices == ("GPU-L",)


async def test_options_are_refused_at_the_form(site: Site) -> None:
    """JupyterHub has stored them already; kept, they would refuse every later start without options."""
    spawner = site.hub.spawner()
    spawner.orm_spawner.user_options = {"image": "torch"}
    with pytest.raises(SpawnException, match="'torch' is not allowed to you: default allows base"):
        await spawner.apply_user_options(spawner, {"image": "torch"})
    assert spawner.orm_spawner.user_options == {}
    site.enrol("lab")
    await spawner.apply_user_options(spawner, {"image": "torch", "gpus": 2})


async def test_without_a_policy_too_many_gpus_are_malformed(make: Callable[..., MockHub]) -> None:
    site = Site(make(), Path())
    refused = await site.refusal({"gpus": 2})
    assert refused.jupyterhub_message == "gpus must be a whole number from 0 to 1; you sent 2."


# -- images, sizes, mounts ----------------------------------------------------------------------------------


async def test_the_first_allowed_image_is_the_default(site: Site, docker: FakeDocker) -> None:
    site.change("images: [base]", "images: [torch]")
    await site.hub.start({})
    assert docker.named("jupyter-ada").settings["image"] == image_id("demo/torch:1")
    assert [lease.image for lease in site.hub.live_leases()] == ["demo/torch:1"]


async def test_sizes(site: Site, docker: FakeDocker) -> None:
    await site.hub.start({})
    assert sizes(docker) == (2 * GIB, 100_000, 128 * 2**20)
    environment = docker.named("jupyter-ada").settings["environment"]
    assert (environment["MEM_LIMIT"], environment["CPU_LIMIT"]) == (str(2 * GIB), "1.0")


async def test_no_limit_at_all(site: Site, docker: FakeDocker) -> None:
    site.enrol("lab")
    await site.hub.start({})
    assert sizes(docker) == (0, None, GIB)
    assert "MEM_LIMIT" not in docker.named("jupyter-ada").settings["environment"]


async def test_what_the_policy_leaves_out_is_as_the_site_set_it(site: Site, docker: FakeDocker) -> None:
    site.path.write_text("groups: {lab: {memory: 1G, shm: 1G}}")
    site.enrol("lab")
    await site.hub.start({})
    assert sizes(docker) == (4 * GIB, 300_000, GIB)


async def test_sizes_of_one_start_are_not_those_of_the_next(site: Site, docker: FakeDocker) -> None:
    site.enrol("lab")
    await site.hub.start({})
    await site.hub.stop()
    site.change("lab:", "other:")
    site.change("    memory: 2G\n    cpus: 1\n    shm: 128M\n", "")
    await site.hub.start({})
    assert sizes(docker) == (4 * GIB, 300_000, 64 * 2**20)


async def test_a_callable_of_the_site(make: Callable[..., MockHub], docker: FakeDocker, site: Site) -> None:
    hub = make(policy=str(site.path), mem_limit=lambda spawner: "8G", cpu_limit=lambda spawner: 2.0)
    site.path.write_text("groups: {lab: {memory: 9G}}")
    await hub.start({})
    assert host_config(docker)["Memory"] in ("8G", 8 * GIB)
    await hub.stop()
    site.hub = hub
    site.enrol("lab")
    await hub.start({})
    assert host_config(docker)["Memory"] == 9 * GIB


def course_mounts(docker: FakeDocker, name: str = "ada") -> list[Any]:
    return list(host_config(docker, name)["Mounts"][1:])


BOUND = {"Type": "bind", "BindOptions": {"CreateMountpoint": False}}
MATERIALS = [
    {**BOUND, "Source": "/srv/notes", "Target": "/notes", "ReadOnly": True},
    {**BOUND, "Source": "/srv/{username}", "Target": "/hand-in", "ReadOnly": False},
]


async def test_materials_of_a_course(site: Site, docker: FakeDocker) -> None:
    site.enrol("students")
    await site.hub.start({"image": "torch"})
    assert course_mounts(docker) == MATERIALS
    await site.hub.stop()
    await site.hub.start({"image": "base"})
    assert course_mounts(docker) == []


async def test_materials_for_a_teacher_and_for_nobody_else(site: Site, docker: FakeDocker) -> None:
    await site.hub.start({"image": "torch"}, name="grace")
    assert course_mounts(docker, "grace") == MATERIALS
    site.enrol("lab")
    await site.hub.start({"image": "torch"})
    assert course_mounts(docker) == []


async def test_materials_that_are_not_there(site: Site, docker: FakeDocker) -> None:
    site.enrol("students")
    docker.fail(
        "create_container", api_error(400, "invalid mount: bind source path does not exist: /srv/notes")
    )
    refused = await site.refusal({"image": "torch"})
    assert refused.jupyterhub_message == (
        "The directory that your course has at /notes is not there. Tell your teacher or the administrator."
    )


async def test_home_that_is_not_there_is_no_matter_of_the_course(site: Site, docker: FakeDocker) -> None:
    site.enrol("students")
    text = "invalid mount: bind source path does not exist: /srv/notes/home"
    docker.fail("create_container", api_error(400, text))
    refused = await site.refusal({"image": "torch"})
    assert refused.jupyterhub_message.startswith("Your home directory is not there.")


# -- the start page -----------------------------------------------------------------------------------------


async def test_page_shows_what_is_not_allowed_with_its_reason(site: Site, l40s: None) -> None:
    site.change("L40S, GPU-1", "L40S")
    page = await site.page()
    assert "Not allowed to you: default allows L40S" in page
    assert "torch (not allowed to you: default allows base)" in page
    assert "1 of 1 GPU free" in page
    site.enrol("lab")
    page = await site.page()
    assert "ot allowed to you" not in page
    assert "3 of 3 GPUs free" in page
    assert 'max="2"' in page


async def test_page_does_not_choose_what_is_not_allowed_any_more(site: Site) -> None:
    site.hub.spawner().orm_spawner.user_options = {"image": "torch"}
    assert '<option value="base" selected>' in await site.page()
    site.enrol("lab")
    assert '<option value="torch" selected>' in await site.page()


async def test_page_of_somebody_without_gpus(site: Site) -> None:
    page = await site.page("bob")
    assert "No GPU is allowed to you" in page
    assert "Not allowed to you: person `bob` allows 0 GPUs" in page
    assert page.count("disabled>") == 2  # the card and an image


async def test_page_offers_what_can_be_had_where_there_is_no_limit(site: Site, l40s: None) -> None:
    site.path.write_text("groups: {default: {gpus_per_person: unlimited, gpus_per_server: unlimited}}")
    assert 'max="2"' in await site.page(), "two cards of one model are the most that one server can have"


# -- the file -----------------------------------------------------------------------------------------------


async def test_a_change_holds_from_the_next_start_on(site: Site, docker: FakeDocker) -> None:
    await site.hub.start({})
    await site.hub.stop()
    site.change("memory: 2G", "memory: 3G")
    await site.hub.start({})
    assert sizes(docker)[0] == 3 * GIB


async def test_a_broken_file_changes_nothing_and_administrators_read_why(site: Site) -> None:
    site.hub.user("root").orm_user.admin = True
    await site.page()
    site.change("gpus_per_person: 1", "gpu_per_person: 1")
    await site.hub.start({"gpus": 1})
    says = "groups.default.gpu_per_person is not a key of the policy"
    assert says not in await site.page()
    assert says in await site.page("root")


async def test_a_file_that_was_never_good_starts_nothing(site: Site, docker: FakeDocker) -> None:
    site.change("gpus_per_person: 1", "gpu_per_person: 1")
    refused = await site.refusal({})
    assert "gpuspawner policy check" in refused.jupyterhub_message
    assert (refused.status_code, refused.reason) == (503, "policy_broken")
    assert docker.containers == {}
    site.change("gpu_per_person: 1", "gpus_per_person: 1")
    await site.hub.start({})


async def test_images_of_the_policy_are_those_of_the_catalogue(site: Site) -> None:
    site.change("images: [base]", "images: [jax]")
    assert (await site.refusal({})).reason == "policy_broken"


async def test_limits_of_idleness_are_those_of_the_start(site: Site, ledger: Ledger) -> None:
    site.change("    cpus: 1\n", "    cpus: 1\n    idle_gpu: 90 min\n")
    site.change("pools:\n", "warn_minutes: [1, 30]\npools:\n")
    await site.hub.start({"gpus": 1})
    site.change("idle_gpu: 90 min", "idle_gpu: 20 min")
    (lease,) = site.hub.live_leases()
    with ledger.read() as unit:
        (watch,) = unit.watches().values()
    assert (watch.lease_id, watch.limits.warn_minutes) == (lease.id, (30, 1))
    assert watch.limits.gpus == IdleLimits(
        timedelta(minutes=90), timedelta(minutes=30), timedelta(minutes=30)
    )
    assert watch.activity.active_at == lease.created_at


# -- images on trial, and images until a day ----------------------------------------------------------------


async def test_a_candidate_is_for_those_whose_group_or_course_names_it(site: Site) -> None:
    site.hub.config.GPUSpawner.candidates = ["torch"]
    site.change("    images: [base]\n", "    images: all\n")
    refused = await site.refusal({"image": "torch"})
    assert "The image 'torch' is not allowed to you: default allows base" in str(refused.jupyterhub_message)
    assert "torch · on trial (not allowed to you" in " ".join((await site.page()).split())
    site.enrol("lab")
    assert (await site.refusal({"image": "torch"})).reason == "not_allowed", "all is not a name"
    site.enrol("students")
    assert (await site.hub.start({"image": "torch"})).image == "demo/torch:1"


async def test_a_frozen_image_can_be_chosen_until_its_day_and_its_servers_go_on(site: Site) -> None:
    today = datetime.now().astimezone().date()
    site.enrol("lab")
    site.hub.config.GPUSpawner.frozen = {"torch": f"{today:%Y-%m-%d}"}
    spawner = await site.hub.start({"image": "torch"})
    assert f"torch · until {today:%Y-%m-%d}" in " ".join((await site.page()).split())
    spawner.frozen = {"torch": f"{today - timedelta(days=1):%Y-%m-%d}"}
    assert await spawner.poll() is None
    page = await site.page()
    assert "torch" not in page.partition('id="gpu-image"')[2].partition("</select>")[0]
    await site.hub.stop()
    site.hub.config.GPUSpawner.frozen = spawner.frozen
    refused = await site.refusal({"image": "torch"})
    assert refused.jupyterhub_message == "There is no image 'torch'. You can choose: base."
    site.enrol("students")
    assert await site.hub.start({}), "that the policy names it breaks nothing"


@pytest.mark.parametrize("day", ["2027-13-01", "soon", 20270731, None])
def test_a_last_day_that_is_none_is_refused(make: Callable[..., MockHub], day: object) -> None:
    with pytest.raises(TraitError, match="'torch' must have a day such as"):
        make(frozen={"torch": day}).spawner()
