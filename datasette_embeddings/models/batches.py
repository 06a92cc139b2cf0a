"""Many texts or images, as many at a time as memory holds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import ignore

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors

Content = TypeVar("Content")
# torch.OutOfMemoryError and ONNX Runtime's failures share nothing but their words
OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "can't allocate memory")


def in_batches(
    contents: Sequence[Content],
    size: int,
    embed: Callable[[Sequence[Content]], Vectors],
    *,
    dimensions: int | None = None,
    progress: Callable[[int], None] = ignore,
    free: Callable[[], None] = lambda: None,
) -> Vectors:
    """One vector of each of *contents*, (n, d), *size* at a time.

    The first tell how many *dimensions* there are where nobody knows before.
    Where memory runs out, *free* is called and half as many are tried, from then on.

    :raises ModelError: if there is not enough memory for a single one.
    """
    import numpy as np

    vectors = np.empty((len(contents), dimensions or 0), dtype=np.float32)
    start = 0
    while start < len(contents):
        count = min(size, len(contents) - start)
        try:
            # Contents may be made only now
            some = contents[start : start + count]
            found = embed(some)
            if dimensions is None:
                dimensions = found.shape[1]
                vectors = np.empty((len(contents), dimensions), dtype=np.float32)
            vectors[start : start + count] = found
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if count == 1:
                raise ModelError(
                    f"There is not enough memory to embed a single one: {error}"
                ) from error
        else:
            start += count
            progress(count)
            continue
        # Not while the error holds the arrays of the run that failed
        size = count // 2
        free()
    return vectors


def is_out_of_memory(error: Exception) -> bool:
    """Whether *error* says that memory ran out, of the machine or of its device."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(each in said for each in OUT_OF_MEMORY)


def free_memory() -> None:
    """Give back what a run of torch's that failed had."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
