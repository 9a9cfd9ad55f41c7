"""The images at the API and on their pages, and what the line knows of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from gpuspawner.controller.upkeep import KeepPolicy
from gpuspawner.core.model import ImageNeeds
from gpuspawner.core.placement import list_hopeless
from gpuspawner.passport.known import KEEP_SECONDS
from support.build import HOST
from support.controller import Office
from support.fake_docker import image_id
from support.fake_images import OTHERS, TORCH, make_passport, run

NEEDS = ImageNeeds("torch", TORCH["minimum_driver"], TORCH["compute_capabilities"])


def describe_cards(office: Office, capability: tuple[int, int], driver: str = "580.1") -> None:
    with office.services.ledger.write() as unit:
        for one in unit.inventory(HOST):
            device = replace(one.device, compute_capability=capability, driver=driver)
            unit.put_device(replace(one, device=device))


def test_the_list(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH, runs={"sm_80": run()}))
    describe_cards(office, (6, 0))
    base, torch = office.get("/images")["images"]
    assert (base["name"], base["default"], base["digest"]) == ("base", True, image_id("demo/base:1"))
    assert "nobody has looked into it" in base["problem"]
    assert (torch["name"], torch["default"], torch["problem"]) == ("torch", False, "")
    assert (torch["minimum_driver"], torch["compute_capabilities"][-1]) == ("525.60.13", "12.0")
    assert (base["candidate"], base["until"], torch["until"]) == (False, None, "9999-07-31")
    assert (torch["validated_on"], torch["not_validated_on"]) == (["sm_80"], ["cpu-avx2", "sm_60"])
    assert torch["does_not_run_on"] == ["A100"]


def test_one_image(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH))
    found = office.get("/images/torch")
    assert found["passport"]["packages"] == {"numpy": "2.3.5", "jupyterlab": "4.5.0"}
    assert office.get("/images/base")["passport"] is None
    assert office.ask("GET", "/images/nothing").status_code == 404


def test_its_parts(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH))
    assert office.get("/images/torch/spdx")["spdxVersion"] == "SPDX-2.3"
    assert office.ask("GET", "/images/base/spdx").status_code == 404
    file = office.raw("GET", "/images/torch/sbom.spdx.json", cookies={"service-gpu": office.cookie("ada")})
    assert json.loads(file.text)["spdxVersion"] == "SPDX-2.3"
    assert file.headers["Content-Disposition"].endswith('.spdx.json"')


def test_a_place_in_line_is_not_given_for_what_can_never_run(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH))
    describe_cards(office, (6, 0))
    wish = {"server": "", "options": {"gpus": 1, "image": "torch"}}
    status, kind, message = office.refusal("POST", "/queue", "ada", wish)
    assert (status, kind) == (400, "never_possible")
    assert "has code for GPUs of compute capability" in message
    assert office.ask("POST", "/queue", "ada", {"server": "", "options": {"gpus": 1}}).status_code == 201


def test_a_place_in_line_remembers_what_its_image_needs(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH))
    describe_cards(office, (8, 0))
    wish = {"server": "", "options": {"gpus": 1, "image": "torch"}}
    assert office.ask("POST", "/queue", "ada", wish).status_code == 201
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets(HOST)
    assert ticket.request.needs == NEEDS


def test_a_session_says_which_image_it_runs(office: Office) -> None:
    office.add_lease("ada", "l1", digest=image_id("demo/base:1"))
    assert office.get("/leases/l1")["digest"] == image_id("demo/base:1")


@pytest.mark.parametrize("path", ["/images", "/images/torch", "/images/base", "/images/torch?q=num"])
def test_the_pages(office: Office, path: str) -> None:
    office.shelf.put(make_passport(**TORCH, runs={"sm_80": run()}, tests={"x": "failed"}))
    page = office.raw("GET", path, None, cookies={"service-gpu": office.cookie("ada")})
    assert page.status_code == 200, page.text


def test_the_page_of_an_image_with_vs_code_has_its_packages(office: Office) -> None:
    office.shelf.put(make_passport("demo/base:1", image="base"))
    office.shelf.put(make_passport(other_packages=OTHERS))
    page = office.raw("GET", "/images/torch?q=MS", None, cookies={"service-gpu": office.cookie("ada")})
    assert "1 of 3 other packages" in page.text
    assert "2.0.0, 2.1.3" in page.text
    page = office.raw("GET", "/images/base", None, cookies={"service-gpu": office.cookie("ada")})
    assert "Python packages" in page.text
    assert "other packages" not in page.text


def test_no_such_image(office: Office) -> None:
    page = office.raw("GET", "/images/nothing", None, cookies={"service-gpu": office.cookie("ada")})
    assert page.status_code == 404


def test_the_default_is_what_was_tried_on_all_that_is_here(office: Office) -> None:
    describe_cards(office, (8, 0))
    both = {"cpu-avx2": run(), "sm_80": run()}
    office.shelf.put(make_passport("demo/base:1", **TORCH, runs={"sm_80": run()}))
    office.shelf.put(make_passport(**TORCH, runs=both))
    assert [one["default"] for one in office.get("/images")["images"]] == [False, True]
    assert office.get("/images/torch")["default"]
    wish = {"server": "", "options": {"gpus": 1}}
    assert office.ask("POST", "/queue", "ada", wish).status_code == 201
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets(HOST)
    assert ticket.image == "demo/torch:1"


@pytest.mark.parametrize("how", ["damaged", "silent"])
def test_no_place_is_given_while_it_is_not_known_what_an_image_needs(office: Office, how: str) -> None:
    if how == "silent":
        office.engine.answers = False
    else:
        office.shelf.put(make_passport(**TORCH))
        office.shelf.path_of(image_id("demo/torch:1")).write_text("{")
    wish = {"server": "", "options": {"gpus": 1, "image": "torch"}}
    status, kind, message = office.refusal("POST", "/queue", "ada", wish)
    assert (status, kind) == (503, "no_inventory")
    assert message.startswith("What the image torch needs of a GPU is not known now.")


def test_who_waits_keeps_what_was_known_of_the_image(office: Office) -> None:
    """A passport that cannot be read any more is no constraint less."""
    office.shelf.put(make_passport(**TORCH))
    describe_cards(office, (8, 0))
    wish = {"server": "", "options": {"gpus": 1, "image": "torch"}}
    assert office.ask("POST", "/queue", "ada", wish).status_code == 201
    office.hub.people["ada"] = frozenset()
    keep = KeepPolicy(office.line, office.hub, office.services.policies)
    list(keep())
    office.shelf.path_of(image_id("demo/torch:1")).write_text("{")
    office.now[0] += timedelta(seconds=KEEP_SECONDS)
    list(keep())
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets(HOST)
    assert ticket.request.needs == NEEDS


def test_who_waits_is_judged_anew_when_a_passport_changes(office: Office) -> None:
    """Once the image runs on none of the cards, the place ends with that reason."""
    wish = {"server": "", "options": {"gpus": 1, "image": "torch"}}
    assert office.ask("POST", "/queue", "ada", wish).status_code == 201
    office.hub.people["ada"] = frozenset()
    keep = KeepPolicy(office.line, office.hub, office.services.policies)
    list(keep())
    describe_cards(office, (6, 0))
    office.shelf.put(make_passport(**TORCH))
    office.now[0] += timedelta(seconds=KEEP_SECONDS)
    list(keep())
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets(HOST)
        inventory = unit.inventory(HOST)
    assert ticket.request.needs == NEEDS
    assert "does not run on A100" in list_hopeless([ticket], inventory)[ticket.id]
