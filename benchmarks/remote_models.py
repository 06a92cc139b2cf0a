"""Texts a second of the runtimes ``http`` and ``llm``, and of their clients themselves.

    python benchmarks/remote_models.py

Measured: the runtime ``http`` with its default settings, against a real ``datasette``
process on 127.0.0.1 that embeds with the bundled model.  Against: the ``openai`` client
and the same endpoint, with the best number of texts a request.  Then the runtime
``llm``, with llm-sentence-transformers and the fp32 weights.  Against:
``model.embed_multi()`` of the same model.  In turns, over docstrings of Python.

Must hold: at least 0.95 times as many texts a second.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from commands import datasette_environment
from hub_cache import llm_environment
from measuring import OURS, duration, median_seconds, print_line, seconds
from server_memory import Server

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.models.registry import load_model

if TYPE_CHECKING:
    import openai

    from datasette_embeddings.vectors import Vectors

TEXTS, TURNS = 300, 3
SIZES = (32, 64, 100, 200)
AT_LEAST = 0.95


def main() -> None:
    texts = docstrings()[:TEXTS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "empty.db"
        sqlite3.connect(database).execute("create table empty (id)").connection.close()
        server = Server([database], datasette_environment(folder))
        with server.running() as (_process, url):
            over_http(texts, f"{url}/-/embeddings/v1")
        os.environ.update(llm_environment(folder))
        through_llm(texts)


def docstrings() -> list[str]:
    """What the modules of Python's library say of their functions and classes."""
    import email
    import json
    import logging
    import xml

    found = {}
    for package in (email, json, logging, xml):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for thing in vars(importlib.import_module(module.name)).values():
                for each in (thing, *getattr(thing, "__dict__", {}).values()):
                    text = inspect.getdoc(each)
                    if text and inspect.isroutine(each):
                        found[text] = None
    return list(found)


def over_http(texts: Sequence[str], url: str) -> None:
    import openai

    ours = load_model("far", {"far": ModelConfig(url=url, model=DEFAULT_MODEL)})
    client = openai.OpenAI(base_url=url, api_key="none")
    # The first of all loads the model
    check(ours.embed_passages(texts), by_openai(client, texts, size=100))
    took = {size: seconds(lambda: by_openai(client, texts, size)) for size in SIZES}  # noqa: B023 - called at once
    best = min(took, key=lambda size: took[size])
    times = median_seconds(
        TURNS,
        {
            OURS: lambda: ours.embed_passages(texts),
            "openai": lambda: by_openai(client, texts, best),
        },
    )
    report(f"http, {len(texts)} texts", times, f"openai ({best} a request)", "openai")


def by_openai(client: openai.OpenAI, texts: Sequence[str], size: int) -> Vectors:
    """One vector a text, (n, d), *size* texts a request."""
    vectors = []
    for start in range(0, len(texts), size):
        some = list(texts[start : start + size])
        answer = client.embeddings.create(model=DEFAULT_MODEL, input=some)
        vectors += [each.embedding for each in answer.data]
    return np.array(vectors, dtype=np.float32)


def through_llm(texts: Sequence[str]) -> None:
    import llm

    ours = load_model("x", {"x": ModelConfig(runtime="llm", model=DEFAULT_MODEL)})
    by_hand = llm.get_embedding_model(DEFAULT_MODEL)
    check(
        ours.embed_passages(texts),
        np.array(list(by_hand.embed_multi(texts)), dtype=np.float32),
    )
    times = median_seconds(
        TURNS,
        {
            OURS: lambda: ours.embed_passages(texts),
            "llm": lambda: list(by_hand.embed_multi(texts)),
        },
    )
    report(f"llm, {len(texts)} texts", times, "embed_multi()", "llm")


def check(ours: Vectors, peer: Vectors) -> None:
    """Both sides give the same vectors."""
    assert np.abs(ours - peer).max() < 1e-5


def report(work: str, times: dict[str, float], peer: str, name: str) -> None:
    ratio = times[name] / times[OURS]
    figures = [f"ours {duration(times[OURS])}", f"{peer} {duration(times[name])}"]
    figures.append(f"{ratio:.2f}x as many texts a second")
    print_line(work, figures, ratio, "x", at_least=AT_LEAST)


if __name__ == "__main__":
    main()
