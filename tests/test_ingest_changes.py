"""What a run embeds, what it does not, and what it tells of rows that it cannot."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import (
    InvalidInputError,
    ModelError,
    ModelSettingsMismatchError,
)
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.base import ignore
from datasette_embeddings.sources.definitions import (
    FileSource,
    FolderSource,
    QuerySource,
    Source,
)
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store import staging
from datasette_embeddings.store.collections import collection, collections
from tests.models import Eyes, StandIn


@pytest.fixture
def stand_in():
    return StandIn()


def sync(conn, model, *, rules=None, **options):
    source = table_source(conn, "articles", rules=rules or Source())
    return ingest(conn, "articles", source, model, options=IngestOptions(**options))


def vectors(conn):
    return dict(conn.execute("select id, embedding from embeddings"))


def failures(conn):
    return collection(conn, "articles").failures()


def test_content_that_moves_to_another_id_is_not_embedded_again(conn, stand_in):
    sync(conn, stand_in)
    before = vectors(conn)
    stand_in.embedded.clear()
    conn.execute("update articles set id = id + 100 where id < 4")
    report = sync(conn, stand_in, prune=True)
    assert report == Report(new=3, unchanged=3, gone=3, pruned=True)
    assert stand_in.embedded == []
    moved = {str(int(item) + 100 if int(item) < 4 else item) for item in before}
    after = vectors(conn)
    assert set(after) == moved
    assert after["101"] == before["1"]


def test_the_same_content_under_two_ids_is_embedded_once_and_kept_twice(conn, stand_in):
    conn.execute("update articles set title = 'same', body = 'text'")
    assert sync(conn, stand_in).new == 6
    assert stand_in.embedded == ["same text"]
    conn.execute("insert into articles values (7, 'same', 'text')")
    conn.execute("update articles set title = 'other' where id = 1")
    assert sync(conn, stand_in) == Report(new=1, changed=1, unchanged=5)
    assert stand_in.embedded == ["same text", "other text"]
    assert len(vectors(conn)) == 7


def test_equal_texts_in_different_windows_are_embedded_once(
    conn, stand_in, monkeypatch
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 1)
    conn.execute("update articles set title = 'same', body = 'text'")
    sync(conn, stand_in)
    assert stand_in.embedded == ["same text"]


def test_contents_that_are_swapped_in_one_window_are_both_right(conn, stand_in):
    sync(conn, stand_in)
    before = vectors(conn)
    conn.executescript(
        """
        update articles set id = -1 where id = 1;
        update articles set id = 1 where id = 2;
        update articles set id = 2 where id = -1;
        """
    )
    assert sync(conn, stand_in) == Report(changed=2, unchanged=4)
    after = vectors(conn)
    assert (after["1"], after["2"]) == (before["2"], before["1"])


def test_metadata_that_changes_costs_no_run_of_the_model(conn, stand_in):
    conn.execute("alter table articles add column year integer")
    rules = Source(metadata_columns=("year",))
    sync(conn, stand_in, rules=rules)
    stand_in.embedded.clear()
    conn.execute("update articles set year = 2026 where id = 3")
    assert sync(conn, stand_in, rules=rules) == Report(metadata=1, unchanged=5)
    assert stand_in.embedded == []
    rows = conn.execute("select id, metadata from embeddings order by id").fetchall()
    assert rows[2] == ("3", '{"year": 2026}')
    assert rows[3] == ("4", '{"year": null}')


def test_another_template_changes_every_row(conn, stand_in):
    sync(conn, stand_in)
    rules = Source(template="{{ title }}: {{ body }}")
    assert sync(conn, stand_in, rules=rules).changed == 6
    assert stand_in.embedded[-1].startswith("Backups: Copy the database")


def test_another_prompt_is_refused_with_the_way_out(conn, stand_in):
    sync(conn, stand_in)
    before = vectors(conn)
    other = StandIn(prompt="passage: ")
    with pytest.raises(
        ModelSettingsMismatchError, match="the collection with embed --rebuild"
    ):
        sync(conn, other)
    assert vectors(conn) == before
    assert sync(conn, other, rebuild=True).new == 6
    assert vectors(conn) != before


def test_the_first_of_two_rows_with_one_id_is_kept_and_the_other_told_of(
    conn, stand_in
):
    sql = "select 'a', 'one' union all select 'a', 'two' union all select 'b', 'three'"
    report = ingest(conn, "articles", query_source(conn, sql), stand_in)
    assert (report.new, report.failed) == (2, 1)
    assert conn.execute("select id, content from embeddings").fetchall() == [
        ("a", "one"),
        ("b", "three"),
    ]
    [failure] = failures(conn)
    assert failure.id == "a"
    assert "comes more than once" in failure.error


@pytest.mark.parametrize("window", [1, 2, 1_000])
def test_a_text_that_the_model_cannot_take_fails_alone(conn, monkeypatch, window):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", window)
    model = StandIn(poison="telescope")
    report = sync(conn, model)
    assert (report.new, report.failed) == (5, 1)
    [failure] = failures(conn)
    assert (failure.id, failure.error) == ("2", "The model cannot take this")
    model.poison = None
    assert sync(conn, model) == Report(new=1, unchanged=5)
    assert failures(conn) == []


def test_a_row_that_fails_keeps_the_vector_it_had_and_is_not_gone(conn):
    model = StandIn(poison="poison")
    sync(conn, model)
    before = vectors(conn)
    conn.execute("update articles set body = 'poison' where id = 2")
    for attempt in (1, 2):
        report = sync(conn, model, prune=True)
        assert (report.unchanged, report.failed, report.gone) == (5, 1, 0)
        assert vectors(conn) == before
        assert [each.attempts for each in failures(conn)] == [attempt]


def test_a_vector_with_infinite_numbers_is_a_failure(conn, stand_in):
    conn.execute("update articles set body = 'infinite' where id = 2")
    assert sync(conn, stand_in).failed == 1
    assert "not finite" in failures(conn)[0].error
    assert "2" not in vectors(conn)


def test_a_model_that_is_down_ends_the_run_and_records_no_row(conn, stand_in):
    sync(conn, stand_in)
    conn.execute("update articles set body = 'new' where id < 4")
    before = vectors(conn)
    with pytest.raises(ModelError, match="cannot take this"):
        sync(conn, StandIn(is_down=True))
    assert (vectors(conn), failures(conn)) == (before, [])
    assert sync(conn, stand_in) == Report(changed=3, unchanged=3)


def test_text_that_utf_8_cannot_hold_is_a_failure(tmp_path, conn, stand_in):
    path = tmp_path / "rows.nl"
    path.write_text('{"id": "a", "text": "\\ud800"}\n{"id": "b", "text": "fine"}\n')
    report = ingest(conn, "articles", FileSource(str(path)), stand_in)
    assert (report.new, report.failed) == (1, 1)
    assert "UTF-8" in failures(conn)[0].error


def test_a_limit_takes_the_first_rows_and_counts_nothing_as_gone(conn, stand_in):
    assert sync(conn, stand_in, limit=2) == Report(new=2)
    assert set(vectors(conn)) == {"1", "2"}
    assert collection(conn, "articles").synced is None
    assert sync(conn, stand_in) == Report(new=4, unchanged=2)
    assert sync(conn, stand_in, limit=2, prune=True).gone == 0
    assert len(vectors(conn)) == 6


def test_a_dry_run_tells_everything_and_writes_nothing(tmp_path, conn, stand_in):
    sync(conn, stand_in)
    conn.execute("update articles set body = 'new' where id = 1")
    conn.execute("delete from articles where id = 2")
    conn.execute(
        "insert into articles values (7, 'x', 'y'), (8, '', ''), (9, x'00', '')"
    )
    conn.commit()
    before = list(conn.iterdump())
    report = sync(conn, stand_in, dry_run=True)
    assert (report.new, report.changed, report.unchanged) == (1, 1, 4)
    assert (report.empty, report.failed, report.gone) == (1, 1, 1)
    assert list(conn.iterdump()) == before


def test_a_dry_run_needs_no_write_access_and_no_collection(articles_db, stand_in):
    conn = sqlite3.connect(f"{articles_db.as_uri()}?mode=ro", uri=True)
    source = QuerySource("select id, body from articles")
    report = ingest(
        conn, "other", source, stand_in, options=IngestOptions(dry_run=True)
    )
    assert (report.new, report.is_dry_run) == (6, True)
    conn.close()


def test_a_source_without_rows_makes_an_empty_collection(conn, stand_in):
    source = query_source(conn, "select id, title from articles where id > 100")
    assert ingest(conn, "articles", source, stand_in) == Report()
    assert collection(conn, "articles").count_items() == 0


def test_images_are_embedded_and_kept_as_bytes(tmp_path, conn):
    (tmp_path / "a.png").write_bytes(b"\x89PNG image")
    (tmp_path / "b.png").write_bytes(b"no image")
    source = FolderSource(((str(tmp_path), "*.png"),), images=True)
    report = ingest(conn, "articles", source, Eyes())
    assert (report.new, report.failed) == (1, 1)
    row = conn.execute("select id, content, content_blob from embeddings").fetchone()
    assert row == ("a.png", None, b"\x89PNG image")
    assert ingest(conn, "articles", source, Eyes()).unchanged == 1


def test_a_file_that_is_too_large_for_an_image_is_not_read(tmp_path, conn):
    (tmp_path / "a.png").write_bytes(b"\x89PNG image")
    with (tmp_path / "b.png").open("wb") as file:
        # A hole: it takes no room on the disk
        file.truncate(2_000_000_000)
    source = FolderSource(((str(tmp_path), "*.png"),), images=True)
    report = ingest(conn, "articles", source, Eyes())
    assert (report.new, report.failed) == (1, 1)
    [failure] = report.failures
    assert "at most 50,000,000 bytes, found 2,000,000,000" in failure.error


def test_a_model_of_images_only_that_is_down_ends_the_run(tmp_path, conn):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG %d" % number)
    source = FolderSource(((str(tmp_path), "*.png"),), images=True)
    asked = []

    class Blind(Eyes):
        supports_text = False

        def image_outcomes(self, images, *, progress=ignore):
            asked.append(len(images))
            raise ModelError("401: no key")

    with pytest.raises(ModelError, match="401: no key"):
        ingest(conn, "articles", source, Blind())
    assert asked == [3, 1]


def test_images_for_a_model_of_texts_are_refused_at_once(tmp_path, conn, stand_in):
    source = FolderSource(((str(tmp_path), "*"),), images=True)
    with pytest.raises(InvalidInputError, match="takes texts, not images"):
        ingest(conn, "articles", source, stand_in)
    assert collections(conn) == []


def test_no_window_goes_through_the_whole_collection(conn, stand_in):
    """What is asked once for every window must not take longer as items grow."""
    sync(conn, stand_in)
    statements = []
    conn.execute("update articles set body = 'other' where id = 1")
    conn.set_trace_callback(statements.append)
    sync(conn, stand_in, rules=Source(chunking=Chunking("fixed", size=5)))
    conn.set_trace_callback(None)
    for sql in statements:
        if "content_hash in" not in sql and "delete from embeddings" not in sql:
            continue
        details = [row[3] for row in conn.execute(f"explain query plan {sql}")]
        about = [each for each in details if " embeddings " in each]
        assert about
        assert all("AND id=?" in each or "content_hash=?" in each for each in about)
