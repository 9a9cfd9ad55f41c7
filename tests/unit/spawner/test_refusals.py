"""Every refusal carries both messages that JupyterHub shows, and what Docker says becomes a sentence."""

from __future__ import annotations

import pytest
from gpuspawner.core import errors
from gpuspawner.core.errors import GpuSpawnerError, RefusalKind, Refused
from gpuspawner.spawner.containers import explain_engine
from gpuspawner.spawner.refusals import CPU_HINT, refuse, refuse_for
from jupyterhub.utils import format_exception

HINTED = f"No. {CPU_HINT}"


@pytest.mark.parametrize(
    ("error", "status", "reason", "text"),
    [
        (errors.InvalidRequest("No."), 400, "invalid_request", "No."),
        (Refused(RefusalKind.NEVER, "No."), 400, "never_possible", HINTED),
        (Refused(RefusalKind.NOT_ALLOWED, "No."), 400, "not_allowed", HINTED),
        (Refused(RefusalKind.NOT_NOW, "No."), 409, "not_free_now", HINTED),
        (Refused(RefusalKind.NO_INVENTORY, "No."), 503, "no_inventory", HINTED),
        (
            errors.LedgerError("No."),
            503,
            "ledger_unavailable",
            f"GPUs cannot be given out now. {HINTED}",
        ),
        (errors.EngineError("No."), 503, "engine_failed", "No."),
        (errors.SettingsError("No."), 503, "unavailable", HINTED),
    ],
)
def test_refusals(error: GpuSpawnerError, status: int, reason: str, text: str) -> None:
    refusal = refuse_for(error, hint=CPU_HINT)
    assert (refusal.status_code, refusal.reason) == (status, reason)
    shown, html = format_exception(refusal)
    assert shown == refusal.jupyterhub_message == text
    assert html == refusal.jupyterhub_html_message
    assert html.replace("<br>", " ") == text


def test_every_kind_has_a_status() -> None:
    for kind in RefusalKind:
        assert refuse_for(Refused(kind, "No.")).status_code in (400, 409, 503)
        assert kind.value not in ("timeout", "error")  # JupyterHub has texts of its own for these


def test_html_is_escaped() -> None:
    refusal = refuse("<script>", reason="x", status=400, hint="<b>")
    assert refusal.jupyterhub_html_message == "&lt;script&gt;<br>&lt;b&gt;"
    assert refusal.jupyterhub_message == "<script> <b>"
    assert refuse("<i>", reason="x", status=400).jupyterhub_html_message == "&lt;i&gt;"
    assert refuse("100 %", reason="x", status=400).jupyterhub_message == "100 %"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "500 Server Error for http+docker://localhost/v1.45/containers/c0ffee/start: "
            '("failed to create task for container: CDI device injection failed: unresolvable CDI devices '
            'nvidia.com/gpu=GPU-1")',
            "gpuspawner doctor",
        ),
        (
            '500 Server Error: ("could not select device driver "cdi" with capabilities: []")',
            "gpuspawner doctor",
        ),
        (
            '400 Client Error: Bad Request ("invalid mount config for type "bind": bind source path does not '
            'exist: /homes/gpuspawner-home-c0ffee")',
            "Your home directory is not there.",
        ),
        ("500 Server Error: write /var/lib/docker/tmp: no space left on device", "disk is full"),
        ("409 Client Error: Conflict. The container name is already in use", "Docker could not start"),
        ("UnixHTTPConnectionPool(host='localhost', port=None): Read timed out.", "Docker could not start"),
        ("", "Docker could not start"),
    ],
)
def test_explain_engine(text: str, says: str) -> None:
    shown = explain_engine(text)
    assert says in shown
    assert "http" not in shown
    assert "c0ffee" not in shown
