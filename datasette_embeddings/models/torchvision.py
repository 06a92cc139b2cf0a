"""Importing torchvision beside a torch that it was not compiled for.

Whoever installs torch's CPU build first and torchvision from elsewhere afterwards has
two that do not fit: the compiled operators of torchvision cannot be loaded.  It passes
over that by itself, but then describes some of them to torch, which says
``RuntimeError: operator torchvision::nms does not exist``, and nothing that imports
torchvision can be imported any more.  open_clip needs only what is written in Python
there, the transforms, and these work without a single operator.  So we import it with
the descriptions of operators that are not there left out; to use such an operator
remains the error that it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

Fake = TypeVar("Fake", bound=Callable[..., Any])
MISSING = "does not exist"
NAMESPACE = "torchvision::"


def import_torchvision() -> None:
    """Import torchvision, with or without its compiled operators.

    :raises ImportError: if it is not installed.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if NAMESPACE not in str(error) or MISSING not in str(error):
            raise
        _forget("torchvision")
        with _passing_over_missing_operators():
            import_module("torchvision")


def _forget(package: str) -> None:
    """Drop what a failed import of *package* left half imported."""
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]


@contextmanager
def _passing_over_missing_operators() -> Iterator[None]:
    """Within, a fake of an operator of torchvision's that does not exist is skipped."""
    from torch import library

    register_fake = library.register_fake

    def register_what_exists(operator: str) -> Callable[[Fake], Fake]:
        register = register_fake(operator)

        def registered(function: Fake) -> Fake:
            try:
                register(function)
            except RuntimeError as error:
                if NAMESPACE not in str(error) or MISSING not in str(error):
                    raise
            return function

        return registered

    library.register_fake = register_what_exists  # type: ignore[assignment]
    try:
        yield
    finally:
        library.register_fake = register_fake
