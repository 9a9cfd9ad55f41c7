"""What people read, in their own language: gettext catalogues, one ``.po`` file for each but English.

English stands in the templates and in the code. A template marks a text with ``_("…")`` or
``{% trans %}…{% endtrans %}``. What the code says stays English in the ledger, the API and the log; its texts
are found (:mod:`.sentences`), and a page retells them in its reader's language (:mod:`.retell`). ``make
words`` brings the catalogues up to date; a test refuses one that is not complete.
"""

from __future__ import annotations

import gettext
import io
from functools import cache
from pathlib import Path

from babel.core import negotiate_locale, parse_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh": "简体中文"}
"""Code, as HTML has it → how its speakers call it."""
FOLDER = Path(__file__).parent


def choose_language(chosen: str | None, accepted: str) -> str:
    """The language of a page.

    Args:
        chosen: What its reader chose, if they did.
        accepted: The browser's ``Accept-Language``.

    Returns:
        A key of :data:`LANGUAGES`.
    """
    if chosen in LANGUAGES:
        return chosen
    wanted = [part.partition(";")[0].strip().replace("-", "_") for part in accepted.split(",")[:20]]
    known = [one for one in wanted if _is_locale(one)]
    # zh-TW reads what there is of Chinese, rather than English.
    return negotiate_locale([one.partition("_")[0] for one in known], list(LANGUAGES)) or ENGLISH


@cache
def load(language: str) -> gettext.NullTranslations:
    """The texts of a language."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    with (FOLDER / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _is_locale(text: str) -> bool:
    try:
        parse_locale(text)
    except (ValueError, TypeError):
        return False
    return True
