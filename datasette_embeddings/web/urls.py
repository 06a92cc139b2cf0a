"""The address of a request: its query string, parsed once, and links that change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qsl, urlencode

from datasette.utils import MultiParams
from datasette.utils.asgi import Request

from datasette_embeddings.errors import InvalidInputError

# Parameters of one query string: a thousand filters, and every other parameter
MOST_PARAMETERS = 1_100
# Parameters that do not change which rows are found, nor their order: Datasette's, that
# of plugins that log a visitor in, and jQuery's against caches
HARMLESS = (
    *("_", "_auth_token"),
    *("_trace", "_context", "_ttl", "_hash", "_timelimit", "_extra", "_extras"),
    *("_json", "_json_infinity", "_labels", "_label", "_col", "_nocol"),
    *("_nocount", "_nofacet", "_nosuggest", "_header", "_stream", "_dl"),
)
# What users of other APIs, and of Datasette's table pages, try first
SYNONYMS = {
    **dict.fromkeys(("_limit", "_per_page"), "_size"),
    **dict.fromkeys(("_offset", "_page"), "_next"),
    **dict.fromkeys(("_search", "_q", "_text"), "q"),
}
LONGEST_SHOWN_NAME = 40


@dataclass(frozen=True)
class Address:
    """A path, and the names and values of its query string in their order."""

    path: str
    pairs: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, request: Request, *, most: int = MOST_PARAMETERS) -> Address:
        """The address of *request*; parameters are counted before they are parsed."""
        found = request.query_string.count("&") + 1
        if found > most:
            raise InvalidInputError(
                f"Expected at most {most:,} parameters in the address, found {found:,}"
            )
        pairs = parse_qsl(request.query_string, keep_blank_values=True)
        return cls(request.path, pairs)

    @cached_property
    def args(self) -> MultiParams:
        """The values by name."""
        return MultiParams(list(self.pairs))

    def without(self, name: str) -> Address:
        """The address without the parameter *name*."""
        return Address(self.path, [pair for pair in self.pairs if pair[0] != name])

    def check_names(self, known: Collection[str]) -> None:
        """Refuse a parameter that begins with "_", unless it is known or harmless."""
        for name in self.args:
            if is_special(name) and name not in known and name not in HARMLESS:
                raise InvalidInputError(_unknown(name, known))

    def with_args(
        self, changed: Mapping[str, str | None], path: str | None = None
    ) -> str:
        """The path, or *path*, with other values for the names in *changed*.

        None removes a name.
        """
        kept = [pair for pair in self.pairs if pair[0] not in changed]
        new = [(name, value) for name, value in changed.items() if value is not None]
        return joined(path or self.path, [*kept, *new])

    def next_path(self, offset: int | None) -> str | None:
        """The page that begins at *offset*; None without one."""
        return None if offset is None else self.with_args({"_next": str(offset)})

    def toggle_filter(self, pair: tuple[str, str]) -> str:
        """The first page without the filter *pair*, or with it if it is not set."""
        changed = urlencode([pair])
        kept = [
            each
            for each in self._encoded
            if each != changed and not each.startswith("_next=")
        ]
        if pair not in self.pairs:
            kept.append(changed)
        return f"{self.path}?{'&'.join(kept)}" if kept else self.path

    @cached_property
    def _encoded(self) -> Sequence[str]:
        """Each pair as part of a query string; the links of a page share them."""
        return [urlencode([pair]) for pair in self.pairs]


def joined(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    """*path* with the query string of *pairs*."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def is_special(name: str) -> bool:
    """Whether a name in a query string is a parameter of this plugin, not a column."""
    return name.startswith("_") and "__" not in name


def _unknown(name: str, known: Collection[str]) -> str:
    shown = name[:LONGEST_SHOWN_NAME]
    message = f"Unknown parameter {shown!r}"
    if not known:
        return f"{message}; this address has none that begins with _"
    meant = SYNONYMS.get(name)
    message += f", did you mean {meant}?" if meant in known else "."
    message += f" Known: {', '.join(sorted(known))}"
    if "_facet" in known:
        message += f". To filter by a column of this name, use {shown}__exact"
    return message
