"""How many tokens a text has for open_clip's tokenizers, and where each stands.

These only cut a text and fill it up, so what they are made of is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import ModelError

if TYPE_CHECKING:
    from datasette_embeddings.chunking import TokenSpans

WORD = re.compile(r"\S+")
# What open_clip's own tokenizer puts at both ends of a text, and at the end of a word
ENDS = 2
END_OF_WORD = "</w>"


def count(tokenizer: Any, texts: Sequence[str]) -> list[int]:  # noqa: ANN401
    """How many tokens each of *texts* has, uncut, those at its ends included."""
    if _is_own(tokenizer):
        return [len(tokenizer.encode(text)) + ENDS for text in texts]
    return [len(ids) for ids in tokenizer.tokenizer(list(texts))["input_ids"]]


def spans(tokenizer: Any, texts: Sequence[str]) -> list[TokenSpans]:  # noqa: ANN401
    """Where each token of each of *texts* stands, in characters.

    :raises ModelError: if the tokenizer does not tell.
    """
    if _is_own(tokenizer):
        return [list(_own_spans(tokenizer, text)) for text in texts]
    if not getattr(tokenizer.tokenizer, "is_fast", False):
        raise ModelError(
            "The tokenizer of this model does not tell where a token is, so its texts "
            "cannot be split; leave out --chunk"
        )
    encoded = tokenizer.tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True
    )
    found: list[TokenSpans] = encoded["offset_mapping"]
    return found


def _is_own(tokenizer: Any) -> bool:  # noqa: ANN401
    """Whether it is that of OpenAI's CLIP, and not one of transformers'."""
    return hasattr(tokenizer, "encode")


def _own_spans(tokenizer: Any, text: str) -> Iterator[tuple[int, int]]:  # noqa: ANN401
    """It never looks beyond white space, so each word is asked about by itself."""
    for word in WORD.finditer(text):
        start, end = word.span()
        ids = tokenizer.encode(word[0])
        for low, high in _spans_in_word(tokenizer, word[0], ids):
            yield min(start + low, end - 1), min(start + high, end)


def _spans_in_word(
    tokenizer: Any,  # noqa: ANN401
    word: str,
    ids: Sequence[int],
) -> Iterator[tuple[int, int]]:
    """Where the tokens *ids* of *word* stand in it.

    A token is some bytes of the word in lower case.  Where the tokenizer mended the
    word first, each token is said to be the whole of it.
    """
    sizes = [len(tokenizer.decoder[each].removesuffix(END_OF_WORD)) for each in ids]
    # The place of the character that each byte is part of
    places = [
        place for place, char in enumerate(word) for _ in char.lower().encode("utf-8")
    ]
    if sum(sizes) != len(places):
        yield from [(0, len(word))] * len(ids)
        return
    done = 0
    for size in sizes:
        yield places[done], places[done + size - 1] + 1
        done += size
