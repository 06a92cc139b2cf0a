"""The published fp32 weights of the bundled model, and their vectors of a sample."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from datasette_embeddings.cli.demo import stdlib_entries
from tests.hub import reference_folder

#: Written by scripts/write_reference_vectors.py
PATH = Path(__file__).parent / "data" / "reference_vectors.npz"
ONE_OF = 20
# Texts of the kinds that people have in tables, and of those that break programs
ODD_TEXTS = [
    "",
    " ",
    "\n\n\t",
    "a",
    "?",
    "word",
    "Hello world",
    "HELLO WORLD",
    "word " * 5_000,
    "antidisestablishmentarianism",
    "x" * 1_000,
    "ab" * 20,
    "🎉",
    "👩‍👩‍👧‍👦 at the beach 🏖️ 🇫🇷",
    "日本語の文章を検索する。",
    "中文维基百科",
    "한국어 문장",
    "مرحبا بالعالم، هذا نص عربي",
    "שלום עולם",
    "Привет, мир",
    "नमस्ते दुनिया",
    "ภาษาไทยไม่เว้นวรรค",
    "naïve café, Ångström; e\u0301 decomposed",
    "def f(x):\n    return [y ** 2 for y in x if y % 2 == 0]",
    "select id, name from users where email like '%@example.com' limit 10;",
    '{"name": "Ada", "born": 1815, "tags": ["mathematics", null]}',
    "<p class='x'>Hello &amp; <b>goodbye</b></p>",
    "https://example.com/a/b?c=d&e=f#g",
    "3.14159 2.71828 1,000,000 -40 6.02e23",
    "∀ε>0 ∃δ>0: |x·a|<δ ⇒ |f(x)·f(a)|<ε",
    "nul \x00 bell \x07 escape \x1b[31m red \x7f \u200b\ufeff\ufffd",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
]


def reference_model():
    """The fp32 weights in sentence-transformers, the peer of every comparison here."""
    return sentence_transformer(reference_folder())


def sentence_transformer(folder: Path):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def stdlib_texts() -> list[str]:
    """The entries of the demo, as it embeds them."""
    return [f"{entry.path} {entry.doc}" for entry in stdlib_entries()]


def sample_texts(texts: list[str]) -> list[str]:
    """Odd texts, the longest ones of the library, and some chosen by their hash.

    So the same ones are chosen where a few of the others differ.
    """
    longest = sorted(texts, key=len)[-20:]
    some = [text for text in texts if int(_hash(text), 16) % ONE_OF == 0]
    return list(dict.fromkeys([*ODD_TEXTS, *longest, *some]))


def write(texts: list[str], vectors: np.ndarray) -> None:
    # 16 bits round a cosine by less than 0.000001
    hashes = np.array([_hash(text) for text in texts], dtype="S32")
    np.savez_compressed(PATH, hashes=hashes, vectors=vectors.astype(np.float16))


def read() -> dict[str, np.ndarray]:
    """The vectors that were written, by the hash of their text."""
    with np.load(PATH) as stored:
        hashes, vectors = stored["hashes"], stored["vectors"].astype(np.float32)
    return {
        digest.decode(): vector for digest, vector in zip(hashes, vectors, strict=True)
    }


def known(texts: list[str]) -> tuple[list[str], np.ndarray]:
    """Those of *texts* that have a vector, and their vectors, (n, d)."""
    stored = read()
    found = [text for text in texts if _hash(text) in stored]
    return found, np.array([stored[_hash(text)] for text in found])


def _hash(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
