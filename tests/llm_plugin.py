"""A plugin of llm's with models that the real ones cannot be made to be."""

from __future__ import annotations

import hashlib

import llm


class Letters(llm.EmbeddingModel):
    """Vectors without weights; it notes what it was asked, and with which key."""

    model_id = "letters-of-the-test"
    batch_size = 4

    def __init__(self):
        self.asked = []
        self.keys = []

    def embed_batch(self, items, key=None):
        items = list(items)
        self.asked.append(items)
        self.keys.append(key)
        for item in items:
            if "poison" in item:
                raise ValueError(f"I cannot take {item!r}, nor {key}")
        yield from [self.vector(item) for item in items]

    @staticmethod
    def vector(item):
        content = item.encode() if isinstance(item, str) else item
        return [each / 255 - 0.5 for each in hashlib.sha256(content).digest()[:8]]


class Locked(Letters):
    model_id = "locked-of-the-test"
    needs_key = "locked"
    key_env_var = "LOCKED_KEY"


class Images(Letters):
    model_id = "images-of-the-test"
    supports_text = False
    supports_binary = True

    def embed_batch(self, items, key=None):
        yield from [self.vector(item) for item in items]


class Ears(Letters):
    """It hears WAV files, which are bytes, and reads no text."""

    model_id = "ears-of-the-test"
    supports_text = False
    supports_binary = True

    def embed_batch(self, items, key=None):
        items = list(items)
        self.asked.append(items)
        for item in items:
            if not item.startswith(b"RIFF"):
                raise ValueError("I hear nothing")
        yield from [self.vector(item) for item in items]


class Wrong(Letters):
    """It answers with whatever it was given to answer."""

    model_id = "wrong-of-the-test"
    answer = ()

    def embed_batch(self, items, key=None):
        list(items)
        yield from self.answer


class Crowded(Letters):
    """It has memory for two texts."""

    model_id = "crowded-of-the-test"
    batch_size = None

    def embed_batch(self, items, key=None):
        items = list(items)
        if len(items) > 2:
            raise RuntimeError("CUDA out of memory")
        self.asked.append(items)
        yield from [self.vector(item) for item in items]


@llm.hookimpl
def register_embedding_models(register):
    register(Letters(), aliases=("abc",))
    register(Locked())
    register(Images(), aliases=("eyes-of-the-test",))
    register(Ears())
    register(Wrong())
    register(Crowded())
