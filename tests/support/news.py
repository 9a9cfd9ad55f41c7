"""What an open page is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from .controller import Office


@contextmanager
def stream(office: Office, who: str = "ada", path: str = "queue") -> Iterator[Iterator[tuple[str, str]]]:
    """News of a page as they come: (event, data)."""
    answer = office.raw("GET", f"/live/{path}", who, stream=True)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    with closing(answer):
        yield read_events(answer)


def read_events(answer: requests.Response) -> Iterator[tuple[str, str]]:
    event, data = "", list[str]()
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif event:
            yield event, "\n".join(data)
            event, data = "", []
