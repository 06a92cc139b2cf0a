"""Where an item is on the owner's site: the setting ``url`` and its addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote

from datasette_embeddings.errors import InvalidInputError, SourceError, quoted
from datasette_embeddings.sources.content import ROW, columns_of_template
from datasette_embeddings.sources.definitions import Source

#: What a template knows of every item
ITEM_NAMES = ("id", "path", "title")
# No server takes a longer address
LONGEST_ADDRESS = 2_000
# Of this site or another one; never javascript: or data:
SAFE_START = re.compile(r"https?://|/(?![/\\])", re.IGNORECASE)
SAFE_ADDRESS = re.compile(r"https?://[^/\\?#]|/(?![/\\])", re.IGNORECASE)
IS_TEMPLATE = re.compile(r"\{[{%#]")
# What a site shows as a page without it
PAGE_SUFFIX = re.compile(r"\.(md|markdown|mdx|rst)$", re.IGNORECASE)
# What a template may have, by the names of Jinja's classes.  A database from
# another person has templates too: without loops, calls and products none takes long,
# and of the filters only "replace" makes a text longer
NODES = {
    *("Template", "Output", "TemplateData", "Name", "Const", "Getattr", "Getitem"),
    *("Slice", "Filter", "Keyword", "Concat", "CondExpr", "Compare", "Operand", "Test"),
    *("And", "Or", "Not", "Neg", "Add", "Sub", "Div", "FloorDiv"),
}
FILTERS = ("default", "first", "int", "last", "lower", "string", "trim", "upper")
LONGEST_TEMPLATE = 1_000
# What may stand in an address, and % of what is encoded already
RESERVED = "/:?#[]@!$&'()*+,;=%~"


def link_template(url: str) -> str:
    """The template that the setting *url* is; without braces, it stands before ids.

    :raises InvalidInputError: if it cannot make an address, or is not simple enough.
    :raises SourceError: if it is no template.
    """
    if not IS_TEMPLATE.search(url):
        # https://example.com/notes is a folder
        url += "/{{ path }}" if url[-1:].isalnum() else "{{ path }}"
    _compiled(url)
    start = url.partition("{")[0]
    if start and not SAFE_START.match(start):
        raise InvalidInputError(
            "Expected a url that begins with https://, http:// or /; "
            f"found {quoted(url)}"
        )
    return url


def columns_of_link(url: str, names: Sequence[str]) -> list[str]:
    """Those of *names* that the template *url* uses, then what no item has."""
    found = columns_of_template(url, names)
    return [each for each in found if each in names or each not in (*ITEM_NAMES, ROW)]


def link(source: Source, document_id: str, values: Mapping[str, object]) -> str | None:
    """The address of a document of *source*; None if *values* do not make a safe one.

    They are its columns or metadata, and its title.
    """
    if source.url is None:
        return None
    own_id = document_id.removeprefix(source.id_prefix)
    known = {"id": own_id, "path": PAGE_SUFFIX.sub("", own_id), **values}
    try:
        address = _compiled(source.url)({ROW: known, **known})
    except Exception:  # a template may fail in any way, and other results are shown
        return None
    is_safe = SAFE_ADDRESS.match(address) and len(address) <= LONGEST_ADDRESS
    return address if is_safe else None


def _in_address(value: object) -> str:
    """*value* as a part of an address, or as all of it.

    :raises TypeError: for what is no text and no number, such as NULL.
    """
    if not isinstance(value, str | int | float):
        raise TypeError(f"Expected a text or a number, found {type(value).__name__}")
    text = str(value)
    is_address = re.match("https?://", text, re.IGNORECASE)
    return quote(text, safe=RESERVED if is_address else "/")


# Every result of a search has the same few
@lru_cache(maxsize=64)
def _compiled(url: str) -> Callable[[Mapping[str, object]], str]:
    """The template *url* as a function of what it may insert, in a sandbox."""
    from jinja2 import StrictUndefined, TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if len(url) > LONGEST_TEMPLATE:
        raise InvalidInputError(
            f"Expected a url of at most {LONGEST_TEMPLATE:,} characters, found "
            f"{len(url):,}"
        )
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_in_address
    )
    known = environment.filters
    environment.filters = {name: known[name] for name in FILTERS}
    environment.filters["replace"] = _replaced
    try:
        # Before it is compiled, which computes what is constant
        for node in environment.parse(url).find_all(nodes.Node):
            if type(node).__name__ not in NODES:
                raise InvalidInputError(
                    "Expected a url with names, filters and conditions in {{ }}, "
                    f"found {type(node).__name__} in {quoted(url)}"
                )
        template = environment.from_string(url)
    except (TemplateError, RecursionError) as error:
        raise SourceError(f"The template cannot be read: {error}") from error
    return template.render


def _replaced(value: object, old: str, new: str) -> str:
    """*value* with *new* in place of each *old*."""
    text = str(value)
    if len(text) > LONGEST_ADDRESS:
        raise ValueError("The text is longer than an address")
    return text.replace(str(old), str(new))
