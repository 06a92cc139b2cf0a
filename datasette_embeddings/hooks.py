"""Hooks for plugins of Datasette: ways to chunk texts, and captions of images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pluggy import HookspecMarker

from datasette_embeddings.documents import AUTO_CHUNKS, METHODS, NO_CHUNKS
from datasette_embeddings.errors import (
    InvalidInputError,
    SourceError,
    listed,
    quoted,
    shortened,
)

#: From a text to the start and end of each chunk, in characters
Chunker: TypeAlias = Callable[[str], Iterable[tuple[int, int]]]
#: From the bytes of an image to a text about it
Captioner: TypeAlias = Callable[[bytes], str]

hookspec = HookspecMarker("datasette")


@hookspec
def register_embedding_chunkers() -> Mapping[str, Chunker]:
    """Functions by name: from a text to the spans ``(start, end)`` of its chunks."""
    raise NotImplementedError


@hookspec
def register_embedding_captions() -> Mapping[str, Captioner]:
    """Functions by name: from the bytes of an image to a text about it."""
    raise NotImplementedError


def chunker(name: str) -> Chunker:
    """The chunker that a plugin registers as *name*.

    :raises InvalidInputError: if none does.
    """
    known = _registered(register_embedding_chunkers.__name__)
    if name not in known:
        own = ", ".join((AUTO_CHUNKS, NO_CHUNKS, *METHODS))
        raise InvalidInputError(
            f"Expected a chunking method, one of {own}, or one of an installed plugin "
            f"({_names(known)}); found {quoted(name)}. Install the plugin that has it, "
            "or choose another with --chunk"
        )
    found: Chunker = known[name]
    return found


def captioner(name: str) -> Captioner:
    """What a plugin registers as *name* to make captions of images.

    :raises InvalidInputError: if none does.
    """
    known = _registered(register_embedding_captions.__name__)
    if name not in known:
        raise InvalidInputError(
            f"Expected captions of an installed plugin ({_names(known)}), found "
            f"{quoted(name)}. Install the plugin that has it, or choose another with "
            "--caption"
        )
    found: Captioner = known[name]
    return found


def _names(known: Mapping[str, object]) -> str:
    return listed(sorted(known)) if known else "there is none"


def _registered(hook: str) -> dict[str, Any]:
    """What all plugins return for *hook*, by name."""
    from datasette.plugins import pm

    caller = getattr(pm.hook, hook, None)
    if caller is None or not caller.has_spec():
        pm.add_hookspecs(sys.modules[__name__])
        caller = getattr(pm.hook, hook)
    found: dict[str, Any] = {}
    for each in caller.get_hookimpls():
        try:
            functions = dict(each.function())
        except Exception as error:  # a plugin may fail in any way
            raise InvalidInputError(
                f"{hook}() of the plugin {each.plugin_name} failed, or gave no "
                f"dictionary: {error}"
            ) from error
        for name in found.keys() & functions.keys():
            raise InvalidInputError(
                f"Expected different names from {hook}(), found {quoted(name)} in two "
                "plugins; uninstall one of them"
            )
        found |= functions
    return found


def failure(kind: str, name: str, error: Exception) -> str:
    """Why a function of a plugin failed on one document: *kind* is what it makes."""
    reason = str(error)
    if not isinstance(error, SourceError):
        reason = f"{type(error).__name__}: {error}"
    return shortened(f"The {kind} {quoted(name)} of a plugin failed: {reason}")
