"""The passages that answer a question, in JSON: for programs that ask a chat model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Annotated, Any, TypeAlias

from datasette.app import Datasette
from datasette.database import Database
from datasette.utils import MultiParams, tilde_decode
from datasette.utils.asgi import Request, Response

from datasette_embeddings import validation
from datasette_embeddings.config import (
    DEFAULT_TOKENS,
    LEAST_TOKENS,
    MOST_VISITOR_TOKENS,
    Config,
)
from datasette_embeddings.context.budget import MOST_CHARACTERS, counter_of
from datasette_embeddings.context.building import (
    MOST_OTHERS,
    BestChunks,
    build,
    chunk_count,
)
from datasette_embeddings.context.passages import Context, context_json
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.search.answers import Answer
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import checked_query
from datasette_embeddings.validation import (
    AnyText,
    Checked,
    Expected,
    validated,
    whole_number,
)
from datasette_embeddings.web.compat import Actor
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.middleware import cors_headers, json_view
from datasette_embeddings.web.permissions import NOT_SERVED
from datasette_embeddings.web.resolve import (
    Absolute,
    Target,
    resolve_target,
    visible_targets,
)
from datasette_embeddings.web.search_request import (
    LIKE,
    QUERY,
    ClusterFilter,
    Filters,
    QueryText,
    SearchRequest,
    filters_of,
    number_of,
)
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

TOKENS, ALSO = "_tokens", "_also"
#: Names in a query string, and the fields that they set; other names are columns
NAMES = {
    QUERY: "question",
    TOKENS: "tokens",
    ALSO: "also",
    "_prefix": "prefix",
    "_cluster": "cluster",
}
FIELD_NAMES = {field_name: name for name, field_name in NAMES.items()}
# Characters of DATABASE/COLLECTION in an address, tilde-encoded
LONGEST_NAME = 2_000


def _others(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not all(
        isinstance(each, str) and 0 < len(each) <= LONGEST_NAME for each in names
    ):
        raise ValueError
    if len(names) > MOST_OTHERS:
        raise InvalidInputError(
            f"Expected at most {MOST_OTHERS} other collections, found {len(names):,}"
        )
    return tuple(names)


Tokens: TypeAlias = Annotated[
    int,
    Expected(
        f"a whole number from {LEAST_TOKENS} to {MOST_VISITOR_TOKENS:,}",
        read=whole_number,
        component="Tokens",
        ge=LEAST_TOKENS,
        le=MOST_VISITOR_TOKENS,
    ),
]
Others: TypeAlias = Annotated[
    tuple[AnyText, ...],
    Expected("names of collections", read=_others, component="Others"),
]


@dataclass(frozen=True, kw_only=True)
class ContextRequest(Checked):
    """A question, and how many tokens the passages that answer it may take."""

    question: QueryText
    """What the passages should answer."""
    tokens: Tokens = DEFAULT_TOKENS
    """How many tokens the text may have at most."""
    also: Others = ()
    """Other collections to read, each COLLECTION or DATABASE/COLLECTION."""
    prefix: AnyText = ""
    """Of the first collection, only items whose ids begin with it."""
    cluster: ClusterFilter = ()
    """Of that, only items of these clusters: 3, several as "3,5", or none."""
    filters: Filters = ()
    """Conditions on columns of its source table, or on the metadata of its items."""

    def searches(self, most: int) -> Iterator[SearchRequest]:
        """The searches of each collection, for at most *most* matches.

        The filters are about the first collection, of which the others have no columns.
        """
        size = min(chunk_count(self.tokens), most)
        plain = SearchRequest(text=self.question, chunks="all", size=size)
        yield replace(
            plain, prefix=self.prefix, cluster=self.cluster, filters=self.filters
        )
        yield from repeat(plain)


@json_view("GET", "HEAD", "POST", limited=True)
async def context_view(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}/context.json``"""
    target = await resolve_target(datasette, request)
    config, address = config_of(datasette), Address.of(request)
    if body is None:
        address.check_names(NAMES)
        asked = _from_args(address.args, config)
    else:
        address.check_names(())
        asked = _checked(validation.json_object(body), config)
    targets = [target]
    for name in asked.also:
        other = await _other(datasette, request.actor, target.database, name)
        if not any(_is_same(other, each) for each in targets):
            targets.append(other)
    started = time.perf_counter()
    # A text that leaves the site needs whole addresses
    absolute = partial(datasette.absolute_url, request)
    found = await run_context(targets, asked, absolute)
    took_ms = (time.perf_counter() - started) * 1000
    answer = {"ok": True, **context_json(found), "took_ms": round(took_ms, 1)}
    return Response.json(answer, headers=cors_headers(datasette, request))


async def run_context(
    targets: Sequence[Target], asked: ContextRequest, absolute: Absolute
) -> Context:
    """The context of *asked* from *targets*; the model of the first counts tokens.

    *absolute* makes the addresses of its sources.
    """
    found = list[BestChunks]()
    # A visitor makes the server read no more texts than by a search
    searches = asked.searches(config_of(targets[0].datasette).max_size)
    for target, search in zip(targets, searches, strict=False):
        response = await run_search(target, search)
        answer = Answer(
            [
                _within(target.linked(each, absolute), asked.tokens)
                for each in response.matches
            ],
            response.mode or search.mode,
            response.corrected,
            response.close,
        )
        name = target.database.name
        found.append(BestChunks.of(target.collection, answer, database=name))
    model = await targets[0].model()
    loaded = model.loaded()
    if loaded is None:
        loaded = await model.run(model.load)
    work = partial(build, asked.question, found, tokens=asked.tokens)
    return await model.run(partial(work, count=counter_of(loaded)))


def _within(match: Match, tokens: int) -> Match:
    """*match* with no more text than is read: the others may be long, and wait."""
    # One character more shows that the text goes on
    most = tokens * MOST_CHARACTERS + 1
    return replace(match, content=match.content and match.content.rstrip()[:most])


def _is_same(one: Target, other: Target) -> bool:
    """Whether both are one collection."""
    is_one_database = one.database.name == other.database.name
    return is_one_database and one.collection.name == other.collection.name


async def _other(
    datasette: Datasette, actor: Actor, home: Database, named: str
) -> Target:
    """The collection that is *named* as in an address, if *actor* may see it.

    One of *home*, unless its database is named as well.
    """
    route, slash, name = named.rpartition("/")
    with suppress(KeyError):
        database = datasette.get_database(route=tilde_decode(route)) if slash else home
        if database.name not in NOT_SERVED:
            name = tilde_decode(name)
            for target in await visible_targets(datasette, actor, database, name):
                return target
    raise NotFoundError(f"Collection not found: {named:.200}")


def _from_args(args: MultiParams, config: Config) -> ContextRequest:
    """The request of a query string."""
    if LIKE in args:
        raise InvalidInputError(f"Expected {QUERY}, found {LIKE}")
    given: dict[str, Any] = {
        field_name: args[name]
        for name, field_name in NAMES.items()
        if args.get(name) or (name in args and name == QUERY)
    }
    if ALSO in args:
        given["also"] = [each for each in args.getlist(ALSO) if each]
    if "cluster" in given:
        given["cluster"] = ",".join(args.getlist("_cluster"))
    with suppress(ValueError):
        given["tokens"] = number_of(args.get(TOKENS))
    found = _checked(given, config, FIELD_NAMES)
    return replace(found, filters=filters_of(args))


def _checked(
    given: dict[str, Any], config: Config, names: dict[str, str] | None = None
) -> ContextRequest:
    """The request of the fields *given*, which *names* have in the request."""
    found = validated(ContextRequest, given, names=names or {})
    checked_query(found.question, max_length=config.max_query_length)
    return found
