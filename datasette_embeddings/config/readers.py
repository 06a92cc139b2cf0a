"""Values of settings, as they must be; each reader raises ValueError saying how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Reader: TypeAlias = Callable[[object], object]


def text(value: object) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def count(value: object) -> int:
    """A whole number from 1."""
    if type(value) is not int or value < 1:
        raise ValueError("expected a whole number of at least 1")
    return value


def number(value: object) -> int:
    """A whole number from 0."""
    if type(value) is not int or value < 0:
        raise ValueError("expected a whole number")
    return value


def settings(
    value: object, readers: Mapping[str, Reader], *, of: str, example: str
) -> dict[str, object]:
    """What *value* sets, each setting read by its one of *readers*.

    :raises ValueError: naming the first setting *of* this name that cannot be read.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"expected settings such as {example!r} under {of!r}")
    given = {}
    for setting, content in value.items():
        reader = readers.get(setting)
        if reader is None:
            raise ValueError(
                f"unknown setting {setting!r} under {of!r}; there are "
                f"{', '.join(sorted(readers))}"
            )
        try:
            given[setting] = reader(content)
        except ValueError as error:
            raise ValueError(f"{error} for {setting!r} under {of!r}") from error
    return given
