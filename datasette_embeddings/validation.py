"""Settings and requests, checked against dataclasses by pydantic: all faults at once.

pydantic is imported when the first value is checked; that takes 50 ms.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar

from datasette_embeddings.errors import InvalidInputError, quoted

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

# Faults in one message
MOST_FAULTS = 20
STRICT_TYPES = ("int", "str", "bool", "float")
COMPONENT = "component"
NULL = {"type": "null"}
# Of a field's schema by pydantic: the first repeats its name
NOT_SHOWN = ("title", "default", "description")


class Checked:
    """The base of a dataclass that takes its own fields and no others."""

    __pydantic_config__: ClassVar = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
    }


class Expected:
    """Annotates a type with what a value must be, in plain words.

    For a Literal the words are its values.
    *read* converts a value before it is checked. It raises ValueError for one that it
    cannot convert, or InvalidInputError to say more than *words*. *component* names the
    schema of openapi.yml that stands for the type. *constraints* are pydantic's own,
    such as ``ge=1``.
    """

    def __init__(
        self,
        words: str = "",
        *,
        read: Callable[[Any], Any] | None = None,
        component: str | None = None,
        **constraints: object,
    ) -> None:
        self.words = words
        self.read = read
        self.component = component
        self.constraints = constraints

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        from pydantic_core import core_schema

        schema: Any = {**handler(source), **self.constraints}
        if schema["type"] in STRICT_TYPES:
            schema["strict"] = True
        if schema["type"] == "literal":
            self.words = f"one of {', '.join(schema['expected'])}"
        schema = core_schema.custom_error_schema(
            schema, custom_error_type="expected", custom_error_message=self.words
        )
        if self.read is None:
            return schema
        return core_schema.no_info_before_validator_function(self._converted, schema)

    def _converted(self, value: object) -> object:
        from pydantic_core import PydanticCustomError

        assert self.read is not None
        try:
            return self.read(value)
        except InvalidInputError as error:
            raise PydanticCustomError("stated", "{e}", {"e": str(error)}) from error
        except ValueError as error:
            raise PydanticCustomError("expected", "{e}", {"e": self.words}) from error

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        if self.component is None:
            return handler(schema)
        # No $ref yet: pydantic would look for what it refers to
        return {COMPONENT: f"#/components/schemas/{self.component}"}


Text: TypeAlias = Annotated[str, Expected("a text", min_length=1)]
# Any length is a constraint, without which pydantic lets half a surrogate pair pass
AnyText: TypeAlias = Annotated[str, Expected("a text in UTF-8", min_length=0)]
#: Of a mapping, where YAML reads 2024 as a number
Key: TypeAlias = Annotated[str, Expected("a name", read=str)]
Flag: TypeAlias = Annotated[bool, Expected("true or false")]
Count: TypeAlias = Annotated[int, Expected("a whole number of at least 1", ge=1)]
CountOrZero: TypeAlias = Annotated[int, Expected("a whole number", ge=0)]
Seconds: TypeAlias = Annotated[
    float, Expected("seconds, more than 0", gt=0, allow_inf_nan=False)
]


def whole_number(value: object) -> object:
    """*value*; in JSON, 3.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in *body*."""
    # JSON holds no cycles. While it is read, the collector would look at hundreds of
    # thousands of lists again and again, ten times as long, and stop all threads
    was_on = gc.isenabled()
    gc.disable()
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"Expected a JSON object for a body: {error}"
        ) from error
    finally:
        if was_on:
            gc.enable()
    if not isinstance(found, dict):
        raise InvalidInputError(
            f"Expected a JSON object for a body, found {quoted(found)}"
        )
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def validated(
    cls: type[T],
    value: object,
    *,
    names: Mapping[str, str] = {},
    sections: Mapping[str, type] = {},
    hidden: Collection[str] = (),
) -> T:
    """*value*, a mapping, as an instance of the dataclass *cls*; None is no value.

    *names* are what the caller calls the fields, if not by their names. *sections* are
    the classes of mappings below the top level, by their key there. Values below the
    keys in *hidden* may be secrets, so errors do not quote them.

    :raises InvalidInputError: with all faults, each a path, what was expected there
        and what was found.
    """
    from pydantic import ValidationError

    known = [each.name for each in fields(cls)]  # type: ignore[arg-type]  # a dataclass
    if isinstance(value, Mapping):
        if len(value) > len(known) + MOST_FAULTS:
            raise InvalidInputError(
                f"Expected only {', '.join(known)}; found {len(value):,} names"
            )
        value = {
            key: each
            for key, each in value.items()
            if each is not None or key not in known
        }
    try:
        # mypy takes a class for not hashable
        checked: T = _adapter(cls).validate_python(value)  # type: ignore[arg-type]
        return checked
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [_fault(each, cls, names, sections, hidden) for each in found]
    if len(faults) > MOST_FAULTS:
        faults[MOST_FAULTS:] = [f"and {len(faults) - MOST_FAULTS:,} more"]
    raise InvalidInputError(*faults)


def json_schema(cls: type) -> dict[str, Any]:
    """What :func:`validated` takes for *cls*, as a schema of an OpenAPI document."""
    schema = _adapter(cls).json_schema()
    for name, field in schema["properties"].items():
        found = {key: each for key, each in field.items() if key not in NOT_SHOWN}
        types = [
            {"$ref": each[COMPONENT]} if COMPONENT in each else each
            for each in found.pop("anyOf", [found])
            if each != NULL
        ]
        is_required = name in schema.get("required", ())
        schema["properties"][name] = {
            "description": field.get("description", ""),
            "anyOf": types if is_required else [*types, NULL],
        }
    return schema


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _fault(
    error: ErrorDetails,
    cls: type,
    names: Mapping[str, str],
    sections: Mapping[str, type],
    hidden: Collection[str],
) -> str:
    if error["type"] == "stated":
        return error["msg"]
    path = [str(names.get(str(part), part))[:100] for part in error["loc"]]
    where = f"{'.'.join(path)}: " if path else ""
    found = error["input"]
    if error["type"] in ("unexpected_keyword_argument", "invalid_key"):
        section = sections.get(path[0], cls) if len(path) > 1 else cls
        known = ", ".join(each.name for each in fields(section))
        return f"{where}unknown, expected one of {known}"
    if error["type"] == "missing":
        return f"{where}expected a value, found none"
    if error["type"] == "value_error":
        return f"{where}{error['ctx']['error']}"
    expected = error["msg"] if error["type"] == "expected" else "a mapping"
    is_hidden = bool(path) and path[0] in hidden
    return f"{where}expected {expected}, found {_shown(found, is_hidden=is_hidden)}"


def _shown(found: object, *, is_hidden: bool) -> str:
    if not is_hidden or found is None or isinstance(found, bool):
        return quoted(found)
    kinds: dict[type, str] = {str: "a text", list: "a list", dict: "a mapping"}
    return kinds.get(type(found), "a number")
