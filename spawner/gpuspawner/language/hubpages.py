"""The words of the Hub's pages that are ours, in the language of who looks.

JupyterHub has one Jinja environment for everybody, so the language is looked up when a page is made: its
variables hold a method of the request's handler.
"""

from __future__ import annotations

import re
from html import unescape
from itertools import cycle

from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context
from markupsafe import Markup, escape

from . import choose_language, load
from .retell import retell

_TAG = re.compile(r"(<[^<>]*>)")


@pass_context
def find_language(context: Context) -> str:
    """The language of who looks at a page of the Hub."""
    handler = getattr(context.get("static_url"), "__self__", None)
    request = getattr(handler, "request", None)
    return choose_language(None, request.headers.get("Accept-Language", "") if request else "")


@pass_context
def translate(context: Context, text: str) -> str:
    """A text of a template."""
    return load(find_language(context)).gettext(text)


@pass_context
def retold(context: Context, text: str) -> str:
    """A sentence that the code wrote."""
    return retell(text, find_language(context))


@pass_context
def retold_html(context: Context, html: str) -> Markup:
    """The same of a refusal's HTML, of which the tags stay."""
    return retell_html(html, find_language(context))


def retell_html(html: str, language: str) -> Markup:
    """The texts between the tags of a piece of HTML of ours in another language; the tags stay.

    Args:
        html: What people wrote is escaped in it.
        language: A key of :data:`gpuspawner.language.LANGUAGES`.
    """
    parts = _TAG.split(html)
    told = [
        part if is_tag else str(escape(retell(unescape(part), language)))
        for part, is_tag in zip(parts, cycle((False, True)))
    ]
    return Markup("".join(told))  # noqa: S704 - the tags are ours, all else is escaped


class HubWords(Extension):
    """Gives the templates of an environment these functions."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals |= {
            "_": translate,
            "find_language": find_language,
            "retold": retold,
            "retold_html": retold_html,
        }
