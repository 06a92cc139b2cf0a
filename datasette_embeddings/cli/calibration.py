"""``evaluate --calibrate``: from which closeness on an answer is close."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasette_embeddings.cli.output import progress
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.calibration import (
    FEWEST_QUESTIONS,
    Calibration,
    closeness_of,
)
from datasette_embeddings.search.questions import Question, read_texts
from datasette_embeddings.search.text_search import FEWEST_DOCUMENTS, mode_of
from datasette_embeddings.store.collection_writes import store_closeness
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.words_check import count_indexed


def off_topic_texts(
    collection: StoredCollection, path: Path | None, *, is_alone: bool
) -> list[str]:
    """The questions in the file at *path* that *collection* has no answers to.

    Empty without a file.  Only a collection that *is_alone* can be calibrated.
    """
    if path is None:
        return []
    if not is_alone:
        raise InvalidInputError(
            "Expected --calibrate with a file of QUESTIONS for one collection, found "
            "it with --compare or --known-item"
        )
    if not collection.has_words:
        # Closeness is by words, too
        mode_of(collection, "words")
    count = count_indexed(collection)
    if count < FEWEST_DOCUMENTS:
        raise InvalidInputError(
            f"Expected at least {FEWEST_DOCUMENTS} documents in the words index to "
            f"calibrate, found {count} of {collection.name!r}; sync indexes those that "
            "are missing"
        )
    texts = read_texts(path)
    _check_count("questions off topic", len(texts))
    return texts


def calibrated(
    collection: StoredCollection,
    model: EmbeddingModel,
    real: Sequence[Question],
    off_topic: Sequence[str],
    *,
    silent: bool,
) -> Calibration | None:
    """How close the answers are to both sorts of questions; stores the threshold.

    None if no questions are *off_topic*.
    """
    if not off_topic:
        return None
    asked = list(dict.fromkeys(each.text for each in real))
    _check_count("different questions that have answers", len(asked))
    collection.check_settings(model.settings)
    found = list[float]()
    with progress("calibrating", silent=silent, unit=" searches") as callbacks:
        callbacks["start"](len(asked) + len(off_topic))
        for text in [*off_topic, *asked]:
            found.append(closeness_of(collection, text, model))
            callbacks["progress"](1)
    calibration = Calibration(found[: len(off_topic)], found[len(off_topic) :])
    if calibration.threshold is not None:
        store_closeness(collection, calibration.threshold)
    return calibration


def _check_count(what: str, count: int) -> None:
    if count < FEWEST_QUESTIONS:
        raise InvalidInputError(
            f"Expected at least {FEWEST_QUESTIONS} {what} to calibrate, found {count}"
        )
