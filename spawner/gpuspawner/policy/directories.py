"""Directories of the host and git repositories, as an administrator writes them for groups and courses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gpuspawner.core.coursework import why_not_branch, why_not_file, why_not_repository
from gpuspawner.core.words import mark

from .yamlfile import STRICT


def _read_path(value: object) -> str:
    text = value.rstrip("/") if isinstance(value, str) else ""
    if text.startswith("/") and not {"", ".", ".."} & set(text.split("/")[1:]) and "\0" not in text:
        return text
    raise ValueError(mark("write an absolute path, without . and .. in it"))


AbsolutePath = Annotated[str, BeforeValidator(_read_path)]


def _checked(why_not: Callable[[str], str | None]) -> Callable[[str], str]:
    def check(value: str) -> str:
        problem = why_not(value)
        if problem:
            raise ValueError(problem)
        return value

    return check


class Material(BaseModel):
    """A directory of the host that people can read."""

    model_config = STRICT

    path: Annotated[AbsolutePath, Field(description="Absolute, on the host.")]
    target: Annotated[AbsolutePath, Field(description="Absolute, in the server.")]


class OtherMount(Material):
    """A directory of the host that a course can use."""

    mode: Annotated[Literal["ro", "rw"], Field(description="ro: read only; rw: read and write.")]


class NotebooksEntry(BaseModel):
    """A git repository that people of a course work on a copy of."""

    model_config = STRICT

    repository: Annotated[
        str, AfterValidator(_checked(why_not_repository)), Field(description="Its address.")
    ]
    branch: Annotated[str, AfterValidator(_checked(why_not_branch)), Field(description="Its branch.")] = (
        "main"
    )
    open: Annotated[
        str | None,
        AfterValidator(lambda value: value and _checked(why_not_file)(value)),
        Field(description="What is opened, such as week1/start.ipynb; none: the folder."),
    ] = None
