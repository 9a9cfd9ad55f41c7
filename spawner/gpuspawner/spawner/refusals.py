"""Refusals in the shape that JupyterHub shows to people.

JupyterHub 6 shows ``log_message`` of a ``SpawnException``, or nothing at all for some errors, unless the
exception also carries ``jupyterhub_message`` and ``jupyterhub_html_message``; so every refusal carries both.
"""

from __future__ import annotations

from jupyterhub.spawner import SpawnException
from markupsafe import Markup, escape

from gpuspawner.core.errors import (
    EngineError,
    GpuSpawnerError,
    InLine,
    InvalidRequest,
    LedgerError,
    NotFound,
    RefusalKind,
    Refused,
)
from gpuspawner.core.words import mark

IN_LINE = Markup('<span class="gpu-in-line">')
"""How the HTML of a place in line begins: our pages of the Hub show by it that this is no error.

Everything else that a refusal says is escaped, so that no other begins like this.
"""
CPU_HINT = mark("You can start a server without a GPU now: choose “No GPU”.")
CPU_MEANWHILE = mark("Meanwhile you can start a server without a GPU: choose “No GPU”. It keeps your place.")

_NOT_GRANTED = {
    RefusalKind.NEVER: 400,
    RefusalKind.NOT_ALLOWED: 400,
    RefusalKind.NOT_NOW: 409,
    RefusalKind.NO_INVENTORY: 503,
}


def refuse(message: str, *, reason: str, status: int, hint: str = "") -> SpawnException:
    """Make the exception that ends a spawn with a sentence for the person.

    Args:
        message: What is wrong and what to do.
        reason: A word of a small fixed set; it becomes a metrics label. Not ``timeout`` or ``error``, which
            JupyterHub replaces by texts of its own.
        status: HTTP status for programs.
        hint: A way out, if there is one.
    """
    text = f"{message} {hint}".strip()
    error = SpawnException(text, reason=reason, status_code=status)
    error.jupyterhub_message = text
    error.jupyterhub_html_message = str(
        Markup("{}<br>{}").format(escape(message), escape(hint)) if hint else escape(message)
    )
    return error


def refuse_in_line(error: InLine, queue_url: str) -> SpawnException:
    """Tell a person that they have a place in line, and where they see it."""
    place = mark("You are the first in line.")
    if error.ahead:
        place = mark(f"You are number {error.ahead + 1} in line.")
    patience = mark("Your server starts when your turn comes; you need not try again.")
    text = f"{place} {error} {patience}"
    refusal = refuse(text, reason="in_line", status=409, hint=CPU_MEANWHILE)
    refusal.jupyterhub_html_message = str(
        Markup('{}{}<br>{}</span> <a href="{}">{}</a>').format(
            IN_LINE, text, CPU_MEANWHILE, queue_url, mark("See your place in line")
        )
    )
    return refusal


def refuse_for(error: GpuSpawnerError, *, hint: str = "") -> SpawnException:
    """Make the refusal for one of our own errors."""
    match error:
        case InvalidRequest() | NotFound():
            return refuse(str(error), reason="invalid_request", status=400)
        case Refused(kind=kind):
            return refuse(str(error), reason=kind.value, status=_NOT_GRANTED[kind], hint=hint)
        case LedgerError():
            text = mark(f"GPUs cannot be given out now. {error}")
            return refuse(text, reason="ledger_unavailable", status=503, hint=hint)
        case EngineError():
            return refuse(str(error), reason="engine_failed", status=503)
    return refuse(str(error), reason="unavailable", status=503, hint=hint)
