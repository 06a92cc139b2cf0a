"""Values of settings, as they must be; each reader raises ValueError saying how."""

from __future__ import annotations


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
