"""The one place where what a user asks for becomes a value that may be believed.

``user_options`` are any JSON that a browser form, a query string or the REST API sends. JupyterHub stores
them before anything is checked. Only the :class:`~gpuspawner.core.model.SpawnRequest` made here is used.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from reprlib import Repr
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import SpawnRequest

_SHOWN_CHARACTERS = 40

_brief = Repr()
# What is nested deeper or longer is not even walked through: it may be a megabyte, or a thousand levels.
_brief.maxlevel = 2
_brief.maxstring = _brief.maxother = _brief.maxlong = 4 * _SHOWN_CHARACTERS


class UserOptions(BaseModel):
    """What a person may choose at a start."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    gpus: Annotated[int, Field(ge=0, description="How many GPUs; 0 is a server without one.")] = 0
    model: Annotated[
        str | None, Field(min_length=1, max_length=200, description="GPU model; none is any.")
    ] = None
    image: Annotated[str | None, Field(min_length=1, max_length=200, description="Image name.")] = None


def parse_options(raw: object, *, images: Collection[str], most_gpus: int) -> SpawnRequest:
    """Validate what a user sent.

    Args:
        raw: Anything.
        images: Names in the image catalogue.
        most_gpus: The most GPUs that a server may have.

    Raises:
        InvalidRequest: With one sentence that names the option, what was sent, and what is right.
    """
    try:
        options = UserOptions.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequest(_explain(error, most_gpus)) from None
    if options.gpus > most_gpus:
        raise InvalidRequest(
            f"gpus must be a whole number from 0 to {most_gpus}; you sent {shorten(options.gpus)}."
        )
    if options.image is not None and options.image not in images:
        raise InvalidRequest(
            f"There is no image {shorten(options.image)}. You can choose: {', '.join(sorted(images))}."
        )
    if options.model is not None and options.gpus == 0:
        raise InvalidRequest(
            "A GPU model was chosen together with 0 GPUs. Choose 1 GPU, or leave the model out."
        )
    return SpawnRequest(gpus=options.gpus, model=options.model, image=options.image)


def shorten(value: object) -> str:
    """Quote something that a user sent, briefly and on one line."""
    try:
        text = _brief.repr(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        text = "a very long number"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _explain(error: ValidationError, most_gpus: int) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return 'The options must be a JSON object such as {"gpus": 1}.'
    name = str(first["loc"][0])
    known = list(UserOptions.model_fields)
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name[:_SHOWN_CHARACTERS], known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        return f"There is no option {shorten(name)}. {hint}The options are: {', '.join(known)}."
    if name == "gpus":
        return f"gpus must be a whole number from 0 to {most_gpus}; you sent {shorten(first['input'])}."
    return f"{name} must be a text of 1 to 200 characters; you sent {shorten(first['input'])}."
