"""The page that compares two images."""

from __future__ import annotations

import re

from support.controller import Office
from support.fake_images import OTHERS, TORCH, make_passport, run


def read(office: Office, path: str = "/images/torch/changes") -> str:
    page = office.raw("GET", path, None, cookies={"service-gpu": office.cookie("ada")})
    assert page.status_code == 200, page.text
    return " ".join(re.sub(r"<[^>]*>", " ", page.text.partition("<main")[2]).split())


def put_both(office: Office) -> None:
    old = {"sm_80": run(), "sm_70": run()}
    new = {"sm_80": run(weights="cd" * 32, losses=[2.5, 1.0, 0.5], step_seconds=0.01), "cpu-avx2": run()}
    office.shelf.put(make_passport("demo/base:1", image="base", runs=old))
    office.shelf.put(
        make_passport(
            **TORCH, packages={"numpy": "2.3.6", "<b>x</b>": "1"}, runs=new, size_bytes=9_000_000_000
        )
    )


def test_what_differs_is_shown(office: Office) -> None:
    put_both(office)
    text = read(office)
    assert "What torch changes" in text
    assert "any → 525.60.13" in text
    assert "sm_80 the same differs from step 2 on 0.25 at step 2 12.5 ms → 10.0 ms" in text
    assert "Only base was tried on sm_70." in text
    assert "Only torch was tried on CPU." in text
    assert "numpy changed 2.3.5 2.3.6" in text
    assert "jupyterlab removed 4.5.0 -" in text
    assert "&lt;b&gt;x&lt;/b&gt; added - 1" in text
    assert "Debian packages All are the same." in text
    assert "Other packages" not in text


def test_a_newer_vs_code_is_shown(office: Office) -> None:
    office.shelf.put(make_passport("demo/base:1", image="base"))
    office.shelf.put(make_passport(**TORCH, other_packages=OTHERS))
    assert "Other packages" in read(office)
    assert "node added - 24.19.0" in read(office)


def test_an_image_that_is_not_there_is_not_compared_with(office: Office) -> None:
    put_both(office)
    assert read(office, "/images/torch/changes?from=%3Cscript%3E") == read(office)


def test_alone_there_is_nothing_to_compare(office: Office) -> None:
    office.shelf.put(make_passport(**TORCH))
    assert "No other image has a passport" in read(office)


def test_without_a_passport_it_says_so(office: Office) -> None:
    assert "nobody has looked into it" in read(office)


def test_the_same_image_differs_in_nothing(office: Office) -> None:
    office.shelf.put(make_passport("demo/base:1", image="base", runs={"sm_80": run()}))
    office.shelf.put(make_passport(runs={"sm_80": run()}))
    text = read(office)
    assert "Nothing differs, as far as both were tried." in text
    assert "sm_80 the same the same none" in text


def test_no_such_image(office: Office) -> None:
    page = office.raw("GET", "/images/no/changes", None, cookies={"service-gpu": office.cookie("ada")})
    assert page.status_code == 404
