"""Rerankers in a server: which one orders an answer, and what it says of that."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from datasette.app import Datasette

from datasette_embeddings.serving.reranking import reranker_thread
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import get_json, make_datasette

pytestmark = pytest.mark.asyncio
FOLDER = Path(__file__).parent.parent / "tiny_cross_encoder"
SEARCH = "/articles/-/embeddings/articles.json"
# Words that the tiny reranker knows, so that its scores differ
QUESTION = "what did Ada lend to Ben"
# No test depends on the speed of the machine
PATIENT = {"rerank_time_limit_ms": 600_000}


@pytest.fixture
def reranking(articles_db):
    return make_datasette(articles_db, settings={"rerank": str(FOLDER), **PATIENT})


async def answer(datasette, query=f"?q={QUESTION}", **options):
    status, body = await get_json(datasette, f"{SEARCH}{query}", **options)
    assert status == 200, body
    return body


async def test_an_answer_is_in_the_order_of_the_reranker_and_says_so(
    reranking, datasette
):
    found, plain = await answer(reranking), await answer(datasette)
    # Visitors do not learn the path of a folder
    assert (found["reranked"], found["not_reranked"]) == (FOLDER.name, None)
    scores = [match["rerank_score"] for match in found["matches"]]
    assert scores == sorted(scores, reverse=True)
    assert (plain["reranked"], plain["not_reranked"]) == (None, None)
    assert {match["rerank_score"] for match in plain["matches"]} == {None}
    ids = [[match["id"] for match in each["matches"]] for each in (found, plain)]
    assert ids[0] != ids[1]
    assert sorted(ids[0]) == sorted(ids[1])


async def test_pages_are_parts_of_the_same_order(reranking):
    whole = await answer(reranking)
    first = await answer(reranking, f"?q={QUESTION}&_size=4")
    second = await answer(reranking, f"?q={QUESTION}&_size=4&_next={first['next']}")
    assert [first["next"], second["next"]] == ["4", None]
    assert [*first["matches"], *second["matches"]] == whole["matches"]


async def test_the_page_has_the_same_order(reranking):
    found = await answer(reranking)
    path = SEARCH.removesuffix(".json")
    page = await reranking.client.get(path, params={"q": QUESTION})
    places = [page.text.index(f'href="{each["url"]}"') for each in found["matches"]]
    assert places == sorted(places)


async def test_other_searches_go_by_meaning_alone(reranking):
    for query in ("?like=5", ""):
        found = await answer(reranking, query)
        assert (found["reranked"], found["not_reranked"]) == (None, None)


@pytest.mark.parametrize("place", ["collection", "database", "off"])
async def test_a_collection_may_have_its_own_or_none(articles_db, place):
    own = {"collections": {"articles": {"rerank": str(FOLDER)}}}
    settings = {**PATIENT, "rerank": "cross-encoder/not-here"}
    config = {"plugins": {"datasette-embeddings": settings}}
    if place == "database":
        config["databases"] = {"articles": {"plugins": {"datasette-embeddings": own}}}
    elif place == "collection":
        settings |= own
    else:
        settings["collections"] = {"articles": {"rerank": False}}
    name = "config" if is_modern() else "metadata"
    found = await answer(Datasette([str(articles_db)], **{name: config}))
    expected = None if place == "off" else FOLDER.name
    assert (found["reranked"], found["not_reranked"]) == (expected, None)


async def test_one_that_is_not_here_leaves_the_order_and_one_line_in_the_log(
    articles_db, datasette, caplog, monkeypatch
):
    monkeypatch.setattr("datasette_embeddings.models.files.download", pytest.fail)
    settings = {"rerank": "cross-encoder/not-here", "preload": False}
    without = make_datasette(articles_db, settings=settings)
    for _ in range(2):
        found = await answer(without)
        assert found["reranked"] is None
        assert found["not_reranked"] == (
            "The reranker is not available here at the moment"
        )
        assert found["matches"] == (await answer(datasette))["matches"]
    (line,) = [each for each in caplog.messages if "reranker" in each]
    assert "models fetch cross-encoder/not-here --reranker" in line


async def test_one_whose_files_are_broken_does_too(articles_db, tmp_path, datasette):
    shutil.copytree(FOLDER, tmp_path / "broken")
    (tmp_path / "broken" / "onnx" / "model.onnx").write_text("{broken")
    settings = {"rerank": str(tmp_path / "broken"), "models": {}}
    found = await answer(make_datasette(articles_db, settings=settings))
    assert found["not_reranked"] == "The reranker is not available here at the moment"
    assert found["matches"] == (await answer(datasette))["matches"]


async def test_time_that_a_search_waits_counts(articles_db, datasette):
    settings = {"rerank": str(FOLDER), "rerank_time_limit_ms": 1}
    hurried = make_datasette(articles_db, settings=settings)
    await answer(hurried, "?q=a")  # it is loaded now
    is_over = threading.Event()

    def hold():
        while reranker_thread._work_queue.qsize() == 0 and not is_over.wait(0.01):
            pass
        time.sleep(0.01)

    held = reranker_thread.submit(hold)
    found = await answer(hurried)
    is_over.set()
    held.result()
    assert (found["reranked"], found["not_reranked"]) == (
        None,
        "The time limit of the reranker was over",
    )
    assert found["matches"] == (await answer(datasette))["matches"]


async def test_a_configured_reranker_is_not_offered_as_a_model_of_vectors(articles_db):
    """And a server starts, although its folder holds none."""
    settings = {
        **PATIENT,
        "rerank": "judge",
        "models": {"judge": {"path": str(FOLDER)}},
    }
    judged = make_datasette(articles_db, settings=settings)
    assert (await answer(judged))["reranked"] == "judge"
    _status, body = await get_json(judged, "/-/embeddings/v1/models")
    assert "judge" not in [model["id"] for model in body["data"]]
