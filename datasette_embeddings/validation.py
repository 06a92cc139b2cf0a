"""Settings and requests, checked against dataclasses by pydantic: all faults at once.

pydantic is imported when the first value is checked; that takes 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from datasette_embeddings.errors import InvalidInputError, quoted

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

#: ``__pydantic_config__`` of a dataclass that takes its own fields and no others
NO_OTHER_KEYS = {"extra": "forbid", "use_attribute_docstrings": True}
# Faults in one message
MOST_FAULTS = 20
STRICT_TYPES = ("int", "str", "bool", "float")


class Expected:
    """Annotates a type with what a value must be, in plain words.

    *read* converts a value before it is checked, and raises ValueError for one that it
    cannot convert. *json_schema* replaces the schema that pydantic writes.
    *constraints* are those of pydantic, such as ``ge=1``.
    """

    def __init__(
        self,
        words: str,
        *,
        read: Callable[[Any], Any] | None = None,
        json_schema: Mapping[str, Any] | None = None,
        **constraints: object,
    ) -> None:
        self.words = words
        self.read = read
        self.json_schema = json_schema
        self.constraints = constraints

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        from pydantic_core import core_schema

        schema: Any = {**handler(source), **self.constraints}
        if schema["type"] in STRICT_TYPES:
            schema["strict"] = True
        if self.read is not None:
            schema = core_schema.no_info_before_validator_function(self.read, schema)
        return core_schema.custom_error_schema(
            schema, custom_error_type="expected", custom_error_message=self.words
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        return handler(schema) if self.json_schema is None else dict(self.json_schema)


Text: TypeAlias = Annotated[str, Expected("a text", min_length=1)]
AnyText: TypeAlias = Annotated[str, Expected("a text")]
#: Of a mapping, where YAML reads 2024 as a number
Key: TypeAlias = Annotated[str, Expected("a name", read=str)]
Flag: TypeAlias = Annotated[bool, Expected("true or false")]
Count: TypeAlias = Annotated[int, Expected("a whole number of at least 1", ge=1)]
CountOrZero: TypeAlias = Annotated[int, Expected("a whole number", ge=0)]
Seconds: TypeAlias = Annotated[
    float, Expected("seconds, more than 0", gt=0, allow_inf_nan=False)
]


def validated(
    cls: type[T],
    value: object,
    *,
    sections: Mapping[str, type] | None = None,
    hidden: Collection[str] = (),
) -> T:
    """*value*, a mapping, as an instance of the dataclass *cls*.

    *sections* are the classes of mappings below the top level, by their key there.
    Values below the keys in *hidden* may be secrets, so errors do not quote them.

    :raises InvalidInputError: with all faults, each a path, what was expected there
        and what was found.
    """
    from pydantic import ValidationError

    try:
        # mypy takes a class for not hashable
        checked: T = _adapter(cls).validate_python(value)  # type: ignore[arg-type]
        return checked
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [_fault(each, cls, sections or {}, hidden) for each in found]
    if len(faults) > MOST_FAULTS:
        faults[MOST_FAULTS:] = [f"and {len(faults) - MOST_FAULTS:,} more"]
    raise InvalidInputError(*faults)


def json_schema(cls: type, *, ref: str) -> dict[str, Any]:
    """The JSON Schema of what :func:`validated` takes; *ref* is that of a definition.

    Titles, which repeat the names, are left out, and so are defaults of null.
    """

    def plain(schema: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(schema, list):
            return [plain(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        is_schema = "title" in schema and isinstance(schema["title"], str)
        return {
            key: plain(each)
            for key, each in schema.items()
            if not (is_schema and key == "title")
            and not (key == "default" and each is None)
        }

    found: dict[str, Any] = plain(_adapter(cls).json_schema(ref_template=ref))
    return found


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _fault(
    error: ErrorDetails,
    cls: type,
    sections: Mapping[str, type],
    hidden: Collection[str],
) -> str:
    path = [str(part)[:100] for part in error["loc"]]
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
    kinds = {str: "a text", list: "a list", dict: "a mapping"}
    return next(
        (words for kind, words in kinds.items() if isinstance(found, kind)), "a number"
    )
