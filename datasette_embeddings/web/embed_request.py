"""What a request to the embedding API asks for, in a query string or a JSON body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from datasette_embeddings.config import Config
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.validation import (
    NO_OTHER_KEYS,
    AnyText,
    Expected,
    json_object,
    validated,
)
from datasette_embeddings.web.search_request import image_bytes, whole_number
from datasette_embeddings.web.urls import HARMLESS

if TYPE_CHECKING:
    from datasette.utils import MultiParams


def _inputs(value: object) -> tuple[str | bytes, ...]:
    inputs = value if isinstance(value, list) else [value]
    if not inputs:
        raise ValueError
    return tuple(_input(each) for each in inputs)


def _input(value: object) -> str | bytes:
    if isinstance(value, str):
        if value.strip():
            return value
        raise InvalidInputError("input: expected a text to embed, found an empty one")
    if isinstance(value, dict) and value.keys() == {"image"}:
        try:
            return image_bytes(value["image"])
        except ValueError as error:
            raise InvalidInputError("input: expected an image in base64") from error
    fault = f"input: expected a text or {{'image': base64}}, found {quoted(value)}"
    if isinstance(value, int | list):
        # Some clients split texts into the tokens of a model of OpenAI's
        fault += (
            ". Token ids mean nothing to another model: send the texts themselves, in "
            "LangChain with check_embedding_ctx_length=False"
        )
    raise InvalidInputError(fault)


Inputs: TypeAlias = Annotated[
    tuple[AnyText | bytes, ...],
    Expected(
        "a text in UTF-8, an image as {'image': base64} or a list of them",
        read=_inputs,
        component="Input",
    ),
]


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """What to embed, and how: the keys of OpenAI's API, and `input_type`."""

    __pydantic_config__ = NO_OTHER_KEYS

    input: Inputs
    """Texts and images; an image only if the model takes images."""
    model: (
        Annotated[str, Expected("the id of a model", component="AllowedModel")] | None
    ) = None
    """The default model if there is none."""
    encoding_format: Annotated[Literal["float", "base64", "hex"], Expected()] = "float"
    """Numbers, or little-endian float32 in base64 or in hexadecimal digits."""
    input_type: Annotated[Literal["passage", "query"], Expected()] = "passage"
    """Some models make different vectors of queries and of the passages to search."""
    dimensions: (
        Annotated[int, Expected("a whole number", read=whole_number, ge=1)] | None
    ) = None
    """As many as the model has; other numbers are an error."""
    user: AnyText | None = None
    """Not used."""


def parsed(args: MultiParams, body: bytes | None, config: Config) -> EmbedRequest:
    """The request of the JSON in *body*, or of the query string if there is no body.

    :raises InvalidInputError: for one that cannot be answered.
    """
    given = _from_args(args) if body is None else json_object(body)
    inputs = given.get("input")
    if isinstance(inputs, list) and len(inputs) > config.max_inputs:
        raise InvalidInputError(
            f"Expected at most {config.max_inputs:,} inputs, found {len(inputs):,}"
        )
    request = validated(EmbedRequest, given)
    texts = [each for each in request.input if isinstance(each, str)]
    longest = max(map(len, texts), default=0)
    if longest > config.max_text_length:
        raise InvalidInputError(
            f"Expected a text of at most {config.max_text_length:,} characters, "
            f"found {longest:,}"
        )
    return request


def _from_args(args: MultiParams) -> dict[str, Any]:
    given: dict[str, Any] = {name: args[name] for name in args if name not in HARMLESS}
    if "input" in given:
        given["input"] = args.getlist("input")
    dimensions = args.get("dimensions") or ""
    # Python reads at most 4,300 digits
    if dimensions.isascii() and dimensions.isdigit() and len(dimensions) < 10:
        given["dimensions"] = int(dimensions)
    return given
