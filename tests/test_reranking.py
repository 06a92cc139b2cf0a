"""Rerankers: a cross-encoder orders the best matches of a search again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.config import CollectionConfig, Config, ModelConfig
from datasette_embeddings.errors import ConfigError, ModelError, UnknownModelError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import cross_encoder
from datasette_embeddings.models.cross_encoder import load_reranker
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.search import reranking
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.reranking import rerank
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.hub import Hub, link_files
from tests.loans import HELD_OUT, PAIRS, QUESTIONS, TEXTS, THINGS

FOLDER = Path(__file__).parent / "tiny_cross_encoder"
TEXT_PAIRS = ["Ada lends Ben a lamp", "Ben lends Ada a lamp", "Kim", "", "lamp " * 90]
FOREVER = float("inf")


@pytest.fixture(scope="module")
def reranker():
    return load_reranker(str(FOLDER))


@pytest.fixture(scope="module")
def loans_db(tmp_path_factory, model):
    """A database of who lends what to whom, in two wordings."""
    path = tmp_path_factory.mktemp("loans") / "loans.db"
    conn = sqlite3.connect(path)
    conn.execute("create table loans (id integer primary key, text)")
    told = [
        replace(pair, thing=THINGS[n % len(THINGS)]).said(TEXTS[n % 2])
        for n, pair in enumerate(PAIRS)
    ]
    conn.executemany("insert into loans (text) values (?)", [[each] for each in told])
    ingest(conn, "loans", table_source(conn, "loans", content_columns=["text"]), model)
    conn.commit()
    conn.close()
    return path


@pytest.fixture
def loans(loans_db):
    conn = sqlite3.connect(loans_db)
    yield collection(conn, "loans")
    conn.close()


@pytest.fixture
def copy(tmp_path):
    """A folder with the files of the reranker, some of which a test changes."""
    link_files(FOLDER, tmp_path / "copy")
    return tmp_path / "copy"


class Fixed:
    """Stands for a reranker: a text's score is its number, two texts a batch."""

    model_id = "fixed"

    def __init__(self):
        self.batches = 0

    def scores(self, query, texts):
        for start in range(0, len(texts), 2):
            self.batches += 1
            batch = range(start, min(start + 2, len(texts)))
            yield {place: float(texts[place]) for place in batch}


def scores_of(reranker, query, texts):
    found = {}
    for batch in reranker.scores(query, texts):
        found |= batch
    return [found[place] for place in range(len(texts))]


def test_the_right_answers_come_nearer_to_the_top(loans, model, reranker):
    """Here for pairs of names that it was never shown, asked for in other words."""

    def mean_reciprocal_rank(options):
        ranks = []
        for number, asked in enumerate(HELD_OUT):
            question = asked.said(QUESTIONS[1 - number % 2])
            found = search_text(loans, question, model=model, options=options)
            ids = [int(match.id) for match in found]
            right = PAIRS.index(asked) + 1
            ranks.append(1 / (ids.index(right) + 1) if right in ids else 0)
        return sum(ranks) / len(ranks)

    before = mean_reciprocal_rank(Options(limit=50))
    after = mean_reciprocal_rank(
        Options(limit=50, rerank=reranker, rerank_time_limit_ms=600_000)
    )
    assert after > before + 0.1


def test_pages_are_parts_of_one_order(loans, model, reranker):
    """Behind the 50 that it reads, matches come as they would without it."""
    patient = Options(limit=60, rerank=reranker, rerank_time_limit_ms=600_000)
    whole = search_text(loans, "what did Kim lend to Leo", model=model, options=patient)
    parts = [
        search_text(
            loans,
            "what did Kim lend to Leo",
            model=model,
            options=replace(patient, limit=20, offset=offset),
        )
        for offset in (0, 20, 40)
    ]
    assert [match.id for part in parts for match in part] == [m.id for m in whole]
    plain = search_text(
        loans, "what did Kim lend to Leo", model=model, options=Options(limit=60)
    )
    assert {m.id for m in whole[:50]} == {m.id for m in plain[:50]}
    assert [m.id for m in whole[50:]] == [m.id for m in plain[50:]]
    given = [m.rerank_score for m in whole]
    assert given[:50] == sorted(given[:50], reverse=True)
    assert given[50:] == [None] * 10
    assert {m.id: m.score for m in whole} == {m.id: m.score for m in plain}


def test_blank_texts_and_equal_scores_keep_their_places():
    how = rerank("q", ["1", "", "3", " ", "3", "2"], Fixed(), deadline=FOREVER)
    assert list(how.order) == [2, 1, 4, 3, 5, 0]
    assert how.scores == {0: 1, 2: 3, 4: 3, 5: 2}
    assert (how.model_id, how.reason) == ("fixed", None)


def test_nothing_to_read_is_an_order_too():
    assert list(rerank("q", [], Fixed(), deadline=0).order) == []


def test_when_the_time_is_over_the_order_stays(monkeypatch):
    """The clock is read after each batch: here the second is one too many."""
    clock = iter([0, 1, 2])
    monkeypatch.setattr(reranking.time, "monotonic", lambda: next(clock))
    fixed = Fixed()
    how = rerank("q", ["1", "2", "3", "4", "5"], fixed, deadline=2)
    assert fixed.batches == 2
    assert list(how.order) == [0, 1, 2, 3, 4]
    assert (how.model_id, how.scores) == (None, {})
    assert how.reason


def test_a_search_whose_time_is_over_answers_without_scores(
    loans, model, reranker, monkeypatch
):
    options = Options(limit=5, rerank=reranker)
    monkeypatch.setattr(reranking.time, "monotonic", lambda: FOREVER)
    found = search_text(loans, "what did Kim lend to Leo", model=model, options=options)
    assert [match.rerank_score for match in found] == [None] * 5


def test_both_runtimes_give_the_same_scores(reranker):
    """Also for a text that is longer than the model reads."""
    pytest.importorskip("sentence_transformers")
    settings = {str(FOLDER): ModelConfig(runtime="sentence-transformers")}
    by_torch = load_reranker(str(FOLDER), settings)
    assert (reranker.runtime, by_torch.runtime) == ("onnx", "sentence-transformers")
    for query in ("what did Ada lend to Ben", "what " * 90):
        found, expected = (
            scores_of(each, query, TEXT_PAIRS) for each in (reranker, by_torch)
        )
        assert found == pytest.approx(expected, abs=1e-4)


def test_an_onnx_file_needs_no_torch():
    code = (
        "import sys; from datasette_embeddings.models.cross_encoder import *;"
        f"print(*load_reranker({str(FOLDER)!r}).scores('a', ['b']));"
        "print({'torch', 'transformers', 'sentence_transformers'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n"), done.stdout


def test_scores_do_not_depend_on_the_batch(reranker):
    texts = [f"Ada lends Ben a {thing}" * (n + 1) for n, thing in enumerate(THINGS)]
    texts *= 30
    together = scores_of(reranker, "what did Ada lend to Ben", texts)
    alone = [
        scores_of(reranker, "what did Ada lend to Ben", [each])[0] for each in texts
    ]
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_reranker_is_loaded_once(reranker):
    with_threads = []
    threads = [
        threading.Thread(target=lambda: with_threads.append(load_reranker(str(FOLDER))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*map(id, with_threads)} == {id(reranker)}


def test_a_model_of_vectors_is_no_reranker():
    with pytest.raises(
        ModelError, match=r"Expected a cross-encoder in .*, which score"
    ):
        load_reranker(str(BUNDLED_FOLDER))


def test_a_model_with_several_scores_is_none_either(copy, monkeypatch):
    """Such as those that tell whether one sentence follows from another."""

    def several(self, batch):
        return np.zeros((len(batch), 3), np.float32)

    monkeypatch.setattr(cross_encoder.OnnxCrossEncoder, "_run", several)
    with pytest.raises(ModelError, match="Expected one number for each pair"):
        load_reranker(str(copy))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_broken_files_are_told(copy, name):
    (copy / name).unlink()
    (copy / name).write_text("{broken")
    with pytest.raises(ModelError) as raised:
        load_reranker(str(copy))
    assert str(copy) in str(raised.value)


def test_a_missing_one_is_told_with_the_command_that_fetches_it(monkeypatch):
    monkeypatch.setattr("datasette_embeddings.models.files.folder_of", lambda *_: None)
    with pytest.raises(UnknownModelError, match="models fetch cross-encoder/x --rer"):
        load_reranker("cross-encoder/x")
    with pytest.raises(UnknownModelError, match="or a folder with a cross-encoder"):
        load_reranker("./nowhere")


def test_a_missing_library_is_told_with_the_command_that_installs_it(copy, monkeypatch):
    (copy / "onnx" / "model.onnx").unlink()
    monkeypatch.setattr(cross_encoder, "find_spec", lambda _name: None)
    with pytest.raises(UnknownModelError, match="Install its library with: pip inst"):
        load_reranker(str(copy))


def test_a_collection_has_its_own_reranker_the_default_or_none():
    config = Config.from_plugin_config(
        {
            "rerank": "cross-encoder/x",
            "collections": {"own": {"rerank": "./y"}, "off": {"rerank": False}},
        }
    )
    asked = ("own", "off", "other")
    assert [*map(config.reranker_of, asked)] == ["./y", None, "cross-encoder/x"]
    assert Config().reranker_of("other") is None
    with pytest.raises(ConfigError, match=r"rerank: expected a cross-encoder's id or"):
        Config.from_plugin_config({"rerank": 3})


def search(path, *options):
    command = ["search", str(path), "loans", "what did Ada lend to Ben", *options]
    done = CliRunner().invoke(embeddings, command)
    assert done.exit_code == 0, done.output
    return done


def test_the_command_orders_by_a_reranker_and_says_so(loans_db):
    done = search(loans_db, "--rerank", str(FOLDER), "--format", "json", "-n", "3")
    found = [each["rerank_score"] for each in json.loads(done.stdout)]
    assert found == sorted(found, reverse=True)
    assert done.stderr == f"Ordered by {FOLDER}\n"
    plain = search(loans_db, "--format", "json")
    assert "rerank_score" not in json.loads(plain.stdout)[0]
    assert plain.stderr == ""


def test_the_command_says_that_the_time_was_over(loans_db, monkeypatch):
    monkeypatch.setattr(reranking.time, "monotonic", lambda: FOREVER)
    done = search(loans_db, "--rerank", str(FOLDER), "--rerank-time-limit", "2000")
    assert "which was not ready within 2,000 ms" in done.stderr


def test_the_command_takes_the_reranker_of_the_settings(loans_db, tmp_path):
    """A folder is looked for beside the file, and a collection has its own."""
    (tmp_path / "reranker").symlink_to(FOLDER)
    path = tmp_path / "metadata.yml"
    path.write_text(
        "plugins: {datasette-embeddings: {rerank_time_limit_ms: 600000}}\n"
        "databases: {loans: {plugins: {datasette-embeddings: {collections: "
        "{loans: {rerank: ./reranker}}}}}}"
    )
    assert "reranker" in search(loans_db, "--config", str(path)).stderr
    assert config_in(path, loans_db).reranker_of("others") is None


def test_the_command_says_what_is_wrong_with_a_reranker(loans_db):
    command = ["search", str(loans_db), "loans", "q", "--rerank", str(BUNDLED_FOLDER)]
    done = CliRunner().invoke(embeddings, command)
    assert (done.exit_code, "Expected a cross-encoder in" in done.stderr) == (1, True)


def test_sync_reads_the_stored_source_where_only_a_reranker_is_declared(
    loans_db, tmp_path
):
    path = tmp_path / "metadata.yml"
    path.write_text(
        "plugins: {datasette-embeddings: {collections: {loans: {rerank: x/y}}}}"
    )
    command = ["sync", str(loans_db), "--config", str(path), "--dry-run"]
    done = CliRunner().invoke(embeddings, command)
    assert done.exit_code == 0, done.output
    assert not CollectionConfig(rerank="x/y", store=True).is_of_searches


def test_fetch_downloads_a_reranker_and_then_it_is_here(tmp_path):
    hub = Hub(FOLDER, model_id="cross-encoder/loans")
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        command = "-m datasette embeddings models fetch --reranker cross-encoder/loans"
        done = [
            subprocess.run(
                [sys.executable, *command.split()],
                env={"HF_HOME": str(tmp_path), **setting, "PATH": ""},
                capture_output=True,
                text=True,
            )
            for setting in ({"HF_ENDPOINT": hub.url}, {"HF_HUB_OFFLINE": "1"})
        ]
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
    ready = "cross-encoder/loans is ready (onnx)\n"
    assert done[0].stderr.startswith("Fetching cross-encoder/loans from the hub\n")
    assert done[0].stderr.endswith(ready)
    assert done[1].stderr == ready
    assert not any("safetensors" in path for path in hub.asked)
