"""Maps on the command line, in Python programs and in ``check``."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.similarities import Similarities


def run(*args, code=0):
    result = CliRunner().invoke(embeddings, [str(each) for each in args])
    assert result.exit_code == code, result.output
    return result


def rows(path):
    conn = sqlite3.connect(path)
    found = Coordinates(collection(conn, "articles")).rows()
    conn.close()
    return found


def test_a_map_is_made_once(articles_db):
    line = "articles: 6 documents on a map by pacmap\n"
    assert run("map", articles_db, "articles").stderr == line
    before = rows(articles_db)
    assert len(before) == 6
    assert run("map", articles_db, "articles").stderr == line
    assert rows(articles_db) == before


def test_a_method_or_a_seed_makes_it_again(articles_db):
    run("map", articles_db, "articles")
    result = run("map", articles_db, "articles", "--method", "pca")
    assert result.stderr == "articles: 6 documents on a map by pca\n"
    run("map", articles_db, "articles", "--seed", "4")
    conn = sqlite3.connect(articles_db)
    settings = Coordinates(collection(conn, "articles")).settings
    conn.close()
    assert (settings.method, settings.seed) == ("pca", 4)


def test_a_map_is_removed(articles_db):
    run("map", articles_db, "articles")
    result = run("map", articles_db, "articles", "--remove")
    assert result.stderr == "articles: map removed\n"
    assert rows(articles_db) == []


def test_wrong_options(articles_db):
    assert (
        "'tsne'"
        in run("map", articles_db, "articles", "--method", "tsne", code=2).output
    )
    assert "seed" in run("map", articles_db, "articles", "--seed", "-1", code=2).output
    assert "'missing'" in run("map", articles_db, "missing", code=1).output


def test_the_map_as_json(articles_db, tmp_path):
    printed = run("map", articles_db, "articles", "--json", "-").stdout
    found = json.loads(printed)
    stored = {each: (x, y) for each, x, y, _tile, _state in rows(articles_db)}
    assert {each["id"]: (each["x"], each["y"]) for each in found} == stored
    assert set(found[0]) == {"id", "x", "y", "title"}
    assert found[0]["title"] == "Sourdough"
    run("map", articles_db, "articles", "--json", tmp_path / "map.json")
    assert json.loads((tmp_path / "map.json").read_text("utf-8")) == found


def test_the_map_as_a_picture(articles_db, tmp_path):
    run("map", articles_db, "articles", "--svg", tmp_path / "map.svg")
    picture = (tmp_path / "map.svg").read_text("utf-8")
    assert picture.startswith("<svg")
    assert "6 documents" in picture
    args = "--svg", tmp_path / "map.svg", "--color-by", "missing"
    assert "missing" in run("map", articles_db, "articles", *args, code=1).output


def test_embed_and_delete_keep_the_map_up_to_date(articles_db):
    run("map", articles_db, "articles")
    before = {row[0]: row[1:3] for row in rows(articles_db)}
    run("embed", articles_db, "notes", "new", "-c", "Cats purr.")
    conn = sqlite3.connect(articles_db)
    conn.execute("insert into articles values (7, 'Cats', 'Cats need food and sleep.')")
    conn.commit()
    conn.close()
    run("sync", articles_db)
    after = {row[0]: row[1:3] for row in rows(articles_db)}
    assert after.keys() - before.keys() == {"7"}
    assert {each: after[each] for each in before} == before
    line = run("map", articles_db, "articles").stderr
    assert line.endswith("pacmap; 1 of them placed since it was made\n")


def test_items_without_a_source_keep_the_map_up_to_date(tmp_path):
    notes = Embeddings(tmp_path / "notes.db").collection("notes", create=True)
    for number in range(3):
        notes.embed(str(number), f"text of number {number}")
    notes.make_map(method="pca")
    notes.embed("3", "another text")
    assert notes.map().ids == ["0", "1", "2", "3"]
    notes.delete_items(["1"])
    assert notes.map().ids == ["0", "2", "3"]


def test_check_finds_and_repairs_points(articles_db):
    run("map", articles_db, "articles")
    before = rows(articles_db)
    conn = sqlite3.connect(articles_db)
    conn.execute("update embedding_coordinates set x = 'left' where id = '1'")
    conn.execute("update embedding_coordinates set y = 1e9 where id = '2'")
    conn.execute("update embedding_coordinates set tile = 7 where id = '3'")
    conn.execute("delete from embedding_coordinates where id = '4'")
    conn.execute(
        "insert into embedding_coordinates select 99, id, x, y, tile, state "
        "from embedding_coordinates where id = '5'"
    )
    conn.commit()
    conn.close()
    found = json.loads(run("check", articles_db, "--format", "json", code=2).stdout)
    counts = {each["problem"]: each["count"] for each in found}
    assert counts["documents that are missing or astray on the map"] == 4
    assert sum(counts.values()) == 6
    run("check", articles_db, "--fix")
    assert [row[0] for row in rows(articles_db)] == [row[0] for row in before]
    assert run("check", articles_db).stderr.endswith("nothing is wrong\n")


def test_similarities_stay_when_points_are_repaired(articles_db, monkeypatch):
    run("similarities", articles_db, "articles")
    run("map", articles_db, "articles")
    conn = sqlite3.connect(articles_db)
    conn.execute("update embedding_coordinates set x = null")
    conn.commit()
    conn.close()
    monkeypatch.setattr(Similarities, "clear", None)
    run("check", articles_db, "--fix")
    assert len(rows(articles_db)) == 6


def test_a_deleted_collection_takes_its_map_along(articles_db):
    run("map", articles_db, "articles")
    run("collections", "delete", articles_db, "articles", "--yes")
    conn = sqlite3.connect(articles_db)
    assert conn.execute("select * from embedding_coordinates").fetchall() == []
    conn.close()


def test_a_map_in_python(articles_db):
    articles = Embeddings(articles_db).collection("articles")
    with pytest.raises(InvalidInputError, match="make_map"):
        articles.map()
    done = []
    made = articles.make_map(method="pca", seed=3, progress=done.append)
    assert sum(done) == 6
    found = articles.map()
    assert (found.method, found.seed, len(found)) == ("pca", 3, 6)
    assert found.ids == made.ids == list("123456")
    np.testing.assert_array_equal(found.x, made.x)
    assert found.titles[0] == "Sourdough"
    first = json.loads(found.to_json())[0]
    assert first == {
        "id": "1",
        "x": found.x[0],
        "y": found.y[0],
        "cluster": None,
        "title": "Sourdough",
    }


def test_a_map_as_a_table_of_pandas(articles_db):
    pytest.importorskip("pandas")
    frame = Embeddings(articles_db).collection("articles").make_map().to_pandas()
    assert list(frame.columns) == ["id", "x", "y", "cluster", "title"]
    assert len(frame) == 6
