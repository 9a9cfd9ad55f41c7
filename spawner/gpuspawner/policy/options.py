"""The one place where what a user asks for becomes a value that may be believed.

``user_options`` are any JSON that a browser form, a query string or the REST API sends. JupyterHub stores
them before anything is checked. Only the :class:`~gpuspawner.core.model.SpawnRequest` made here is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from difflib import get_close_matches
from reprlib import Repr
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import SpawnRequest
from gpuspawner.core.words import mark

from .units import or_none, read_bytes, read_capability, read_duration

_SHOWN_CHARACTERS = 40

_brief = Repr()
# What is nested deeper or longer is not even walked through: it may be a megabyte, or a thousand levels.
_brief.maxlevel = 2
_brief.maxstring = _brief.maxother = _brief.maxlong = 4 * _SHOWN_CHARACTERS


def _read_amount(value: object) -> int:
    """An amount of memory with its unit, or in bytes."""
    return value if type(value) is int and 0 < value < 2**50 else read_bytes(value)


class UserOptions(BaseModel):
    """What a person may choose at a start."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    gpus: Annotated[int, Field(ge=0, description="How many GPUs; 0 is a server without one.")] = 0
    model: Annotated[
        str | None, Field(min_length=1, max_length=200, description="GPU model; none is any.")
    ] = None
    image: Annotated[str | None, Field(min_length=1, max_length=200, description="Image name.")] = None
    slice: Annotated[
        int | None,
        BeforeValidator(or_none(_read_amount), json_schema_input_type=str | int | None),
        Field(description="Instead of gpus: a MIG slice of at least this memory, such as 10G."),
    ] = None
    memory: Annotated[
        int | None,
        BeforeValidator(or_none(_read_amount), json_schema_input_type=str | int | None),
        Field(description="Least memory of each GPU, such as 40G."),
    ] = None
    compute_capability: Annotated[
        tuple[int, int] | None,
        BeforeValidator(or_none(read_capability), json_schema_input_type=str | None),
        Field(description="Least compute capability of each GPU, such as 8.0."),
    ] = None
    session: Annotated[
        timedelta | None,
        BeforeValidator(or_none(read_duration), json_schema_input_type=str | None),
        Field(description="How long the session is to be, such as 2 h; none is as long as allowed."),
    ] = None
    shorten: Annotated[
        bool, Field(description="Take a session that must end earlier, rather than waiting.")
    ] = False
    wait: Annotated[bool, Field(description="Take a place in line when the GPUs are not free.")] = True
    notebooks: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="Course whose notebooks are pulled and opened; it has an image.",
        ),
    ] = None
    course: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Course that the server is for; empty for none. It must be said where several have "
            "the image.",
        ),
    ] = None


class StartOptions(UserOptions):
    """What the Hub is given at a start: what its person chose, and whether a turn is what it is for."""

    turn: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Id of the place in line whose turn has come."),
    ] = None


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
        options = StartOptions.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequest(_explain(error, most_gpus)) from None
    return read_options(options, images=images, most_gpus=most_gpus)


def read_options(options: UserOptions, *, images: Collection[str], most_gpus: int) -> SpawnRequest:
    """Make a request of options of which each alone is well-formed.

    Args:
        options: The options.
        images: Names in the image catalogue.
        most_gpus: The most GPUs that a server may have.

    Raises:
        InvalidRequest: With one sentence that names the option, what was sent, and what is right.
    """
    if options.gpus > most_gpus:
        raise InvalidRequest(
            f"gpus must be a whole number from 0 to {most_gpus}; you sent {shorten(options.gpus)}."
        )
    if options.image is not None and options.image not in images:
        raise InvalidRequest(
            f"There is no image {shorten(options.image)}. You can choose: {', '.join(sorted(images))}."
        )
    if options.slice is not None and options.gpus > 1:
        raise InvalidRequest("A server has one slice. Leave gpus out, or leave the slice out.")
    gpus = 1 if options.slice is not None else options.gpus
    for name in ("model", "memory", "compute_capability"):
        if getattr(options, name) is not None and gpus == 0:
            raise InvalidRequest(
                f"{'A GPU model' if name == 'model' else f'The option {name}'} "
                "was chosen together with 0 GPUs. "
                f"Choose 1 GPU, or leave the {name} out."
            )
    return SpawnRequest(
        gpus=gpus,
        model=options.model,
        image=options.image,
        slice_bytes=options.slice,
        memory_bytes=options.memory,
        compute_capability=options.compute_capability,
        session=options.session,
        shorten=options.shorten,
        wait=options.wait,
        notebooks=options.notebooks,
        course=options.course,
    )


def split_turn(options: Mapping[str, object]) -> tuple[dict[str, object], str | None]:
    """Options that were found valid without the turn that they are for, and that turn.

    JupyterHub keeps options for the next start, which is for no turn, or for another.
    """
    rest = {name: value for name, value in options.items() if name != "turn"}
    turn = options.get("turn")
    return rest, turn if isinstance(turn, str) else None


def write_options(request: SpawnRequest, *, turn: str | None = None) -> dict[str, object]:
    """The options that give this request.

    Args:
        request: What was asked for.
        turn: Id of the place in line whose turn has come: the Hub starts nothing once that turn is over.
    """
    capability, session = request.compute_capability, request.session
    found: dict[str, object | None] = {
        "gpus": None if request.slice_bytes else request.gpus,
        "model": request.model,
        "image": request.image,
        "slice": request.slice_bytes,
        "memory": request.memory_bytes,
        "compute_capability": "{}.{}".format(*capability) if capability else None,
        "session": None if session is None else f"{session.total_seconds():.3f} s",
        "shorten": True if request.shorten else None,
        "wait": None if request.wait else False,
        "notebooks": request.notebooks,
        "course": request.course,
        "turn": turn,
    }
    return {name: value for name, value in found.items() if value is not None}


def shorten(value: object) -> str:
    """Quote something that a user sent, briefly and on one line."""
    try:
        text = _brief.repr(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        text = mark("a very long number")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _explain(error: ValidationError, most_gpus: int) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return mark('The options must be a JSON object such as {"gpus": 1}.')
    name = str(first["loc"][0])
    known = list(UserOptions.model_fields)
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name[:_SHOWN_CHARACTERS], known, n=1)
        hint = mark(f" Did you mean {near[0]}?") if near else ""
        return mark(f"There is no option {shorten(name)}.{hint} The options are: {', '.join(known)}.")
    if name == "gpus":
        return mark(f"gpus must be a whole number from 0 to {most_gpus}; you sent {shorten(first['input'])}.")
    if name in ("shorten", "wait"):
        return mark(f"{name} must be true or false; you sent {shorten(first['input'])}.")
    if first["type"] == "value_error":
        why = first["msg"].removeprefix("Value error, ")
        return mark(f"{name} is wrong: {why}; you sent {shorten(first['input'])}.")
    least = 0 if name == "course" else 1
    return mark(f"{name} must be a text of {least} to 200 characters; you sent {shorten(first['input'])}.")
