"""The catalogues say all that the pages say, with the same amounts and links in it."""

from __future__ import annotations

import re

import pytest
from babel.messages.pofile import read_po
from gpuspawner.language import ENGLISH, FOLDER, LANGUAGES, choose_language, load
from gpuspawner.language.update import collect, list_missing, refresh

OTHERS = [language for language in LANGUAGES if language != ENGLISH]
PLACEHOLDER = re.compile(r"%\((\w+)\)s|\{(\w*)\}")


def test_texts_are_found_in_templates_and_in_code() -> None:
    found = {message.id for message in collect()}
    assert "It is your turn." in found
    assert "Your place in line" in found
    assert ("%(count)s GPU", "%(count)s GPUs") in found


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_in_english(language: str) -> None:
    assert list_missing(language) == [], "translate these in spawner/gpuspawner/language/*.po"


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_is_up_to_date(language: str) -> None:
    assert (FOLDER / f"{language}.po").read_text() == refresh(language), "run make words"


@pytest.mark.parametrize("language", OTHERS)
def test_amounts_and_names_are_in_the_translation_too(language: str) -> None:
    with (FOLDER / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    for message in catalogue:
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        wanted = set(PLACEHOLDER.findall(ids[-1]))
        for string in strings:
            assert set(PLACEHOLDER.findall(string)) == wanted, message.id


def test_a_text_in_another_language() -> None:
    assert load("zh").gettext("It is your turn.") != "It is your turn."
    assert load("zh").gettext("never said anywhere") == "never said anywhere"
    assert load(ENGLISH).gettext("It is your turn.") == "It is your turn."


def test_what_was_chosen_comes_before_what_the_browser_asks_for() -> None:
    assert choose_language("en", "zh") == "en"
    assert choose_language("klingon", "zh-Hans-CN") == "zh"
    assert choose_language(None, "") == "en"
