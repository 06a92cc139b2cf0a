"""The colours of a map: clusters and values as a legend, and the entry of each."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.maps.colors import (
    NO_VALUE,
    color_names,
    legend_of,
    read_values,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.metadata_index import index_metadata
from tests.clusters import give_named_clusters
from tests.maps import give_map, many_places, stored_items


def with_values(values, conn=None):
    """A collection with a map whose items have *values* of the key ``kind``."""
    conn = conn or sqlite3.connect(":memory:")
    ids = [f"i{number}" for number in range(len(values))]
    pairs = zip(ids, values, strict=True)
    stored_items(conn, "notes", {each: {"kind": value} for each, value in pairs})
    places = {each: (number, -number) for number, each in enumerate(ids)}
    return give_map(conn, "notes", places)


def shown(legend):
    return [(each.label, each.count) for each in legend.entries]


def positions(found, by, ids):
    return legend_of(found, by).positions(read_values(found, by, ids)).tolist()


def test_values_are_ordered_by_how_many_documents_have_them():
    found = with_values(["b", "a", "c", "a", None, "b", "a"])
    legend = legend_of(found, "kind")
    assert (legend.is_ordered, legend.documents, legend.is_sample) == (False, 7, False)
    assert shown(legend) == [("a", 3), ("b", 2), ("c", 1)]
    assert positions(found, "kind", ["i0", "i1", "i4", "missing"]) == [
        *(1, 0),
        *(NO_VALUE, NO_VALUE),
    ]


def test_beyond_twelve_values_the_rest_are_others():
    values = [f"v{number:02}" for number in range(20) for _ in range(21 - number)]
    found = with_values(values)
    legend = legend_of(found, "kind")
    assert [each.label for each in legend.entries] == [
        *(f"v{number:02}" for number in range(11)),
        "other",
    ]
    assert sum(each.count for each in legend.entries) == len(values)
    assert (legend.entries[11].value, legend.positions(["v19"])[0]) == (None, 11)
    assert len({each.color for each in legend.entries}) == 12


def test_twelve_values_have_no_others():
    legend = legend_of(with_values([f"v{number}" for number in range(12)] * 2), "kind")
    assert (len(legend.entries), legend.positions(["else"])[0]) == (12, NO_VALUE)


@pytest.mark.parametrize(("count", "colored"), [(24, 24), (25, 23), (50, 23)])
def test_up_to_24_clusters_have_a_colour_each_and_of_more_the_largest(count, colored):
    found = with_values(["a"] * count)
    give_named_clusters(
        found.conn,
        found.name,
        {f"word{number}": [f"i{number}"] for number in range(count)},
    )
    entries = legend_of(found, "cluster").entries
    assert len({each.color for each in entries}) == len(entries)
    assert sum(each.value is not None for each in entries) == colored
    smaller = [each.label for each in entries[colored:]]
    assert smaller == ([] if count == 24 else [f"{count - 23} smaller clusters"])
    assert sum(each.count for each in entries) == count


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        (range(1900, 2000), "1900 \N{EN DASH} 1911", "1987 \N{EN DASH} 1999"),
        ([n / 4 for n in range(40)], "0 \N{EN DASH} 1", "8.75 \N{EN DASH} 9.75"),
        (
            [f"2024-01-{day:02}T10:00" for day in range(1, 31)],
            "2024-01-01 \N{EN DASH} 2024-01-03",
            "2024-01-27 \N{EN DASH} 2024-01-30",
        ),
    ],
    ids=["years", "fractions", "days"],
)
def test_many_numbers_and_days_are_ranges(values, first, last):
    found = with_values([*values])
    legend = legend_of(found, "kind")
    assert (legend.is_ordered, len(legend.entries)) == (True, 8)
    assert (legend.entries[0].label, legend.entries[-1].label) == (first, last)
    ids = [f"i{number}" for number in range(len(values))]
    own = positions(found, "kind", ids)
    assert own == sorted(own)
    assert [own.count(each) for each in range(8)] == [e.count for e in legend.entries]


def test_values_beside_the_ranges_have_the_nearest_or_none():
    legend = legend_of(with_values([*range(100), "unknown"]), "kind")
    assert legend.positions([-5, 1000, 12.5, "unknown", None]).tolist() == [
        *(0, 7, 1),
        *(NO_VALUE, NO_VALUE),
    ]
    assert sum(each.count for each in legend.entries) == 100


def test_a_list_has_the_colour_of_its_first_value():
    found = with_values([["a", "b"], ["a"], [], "a", ["b"], {"x": 1}, [["c"]], "[x"])
    assert shown(legend_of(found, "kind")) == [
        *(("a", 3), ("[x", 1), ("b", 1)),
        ('{"x":1}', 1),
    ]


def test_half_of_a_character_in_a_list_is_replaced():
    found = legend_of(with_values([["a\ud800"], ["a\ud800"]]), "kind")
    assert shown(found) == [("a?", 2)]


def test_a_value_that_sql_calls_a_number_and_is_none_has_no_colour(conn):
    conn.execute("create table t (id integer primary key, body text, kind)")
    values = [1e999, -1e999, b"\x00", None, "", "  ", "a", "a", 1]
    conn.executemany(
        "insert into t (body, kind) values ('x', ?)", [(e,) for e in values]
    )
    found = of_table(conn, "t")
    assert shown(legend_of(found, "kind")) == [("a", 2), ("1", 1)]


def of_table(conn, table, **options):
    """A collection over *table* without a model, with all documents on a map."""
    source = table_source(conn, table, content_columns=("body",), **options)
    found = stored_items(conn, table, {})
    conn.execute(
        "insert into _embedding_sources (collection_id, prefix, source, state) "
        "values (?, ?, ?, 'current')",
        [found.id, source.id_prefix, source.to_json()],
    )
    keys = conn.execute(f"select {source.key_columns[0]} from {table}").fetchall()
    ids = [f"{source.id_prefix}{key}" for (key,) in keys]
    conn.executemany(
        "insert into embeddings (collection_id, id, embedding, updated) "
        "values (?, ?, x'0000803f', 1)",
        [(found.id, each) for each in ids],
    )
    conn.commit()
    return give_map(conn, table, {each: (n, n % 3) for n, each in enumerate(ids)})


@pytest.mark.parametrize("kind", ["integer primary key", "text primary key", ""])
def test_the_values_of_a_table_are_those_of_its_rows(conn, kind):
    conn.execute(f"create table t (id {kind}, body text, kind text)")
    conn.executemany("insert into t values (?, 'x', ?)", [(7, "a"), (8, "b"), (9, "a")])
    rules = Source(id_prefix="t/")
    found = of_table(conn, "t", key_columns=("id",), rules=rules)
    assert read_values(found, "kind", ["t/9", "t/8", "t/1", "9"]) == [
        *("a", "b"),
        *(None, None),
    ]


def test_a_long_text_is_not_read(conn):
    conn.execute("create table t (id integer primary key, body text, kind text)")
    conn.execute("insert into t values (1, 'x', ?)", ["y" * 1_000_000])
    [value] = read_values(of_table(conn, "t"), "kind", ["1"])
    assert value == "y" * 200


def test_a_column_that_is_called_cluster_is_another_thing_than_clusters(conn):
    conn.execute("create table t (id integer primary key, body text, cluster text)")
    rows = [(number, "x", f"c{number % 2}") for number in range(1, 9)]
    conn.executemany("insert into t values (?, ?, ?)", rows)
    found = of_table(conn, "t")
    assert color_names(found) == ["column:cluster"]
    with pytest.raises(InvalidInputError, match="has no clusters; the command"):
        legend_of(found, "cluster")
    found = give_named_clusters(conn, "t", {"odd": ["1", "3"], None: ["2"]})
    assert color_names(found) == ["cluster", "column:cluster"]
    assert shown(legend_of(found, "column:cluster")) == [("c0", 4), ("c1", 4)]
    assert shown(legend_of(found, "cluster")) == [("odd", 2)]
    assert positions(found, "cluster", ["1", "2", "9"]) == [0, NO_VALUE, NO_VALUE]


def test_only_columns_that_tell_documents_apart_are_offered(conn):
    conn.execute(
        "create table t (id integer primary key, body text, title text, topic text, "
        "year integer, same text, empty text, picture blob)"
    )
    rows = [(f"title {n}", f"t{n % 4}", 1900 + n) for n in range(40)]
    conn.executemany(
        "insert into t (body, title, topic, year, same, picture) "
        "values ('x', ?, ?, ?, 'same', x'00')",
        rows,
    )
    found = of_table(conn, "t")
    assert color_names(found) == ["topic", "year"]
    # But every other is answered
    assert shown(legend_of(found, "same")) == [("same", 40)]
    assert shown(legend_of(found, "picture")) == []
    assert len(legend_of(found, "title").entries) == 12


@pytest.mark.parametrize("by", ["nonsense", "", "column:", "id", "x" * 1_000_000])
def test_an_unknown_column_is_refused_in_few_words(by):
    with pytest.raises(InvalidInputError) as raised:
        legend_of(with_values(["a", "b"]), by)
    assert len(str(raised.value)) < 300


def test_the_metadata_of_chunks_are_those_of_their_document(conn, model):
    conn.execute("update articles set body = replace(body, '.', char(10, 10) || body)")
    conn.commit()
    rules = Source(metadata_columns=("title",))
    source = table_source(conn, "articles", rules=rules)
    ingest(conn, "articles", source, model)
    found = collection(conn, "articles")
    assert not stored_chunks(found, ["1"])
    conn.execute("update _embedding_sources set state = 'piped'")
    found = give_map(conn, "articles", {"1": (0, 0), "5": (1, 1)})
    assert read_values(found, "title", ["5", "1"]) == ["Kittens", "Sourdough"]
    index_metadata(found, ["title"])
    assert read_values(found, "title", ["5", "1"]) == ["Kittens", "Sourdough"]


def test_of_a_large_map_the_values_of_its_first_tile_are_counted(conn):
    places = many_places(21_000)
    stored_items(conn, "notes", {each: {"kind": each[-1]} for each in places})
    found = give_map(conn, "notes", places)
    legend = legend_of(found, "kind")
    assert (legend.documents, legend.is_sample) == (4_096, True)
    assert sum(each.count for each in legend.entries) == 4_096
    assert {each.label for each in legend.entries} == {*"0123456789"}
