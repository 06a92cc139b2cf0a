"""What a server adds: batches of embedder, and how many are answered at once."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from datasette_embeddings.config import Config
from datasette_embeddings.errors import ModelError, ServerBusyError, UnknownModelError
from datasette_embeddings.serving.allowed_models import AllowedModel, model_thread
from datasette_embeddings.serving.query_embedder import QueryEmbedder
from datasette_embeddings.vectors import VectorCache
from datasette_embeddings.web import middleware
from datasette_embeddings.web.middleware import limited
from tests.models import StandIn

pytestmark = pytest.mark.asyncio
CONFIG = Config()
MODEL = AllowedModel(CONFIG.default_model, CONFIG)


class Held:
    """Within, the thread of the models waits, as it does behind a long run."""

    def __init__(self):
        self._go = threading.Event()

    def __enter__(self):
        self._waiting = model_thread.submit(self._go.wait)

    def __exit__(self, *_error):
        self._go.set()
        self._waiting.result()


class Counting(StandIn):
    """A stand-in that notes how many questions each run answers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.runs = []

    def embed_queries(self, texts):
        self.runs.append(len(texts))
        if self.is_down:
            raise ModelError("The model is down")
        return super().embed_queries(texts)


@pytest.fixture
def counting(monkeypatch):
    """In place of the real model, which would not tell how it was asked."""
    stand_in = Counting()
    monkeypatch.setattr(AllowedModel, "load", lambda _self: stand_in)
    monkeypatch.setattr(AllowedModel, "loaded", lambda _self: stand_in)
    return stand_in


async def ask(embedder, *texts):
    return await asyncio.gather(*(embedder.vector(MODEL, text) for text in texts))


async def begun(*tasks):
    """Let *tasks* come as far as they get."""
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_questions_that_come_together_are_answered_by_one_run(counting):
    embedder = QueryEmbedder()
    texts = [f"question {number}" for number in range(20)]
    with Held():
        asked = asyncio.ensure_future(ask(embedder, *texts, *texts))
        await begun(asked)
    vectors = await asked
    assert counting.runs == [20]
    for text, vector in zip(texts * 2, vectors, strict=True):
        assert vector.tolist() == counting.embed_query(text).tolist()


async def test_a_batch_has_an_end(counting):
    embedder = QueryEmbedder()
    with Held():
        asked = asyncio.ensure_future(ask(embedder, *map(str, range(70))))
        await begun(asked)
    assert len(await asked) == 70
    assert counting.runs == [32, 32, 6]


async def test_a_text_that_was_asked_before_needs_no_run(counting):
    embedder = QueryEmbedder()
    await ask(embedder, "again")
    with Held():
        await ask(embedder, "again")
    assert counting.runs == [1]


async def test_a_caller_that_leaves_before_the_run_costs_nothing(counting):
    embedder = QueryEmbedder()
    with Held():
        leaving = asyncio.ensure_future(ask(embedder, "leaving"))
        staying = asyncio.ensure_future(ask(embedder, "staying"))
        await begun(leaving, staying)
        leaving.cancel()
        await begun()
    assert len(await staying) == 1
    assert counting.runs == [1]


async def test_a_model_that_fails_is_heard_by_all_who_asked(counting):
    counting.is_down = True
    embedder = QueryEmbedder()
    found = await asyncio.gather(
        *(embedder.vector(MODEL, text) for text in "ab"), return_exceptions=True
    )
    assert [str(each) for each in found] == ["The model is down"] * 2


async def test_a_model_that_is_not_here_is_heard_too():
    with pytest.raises(UnknownModelError):
        await QueryEmbedder().vector(AllowedModel("far/away", CONFIG), "text")


async def test_a_batch_gives_the_vectors_that_single_questions_have(model, monkeypatch):
    monkeypatch.setattr(model, "queries", VectorCache())
    texts = ["pets", "how do I mend a flat tyre on the road?", "x " * 300]
    with Held():
        asked = asyncio.ensure_future(ask(QueryEmbedder(), *texts))
        await begun(asked)
    singly = np.stack([model.embed_query(text) for text in texts])
    assert np.allclose(np.stack(await asked), singly, atol=1e-6)


async def test_the_cache_forgets_what_was_asked_longest_ago(model):
    remembered = VectorCache(2)
    vector = np.ones(3, dtype=np.float32)
    for text in ("a", "b"):
        remembered.put(text, vector)
    remembered.get("a")
    remembered.put("c", vector)
    known = [text for text in "abc" if remembered.get(text) is not None]
    assert (known, len(remembered)) == (["a", "c"], 2)


async def test_the_cache_keeps_no_long_texts_and_gives_no_one_a_vector_to_change(model):
    remembered = VectorCache()
    kept = remembered.put("x" * 5_000, np.ones(3, dtype=np.float32))
    assert (len(remembered), kept.flags.writeable) == (0, False)


class Limited:
    """Stands for a Datasette with these settings, which alone are asked for."""

    def __init__(self, at_once, waiting):
        middleware._limiters[self] = middleware.Limiter(at_once, waiting)


async def test_a_limiter_lets_so_many_through_and_so_many_wait():
    datasette = Limited(2, 1)
    inside, leave = [], asyncio.Event()

    async def visit(name):
        inside.append(name)
        await leave.wait()

    visits = [asyncio.ensure_future(limited(datasette, visit, name)) for name in "abc"]
    await begun(*visits)
    assert inside == ["a", "b"]
    with pytest.raises(
        ServerBusyError, match="answers 2 searches at once and lets 1 wait"
    ):
        await limited(datasette, visit, "d")
    leave.set()
    await asyncio.gather(*visits)
    assert inside == ["a", "b", "c"]


async def test_a_request_that_is_cancelled_in_the_queue_leaves_room():
    datasette, leave = Limited(1, 1), asyncio.Event()
    running = asyncio.ensure_future(limited(datasette, leave.wait))
    await begun(running)
    for _ in range(3):
        waiting = asyncio.ensure_future(limited(datasette, leave.wait))
        await begun(waiting)
        waiting.cancel()
        await begun(waiting)
    leave.set()
    assert await running is await limited(datasette, leave.wait) is True
