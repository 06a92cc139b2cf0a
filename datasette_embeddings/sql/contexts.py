"""The passages of a collection that answer a question, as JSON."""

from __future__ import annotations

import json

from datasette_embeddings.context.budget import counter_of
from datasette_embeddings.context.building import BestChunks, build, chunk_options
from datasette_embeddings.context.passages import context_json
from datasette_embeddings.search.answers import Answer
from datasette_embeddings.search.matches import matches
from datasette_embeddings.sql.calls import sql_function
from datasette_embeddings.sql.context import Context
from datasette_embeddings.sql.searches import digest, remembered, text_hits
from datasette_embeddings.store.collections import StoredCollection


@sql_function("embed_context(collection, question, tokens)", deterministic=False)
def embed_context(context: Context, collection: str, question: str, tokens: int) -> str:
    """The passages that answer a question, in at most so many tokens: JSON.

    ``->> 'text'`` is the text for a language model, with numbered sources, and
    ``json_each(…, '$.passages')`` has a row a passage. Tokens are from 50 to 20,000.
    """

    def answer(found: StoredCollection) -> str:
        hits = text_hits(context, found, question, chunk_options(tokens))
        best = Answer(matches(found, hits.hits), hits.mode, hits.corrected, hits.close)
        chunks = BestChunks.of(found, best)
        count = counter_of(context.model(found.model_id))
        built = build(question, [chunks], tokens=tokens, count=count)
        return json.dumps(context_json(built), ensure_ascii=False)

    key = "context", collection, digest(question), tokens
    return remembered(context, key, answer)
