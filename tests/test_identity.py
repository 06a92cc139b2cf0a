"""A collection remembers how its vectors were made, and refuses others."""

from __future__ import annotations

import pytest

from datasette_embeddings.errors import ModelMismatchError, ModelSettingsMismatchError
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import collections
from tests.models import StandIn

# What a model may come with another time, in words
FACTS = {
    "revision": ("abc", "def", "revision"),
    "query_prompt": ("query: ", "question: ", "query prompt"),
    "passage_prompt": ("passage: ", "", "passage prompt"),
    "normalized": (True, False, "normalized"),
}


def model_with(**facts):
    made = StandIn()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def built(conn, model, **options):
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model, options=IngestOptions(**options))
    return collections.collection(conn, "articles")


@pytest.mark.parametrize("fact", FACTS)
def test_what_a_collection_was_made_with_is_remembered(conn, fact):
    then, _now, _words = FACTS[fact]
    collection = built(conn, model_with(**{fact: then}))
    assert getattr(collection.settings, fact) == then
    assert getattr(collection.settings, fact) == then


@pytest.mark.parametrize("fact", FACTS)
def test_a_model_that_is_set_up_otherwise_is_refused_with_the_way_out(conn, fact):
    then, now, words = FACTS[fact]
    collection = built(conn, model_with(**{fact: then}))
    before = conn.execute("select id, embedding from embeddings").fetchall()
    other = model_with(**{fact: now})
    said = f"the {words} {then!r}, and the model now has {now!r}.*--rebuild"
    with pytest.raises(ModelSettingsMismatchError, match=said):
        built(conn, other)
    if fact == "passage_prompt":
        # No query has it
        assert search_text(collection, "anything", model=other)
    else:
        with pytest.raises(ModelSettingsMismatchError, match=said):
            search_text(collection, "anything", model=other)
    assert conn.execute("select id, embedding from embeddings").fetchall() == before
    rebuilt = built(conn, other, rebuild=True)
    assert getattr(rebuilt.settings, fact) == now
    assert search_text(rebuilt, "anything", model=other)


@pytest.mark.parametrize("fact", ["revision", "normalized"])
def test_what_one_of_them_does_not_know_is_not_held_against_it(conn, fact):
    then, now, _words = FACTS[fact]
    collection = built(conn, model_with(**{fact: None}))
    search_text(collection, "anything", model=model_with(**{fact: now}))
    # From now on it is known
    collection = built(conn, model_with(**{fact: then}))
    assert getattr(collection.settings, fact) == then
    search_text(collection, "anything", model=StandIn())


def test_other_dimensions_are_refused(conn):
    built(conn, StandIn())
    with pytest.raises(
        ModelSettingsMismatchError, match=r"the dimensions 4, and .* has 8"
    ):
        built(conn, model_with(dimensions=8))


def test_another_model_is_refused_in_a_search_too(conn):
    collection = built(conn, StandIn())
    with pytest.raises(
        ModelMismatchError, match="holds vectors of 'stand-in', not of 'x'"
    ):
        search_text(collection, "anything", model=model_with(model_id="x"))
