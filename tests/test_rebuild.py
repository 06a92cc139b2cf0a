"""A collection made again: unseen until it is whole, then in the place of the old."""

from __future__ import annotations

import pytest

from datasette_embeddings.errors import ModelError, UnknownCollectionError
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import collections, staging
from datasette_embeddings.store.collection_writes import begin_rebuild, unfinished
from tests.models import StandIn


class Other(StandIn):
    model_id = "other"
    dimensions = 4


def rebuild(conn, model, **options):
    return ingest(
        conn,
        "articles",
        table_source(conn, "articles"),
        model,
        options=IngestOptions(rebuild=True, **options),
    )


@pytest.fixture
def built(conn):
    ingest(conn, "articles", table_source(conn, "articles"), StandIn())
    return conn


def names(conn):
    return [name for (name,) in conn.execute("select name from collections")]


def test_another_model_takes_the_place_of_the_first(built):
    assert rebuild(built, Other()).new == 6
    [collection] = collections.collections(built)
    assert (collection.name, collection.model_id) == ("articles", "other")
    assert names(built) == ["articles"]
    assert built.execute("select count(*) from embeddings").fetchone() == (6,)
    assert built.execute("select count(*) from _embedding_collections").fetchone() == (
        1,
    )


def test_the_new_one_is_unseen_until_it_is_whole(built):
    seen = []

    def look(_count):
        seen.append([each.model_id for each in collections.collections(built)])
        with pytest.raises(UnknownCollectionError):
            collections.collection(built, "articles (rebuilding)")

    rebuild(built, Other(), progress=look)
    assert set(map(tuple, seen)) == {("stand-in",)}


def test_a_rebuild_that_is_cut_short_leaves_the_old_and_is_gone_on_with(
    built, monkeypatch
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 2)
    model = Other()

    def stop(_count):
        if len(model.embedded) >= 4:
            model.is_down = True

    with pytest.raises(ModelError):
        rebuild(built, model, progress=stop)
    assert [each.model_id for each in collections.collections(built)] == ["stand-in"]
    assert [each.name for each in unfinished(built)] == ["articles (rebuilding)"]
    model.is_down = False
    report = rebuild(built, model)
    assert (report.new, report.unchanged) == (2, 4)
    assert [each.model_id for each in collections.collections(built)] == ["other"]
    assert unfinished(built) == []


def test_what_was_begun_with_another_source_is_thrown_away(built):
    rebuild(built, Other(), limit=3)
    source = table_source(built, "articles", rules=Source(id_prefix="x/"))
    options = IngestOptions(rebuild=True, replace_source=True)
    assert ingest(built, "articles", source, Other(), options=options).new == 6
    ids = built.execute("select id from embeddings order by id").fetchall()
    assert ids[0] == ("x/1",)


def test_a_rebuild_with_a_limit_only_tries(built):
    assert rebuild(built, Other(), limit=3).new == 3
    assert [each.model_id for each in collections.collections(built)] == ["stand-in"]


def test_a_rebuild_of_nothing_is_a_build(conn):
    assert rebuild(conn, StandIn()).new == 6
    assert [each.name for each in collections.collections(conn)] == ["articles"]


def test_what_a_swap_left_is_removed_by_the_next(built):
    leftover = begin_rebuild(
        built,
        "articles",
        ModelSettings("stand-in", passage_prompt=""),
        table_source(built, "articles"),
    )
    with built:
        for table in ("collections", "_embedding_collections"):
            key = "id" if table == "collections" else "collection_id"
            built.execute(
                f"update {table} set name = 'articles (replaced)' where {key} = ?",
                [leftover.id],
            )
    rebuild(built, Other())
    assert names(built) == ["articles"]


def test_a_collection_of_llm_can_be_rebuilt(built):
    built.execute("delete from _embedding_collections")
    built.commit()
    rebuild(built, Other())
    assert [each.model_id for each in collections.collections(built)] == ["other"]


def test_a_rebuild_may_be_over_another_table(built):
    built.execute("create table notes (id integer primary key, body text)")
    built.execute("insert into notes values (1, 'a note')")
    options = IngestOptions(rebuild=True, replace_source=True)
    ingest(built, "articles", table_source(built, "notes"), StandIn(), options=options)
    collection = collections.collection(built, "articles")
    assert collection.source.permission_tables == ("notes",)
    assert collection.count_items() == 1
