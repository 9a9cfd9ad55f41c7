"""What all pages share: who comes in, what is sent while they are open, languages, and where one is led."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import pytest
import requests
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.controller.denials import MOST_A_MINUTE
from gpuspawner.controller.pages import base
from gpuspawner.core.errors import LedgerError
from support.client import text_of
from support.controller import Office
from support.news import stream

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}


def test_news_come_when_something_has_changed_and_only_then(office: Office) -> None:
    office.fill()
    with stream(office) as news:
        assert "You are not in line." in text_of(next(news)[1])
        office.ask("POST", "/queue", "bob", {"server": "", "options": {"gpus": 1}})
        event, part = next(news)
        assert event == "part"
        assert "1 is in line now." in text_of(part)
        assert "bob" not in part
        office.ask("POST", "/queue", "ada", {"server": "", "options": {"gpus": 1}})
        assert "1 GPU for your default server" in text_of(next(news)[1])


def test_a_ledger_that_is_away_is_told_and_so_is_its_coming_back(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with stream(office) as news:
        assert next(news)[0] == "part"
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "read", fail)
            assert next(news) == ("away", "")
            page = office.raw("GET", "/queue")
            assert page.status_code == 503
            assert "The ledger, which says who has what, is away." in page.text
            assert "queue: The ledger cannot be read." in caplog.text, "the administrator reads why"
        office.fill()
        office.ask("POST", "/queue", "ada", {"server": "", "options": {"gpus": 1}})
        while (event := next(news)[0]) == "away":
            pass
        assert event == "part"


def fail(ledger: Ledger) -> None:
    raise LedgerError("The ledger cannot be read.")


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("blind", 403), ("stranger", 403)])
def test_who_may_not_see_a_page_gets_no_news_of_it(office: Office, who: str | None, status: int) -> None:
    assert office.raw("GET", "/live/queue", who).status_code == status


def test_a_cookie_alone_opens_no_stream(office: Office) -> None:
    """A page of another site could open one, and would see how long its answers take."""
    browser = requests.Session()
    browser.cookies.set("service-gpu", office.cookie("ada"), path="/services/gpu/")
    url = f"{office.url}/services/gpu/live/queue"
    crossing = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "cross-site"}
    assert browser.get(url, headers=crossing, timeout=10).status_code in (401, 403)
    assert browser.get(url, params={"_xsrf": "guessed"}, headers=crossing, timeout=10).status_code in (
        401,
        403,
    )


def test_a_page_that_is_not_theirs_any_more_is_told_to_load_again(office: Office) -> None:
    """A course is taken from its teacher while they look at it."""
    with stream(office, "grace", "courses/vision") as news:
        assert next(news)[0] == "part"
        policy = office.services.ledger.path.with_name("policy.yml")
        text = policy.read_text().replace("teachers: [grace]", "teachers: [bob]")
        policy.write_text(text.replace("grace: {}", "grace: {}\n  bob: {}"))
        assert next(news)[0] == "gone"


def test_a_person_has_so_many_open_pages_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MOST_STREAMS", 3)
    with ExitStack() as stack:
        pages = [stack.enter_context(stream(office)) for _ in range(3)]
        assert [next(news)[0] for news in pages] == ["part"] * 3
        assert office.raw("GET", "/live/queue").status_code == 429
        assert next(stack.enter_context(stream(office, "bob")))[0] == "part"


def test_who_tries_one_thing_after_the_other_does_not_fill_the_trail(office: Office) -> None:
    for number in range(MOST_A_MINUTE + 5):
        assert office.raw("GET", f"/courses/x{number}").status_code == 403
    assert len(office.trail("access.denied")) == MOST_A_MINUTE
    office.now[0] += timedelta(minutes=2)
    assert office.raw("GET", "/courses/y").status_code == 403
    assert len(office.trail("access.denied")) == MOST_A_MINUTE + 1


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-TW", "zh"),
        ("fr;q=0.9, zh", "zh"),
        ("tlh, de", "en"),
        ("\x00;;,,;q=9," * 50, "en"),
    ],
)
def test_the_browser_s_language(office: Office, accepted: str, language: str) -> None:
    headers = {"Accept-Language": accepted.replace("\x00", "")}
    assert f'<html lang="{language}">' in office.raw("GET", "/queue", headers=headers).text


def test_a_language_that_is_chosen_stays(office: Office) -> None:
    answer = office.raw("POST", "/language", data={"language": "zh", "here": "/services/gpu/queue"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/gpu/queue")
    chosen = {"Cookie": f"gpu-language={answer.cookies['gpu-language']}", "Accept-Language": "en"}
    assert '<html lang="zh">' in office.raw("GET", "/queue", headers=chosen).text
    strange = office.raw("POST", "/language", data={"language": "../../etc", "here": ""})
    assert "gpu-language" not in strange.cookies
    assert '<html lang="en">' in office.raw("GET", "/queue", headers={"Cookie": "gpu-language=../x"}).text


@pytest.mark.parametrize(
    "here",
    [
        "https://example.org/", "//example.org/", "/hub/logout", "/services/gpu//example.org", "javascript:x",
        "/services/gpu/\\example.org", "/services/gpux", "", "/services/gpu/\r\nSet-Cookie: a=b",
    ],
)  # fmt: skip
def test_a_choice_leads_back_to_our_own_pages_only(office: Office, here: str) -> None:
    answer = office.raw("POST", "/language", data={"language": "zh", "here": here})
    assert answer.headers["Location"] == "/services/gpu/queue"
    assert "a" not in answer.cookies


def test_what_was_said_is_ours_and_said_once(office: Office) -> None:
    forged = {"Cookie": 'gpu-said="good Your account was closed"'}
    assert "Your account was closed" not in office.raw("GET", "/queue", headers=forged).text


def test_no_other_site_can_put_a_page_into_a_frame_or_run_anything_there(office: Office) -> None:
    for path in ("/queue", "/nothing", "/queue/x/leave"):
        headers = office.raw("GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/app.py", "/etc/passwd", "", "nothing.js"])
def test_only_what_is_there_for_all_is_served_as_a_file(office: Office, name: str) -> None:
    assert office.raw("GET", "/static/gpu.js", None).status_code == 200
    assert office.raw("GET", f"/static/{name}", None).status_code in (302, 403, 404)


def test_a_page_needs_a_login_and_comes_back_after_it(office: Office) -> None:
    browser = requests.Session()
    answer = browser.get(
        f"{office.url}/services/gpu/queue", headers=NAVIGATE, timeout=10, allow_redirects=False
    )
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/hub/api/oauth2/authorize")
