"""Live collections: rows are embedded by the server, whoever writes them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
import sqlite_utils
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import registry
from datasette_embeddings.serving.allowed_models import AllowedModel, model_thread
from datasette_embeddings.serving.in_turns import ModelInTurns
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.change_triggers import stored_triggers
from datasette_embeddings.web.compat import is_modern
from datasette_embeddings.web.live import followers
from tests.datasette.conftest import (
    execute,
    free_port,
    get_json,
    http,
    is_answering,
    make_datasette,
    running,
)
from tests.misbehaving import FINE, Reply, misbehaving
from tests.models import StandIn, runtimes_with

# A busy machine may be slow; nothing here takes longer than it must
PATIENCE = 120
LIVE = {"table": "articles", "live": True}
PERMISSIONS = ("insert-row", "update-row", "delete-row", "alter-table")
ONLY_1 = pytest.mark.skipif(not is_modern(), reason="0.65 has no write API")
PLUGIN = """
from datasette import hookimpl, Response

async def write(datasette, request):
    database = datasette.get_database("articles")
    await database.execute_write(request.args["sql"])
    return Response.text("written")

@hookimpl
def register_routes():
    return [(r"^/-/write$", write)]
"""


def until(condition):
    """What *condition* returns as soon as that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return found


class Site:
    """A server with the collection ``articles``."""

    def __init__(self, url, process=None):
        self.url, self.process = url, process

    def get(self, path, **parameters):
        return http.get(self.url + path, params=parameters).json()

    def state(self, name="articles"):
        """What the API says of a live collection; None of another one."""
        body = self.get(f"/articles/-/embeddings/{name}.json")
        return body.get("collection", {}).get("live")

    def is_in(self, state, name="articles"):
        found = self.state(name)
        return found is not None and found["state"] == state and found

    def follows(self, name="articles"):
        return until(lambda: self.is_in("following", name))

    def first(self, text):
        """The id of the best match for *text*, which is found by its vector only."""
        path = "/articles/-/embeddings/articles.json"
        found = self.get(path, q=text, _mode="meaning").get("matches")
        return found[0]["id"] if found and found[0]["cosine"] > 0.95 else None

    def post(self, path, body):
        response = http.post(f"{self.url}/articles/{path}", json=body)
        assert response.status_code < 300, response.text


def settings_of(folder, settings):
    path = folder / "settings.json"
    content = {"plugins": {"datasette-embeddings": settings}}
    if is_modern():
        content["permissions"] = dict.fromkeys(PERMISSIONS, True)
    path.write_text(json.dumps(content))
    return path


@contextmanager
def process(database, *arguments, collection=LIVE):
    """A real server, which is killed if the block has not ended it."""
    port = free_port()
    settings = {"collections": {"articles": collection}}
    option = "--config" if is_modern() else "--metadata"
    path = settings_of(database.parent, settings)
    command = [sys.executable, "-m", "datasette", database, option, path]
    command += ["--port", str(port), *arguments]
    with (
        open(database.parent / f"{port}.log", "wb") as log,
        subprocess.Popen([*map(str, command)], stdout=log, stderr=log) as server,
    ):
        try:
            site = Site(f"http://127.0.0.1:{port}", server)
            assert is_answering(site.url, server)
            yield site
        finally:
            server.kill()


@contextmanager
def live(path, collection=LIVE, **settings):
    """A server in this process, whose model is loaded already."""
    settings = {"collections": {"articles": collection}, **settings}
    datasette = make_datasette(path, settings=settings)
    with running(datasette) as url:
        site = Site(url)
        # Also of a collection that there is not yet
        site.states = followers.get(datasette, {})["articles"].states
        yield site


@pytest.fixture(scope="module")
def shared(tmp_path_factory, built_articles):
    """A real server for the tests that only write rows, each its own."""
    folder = tmp_path_factory.mktemp("live")
    path = folder / "articles.db"
    path.write_bytes(built_articles)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "write.py").write_text(PLUGIN)
    with process(path, "--plugins-dir", folder / "plugins") as site:
        site.path = path
        site.follows()
        yield site


def assert_as_built_again(path):
    """The items, and their vectors, are those of a new collection of the table."""
    with closing(sqlite3.connect(path)) as conn:
        model = AllowedModel(DEFAULT_MODEL, Config()).load()
        ingest(conn, "again", table_source(conn, "articles"), model)
        own, again = (
            dict(
                conn.execute(
                    """
                    select id, embedding from embeddings
                    where collection_id = (select id from collections where name = ?)
                    """,
                    [name],
                ).fetchall()
            )
            for name in ("articles", "again")
        )
    assert own.keys() == again.keys()
    for key, blob in own.items():
        pair = [np.frombuffer(each, np.float32) for each in (blob, again[key])]
        np.testing.assert_allclose(*pair, atol=0.02)


@ONLY_1
def test_rows_of_the_write_api_are_found(shared):
    """The four ways to write."""
    row = {"id": 101, "title": "Lemons", "body": "How to keep a lemon tree in a pot."}
    shared.post("articles/-/insert", {"row": row})
    until(lambda: shared.first("Lemons How to keep a lemon tree in a pot.") == "101")
    changed = {"title": "Chess", "body": "A knight and a bishop can mate alone."}
    shared.post("articles/101/-/update", {"update": changed})
    until(lambda: shared.first("Chess A knight and a bishop can mate alone.") == "101")
    rows = [{**row, "title": "Oars"}, {**row, "id": 102, "title": "Harps"}]
    shared.post("articles/-/upsert", {"rows": rows})
    until(lambda: shared.first(f"Oars {row['body']}") == "101")
    until(lambda: shared.first(f"Harps {row['body']}") == "102")
    for each in (101, 102):
        shared.post(f"articles/{each}/-/delete", {})
    until(lambda: shared.first(f"Harps {row['body']}") is None)


def test_rows_of_another_program_are_found(shared):
    execute(
        shared.path, "insert into articles values (201, 'Kites', 'They need a wind.')"
    )
    until(lambda: shared.first("Kites They need a wind.") == "201")
    execute(shared.path, "update articles set title = 'Glue' where id = 201")
    until(lambda: shared.first("Glue They need a wind.") == "201")
    execute(shared.path, "delete from articles where id = 201")
    until(lambda: shared.first("Glue They need a wind.") is None)


def test_rows_that_a_plugin_writes_are_found(shared):
    sql = "insert into articles values (301, 'Owls', 'They hunt at night.')"
    assert http.get(f"{shared.url}/-/write", params={"sql": sql}).text == "written"
    until(lambda: shared.first("Owls They hunt at night.") == "301")


def test_rows_are_embedded_in_the_order_of_their_changes(shared):
    with closing(sqlite3.connect(shared.path)) as conn:
        for number in range(1_150, 1_000, -1):
            row = number, f"Row {number}", "word " * (number % 40)
            conn.execute("insert into articles values (?, ?, ?)", row)
            conn.commit()
            # SQLite's clock counts milliseconds
            time.sleep(0.002)
        until(lambda: shared.state()["behind"] == 0 and shared.is_in("following"))
        found = conn.execute(
            "select updated from embeddings where id > '1000' and length(id) = 4"
            " order by id desc"
        ).fetchall()
        conn.execute("delete from articles where id > 1000")
        conn.commit()
    until(lambda: shared.state()["behind"] == 0)
    assert len(found) == 150
    assert found == sorted(found)


def test_a_row_that_fails_is_shown_with_its_reason(shared):
    execute(shared.path, "insert into articles (id, body) values (401, x'00ff')")
    # Other tests leave rows to be embedded
    until(lambda: shared.state()["behind"] == 1 and shared.state()["failing"])
    state = shared.state()
    [failure] = state["failures"]
    assert failure["id"] == "401"
    assert "BLOB" in failure["error"]
    assert state["behind"] == 1
    assert state["since"] is not None
    page = http.get(f"{shared.url}/articles/-/embeddings/articles?q=cats").text
    assert failure["error"].partition("'")[0] in page
    execute(shared.path, "update articles set body = 'A text' where id = 401")
    until(lambda: not shared.state()["failing"])
    assert shared.follows()["failures"] == []


def test_the_state_is_in_the_list_and_on_the_page(shared):
    until(lambda: shared.state()["behind"] == 0 and shared.is_in("following"))
    [row] = shared.get("/-/embeddings.json")["collections"]
    assert row["live"]["state"] == "following"
    assert row["live"]["behind"] == 0
    page = http.get(f"{shared.url}/articles/-/embeddings/articles?q=cats").text
    assert "Rows are embedded as they are written." in page


def test_a_live_collection_is_made_from_its_declaration(tmp_path):
    path = tmp_path / "articles.db"
    execute(path, "create table articles (id integer primary key, body text)")
    with live(path) as site:
        execute(path, "insert into articles values (1, 'They hunt at night.')")
        until(lambda: site.first("They hunt at night.") == "1")


def test_live_alone_follows_what_the_collection_was_made_from(articles_db):
    with live(articles_db, {"live": True}) as site:
        site.follows()
        execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")
        until(lambda: site.first("Kites Wind.") == "7")


def test_what_was_written_while_no_server_ran_is_embedded_at_the_start(articles_db):
    with live(articles_db) as site:
        site.follows()
    execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")
    with live(articles_db) as site:
        until(lambda: site.first("Kites Wind.") == "7")


def test_triggers_that_transform_drops_come_back(articles_db):
    with live(articles_db) as site:
        site.follows()
        sqlite_utils.Database(articles_db)["articles"].transform(types={"body": str})
        execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")
        until(lambda: site.first("Kites Wind.") == "7")
        with closing(sqlite3.connect(articles_db)) as conn:
            assert until(lambda: len(stored_triggers(conn))) == 3


def test_a_collection_that_is_no_longer_live_has_no_triggers(articles_db):
    with live(articles_db) as site:
        site.follows()
    with closing(sqlite3.connect(articles_db)) as conn:
        assert stored_triggers(conn)
        with live(articles_db, {"table": "articles"}) as site:
            until(lambda: not stored_triggers(conn))
            assert site.state() is None


def test_files_of_a_folder_are_followed(tmp_path):
    path, notes = tmp_path / "articles.db", tmp_path / "notes"
    notes.mkdir()
    execute(path, "create table other (id)")
    (notes / "a.md").write_text("They hunt at night.")
    with live(path, {"input": str(notes), "live": True}) as site:
        until(lambda: site.first("They hunt at night.") == "a.md")
        (notes / "b.md").write_text("They need a wind.")
        until(lambda: site.first("They need a wind.") == "b.md")
        (notes / "a.md").unlink()
        until(lambda: site.first("They hunt at night.") is None)


def test_a_view_is_followed_by_comparing_its_rows(articles_db):
    execute(articles_db, "create view v as select id, body from articles")
    with live(articles_db, {"sql": "select * from v", "live": True}) as site:
        # Another source than the stored one is an error, as it is in a sync
        assert until(lambda: site.is_in("failing"))["reason"]
    execute(articles_db, "delete from collections")
    with live(articles_db, {"sql": "select * from v", "live": True}) as site:
        site.follows()
        execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")
        until(lambda: site.first("Wind.") == "7")


def test_a_model_that_is_down_loses_nothing(tmp_path):
    path = tmp_path / "articles.db"
    execute(path, "create table articles (id integer primary key, body text)")
    with misbehaving() as api:
        api.reply(FINE)
        models = {"far": {"url": api.url, "retries": 0, "api_key": "sk-secret-0123"}}
        with live(path, {**LIVE, "model": "far"}, models=models) as site:
            site.follows()
            api.reply(Reply(500))
            execute(path, "insert into articles values (1, 'They hunt at night.')")
            state = until(lambda: site.is_in("waiting"))
            assert state["behind"] == 1
            assert state["since"] is not None
            # A visitor learns no address
            assert "127.0.0.1" not in json.dumps(state)
            api.reply(FINE)
            assert site.follows()["behind"] == 0
            assert site.get("/-/embeddings.json")["collections"][0]["count"] == 1


def test_a_remote_model_that_the_settings_do_not_name_is_not_asked(
    tmp_path, monkeypatch
):
    """A database must not spend what belongs to the owner of the server."""
    far = StandIn()
    far.is_remote = True
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(far))
    path = tmp_path / "articles.db"
    execute(path, "create table articles (id integer primary key, body text)")
    execute(path, "insert into articles values (1, 'They hunt at night.')")
    collection = {**LIVE, "model": far.model_id}
    with live(path, collection) as site:
        until(lambda: site.states["articles"].name == "waiting")
    assert far.embedded == []
    with live(path, collection, models={far.model_id: {}}) as site:
        site.follows()
    assert len(far.embedded) == 1


@pytest.mark.parametrize("collection", [LIVE, {"live": True}])
def test_an_immutable_database_is_served_and_said_to_be_off(articles_db, collection):
    settings = {"collections": {"articles": collection}}
    site = make_datasette(settings=settings, immutables=[str(articles_db)])
    with running(site) as url:
        assert Site(url).state()["state"] == "off"
        assert "immutable" in Site(url).state()["reason"]


def test_a_collection_that_there_is_not_is_told_in_the_log(articles_db, caplog):
    settings = {"collections": {"artikles": {"live": True}}}
    with running(make_datasette(articles_db, settings=settings)) as url:
        until(lambda: "'artikles'" in caplog.text)
        assert Site(url).get("/-/embeddings.json")["ok"]


def test_items_without_a_source_cannot_be_followed(articles_db):
    arguments = ["embed", str(articles_db), "own", "1", "-c", "A text", "--silent"]
    assert CliRunner().invoke(embeddings, arguments).exit_code == 0
    settings = {"collections": {"own": {"live": True}}}
    with running(make_datasette(articles_db, settings=settings)) as url:
        state = until(lambda: Site(url).is_in("off", "own"))
    assert "have no source" in state["reason"]


def test_a_database_that_is_not_writable_is_off(articles_db):
    """In a process that may not write: the tests may run as root, who may."""
    script = """
        import os, sys, time
        from pathlib import Path
        import filelock
        from datasette_embeddings.config import CollectionConfig, Config
        from datasette_embeddings.serving.live import Follower
        if os.geteuid() == 0: os.setgid(65534), os.setuid(65534)
        follower = Follower(Path(sys.argv[1]), Config(
            collections={"articles": CollectionConfig(live=True)}
        ))
        follower.start()
        while follower.states["articles"].name == "starting": time.sleep(0.01)
        print(follower.states["articles"])
        follower.stop()
    """
    folder = articles_db.parent
    for each in [folder, *folder.parents][:4]:
        each.chmod(each.stat().st_mode | 0o055)
    articles_db.chmod(0o444)
    folder.chmod(0o555)
    command = [sys.executable, "-c", textwrap.dedent(script), str(articles_db)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    folder.chmod(0o755)
    assert "'off'" in done.stdout, done.stderr
    assert "read-only" in done.stdout


def test_a_wrong_setting_stops_the_server(articles_db):
    command = [sys.executable, "-m", "datasette", str(articles_db), "--get", "/"]
    path = settings_of(
        articles_db.parent, {"collections": {"articles": {"live": "yes please"}}}
    )
    command += ["--config" if is_modern() else "--metadata", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "collections.articles.live" in done.stderr
    assert "true or false" in done.stderr


@pytest.mark.asyncio
async def test_only_a_server_follows(articles_db):
    """The client of tests, and ``datasette --get``, start nothing."""
    settings = {"collections": {"articles": LIVE}}
    datasette = make_datasette(articles_db, settings=settings)
    status, body = await get_json(datasette, "/articles/-/embeddings/articles.json")
    assert status == 200
    assert "live" not in body["collection"]
    assert datasette not in followers


def test_one_of_two_servers_embeds_and_the_other_takes_over(articles_db):
    with process(articles_db) as one, process(articles_db) as other:
        one.follows()
        other.follows()
        execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")
        for site in (one, other):
            until(lambda site=site: site.first("Kites Wind.") == "7")
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()
        execute(articles_db, "insert into articles values (8, 'Owls', 'Night.')")
        until(lambda: other.first("Owls Night.") == "8")
    assert_as_built_again(articles_db)


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.long)])
def test_a_server_that_is_killed_loses_nothing(articles_db, kills):
    number = 100
    for _ in range(kills):
        with process(articles_db) as site:
            with closing(sqlite3.connect(articles_db)) as conn:
                for _ in range(60):
                    number += 1
                    row = number, f"Row {number}", f"It was written as {number}. " * 9
                    conn.execute("insert into articles values (?, ?, ?)", row)
                    conn.execute("delete from articles where id = ?", [number - 70])
                    conn.commit()
            until(lambda: site.state()["state"] != "starting")
            os.kill(site.process.pid, signal.SIGKILL)
            site.process.wait()
    with live(articles_db) as site:
        assert site.follows()["behind"] == 0
        until(lambda: not site.state()["behind"])
    assert_as_built_again(articles_db)


def test_the_commands_say_how_many_rows_are_behind(articles_db):
    with live(articles_db) as site:
        site.follows()
    execute(articles_db, "insert into articles values (7, 'Kites', 'Wind.')")

    def shown(*arguments):
        command = ["collections", *arguments[:1], str(articles_db), *arguments[1:]]
        result = CliRunner().invoke(embeddings, command)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert shown("list", "--format", "json")[0]["behind"] == 1
    row = shown("show", "articles")
    assert row["behind"] == 1
    assert row["behind_since"].startswith("20")


def test_passages_are_embedded_a_few_at_a_time_and_in_any_case_the_same():
    allowed = AllowedModel(DEFAULT_MODEL, Config())
    texts = [f"word {number} " * (1 + number * 7 % 150) for number in range(40)]
    in_turns, cut, reported = ModelInTurns(allowed, None), [], []
    expected_cut = []
    expected = allowed.load().embed_passages(texts, on_truncated=expected_cut.append)
    runs = []
    submit = model_thread.submit

    def counted(work):
        runs.append(work)
        return submit(work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_thread, "submit", counted)
        found = in_turns.embed_passages(
            texts, progress=reported.append, on_truncated=cut.append
        )
    # Padding changes the last bits
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert sorted(cut) == sorted(expected_cut)
    assert cut
    assert sum(reported) == 40
    assert len(runs) > 40 / 8
    assert in_turns.settings == allowed.load().settings
