"""The command ``gpuspawner-session`` by itself."""

from __future__ import annotations

import pytest
from gpuspawner_session.cli import main


def test_wrong_use_is_told_with_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
