"""What a run is told, and what it tells afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Failure
from datasette_embeddings.models.base import ignore


@dataclass(frozen=True)
class Report:
    """What became of each row of the source, and of items that it no longer has."""

    new: int = 0
    changed: int = 0
    #: Only their metadata changed: nothing was embedded
    metadata: int = 0
    unchanged: int = 0
    #: Rows without content: not embedded, and what they had before is removed
    empty: int = 0
    #: Rows that cannot be embedded; what they had before is kept
    failed: int = 0
    #: Of those, rows of which nobody knows which item they would be: nothing is pruned
    unread: int = 0
    #: Of the items embedded, how many were cut to the model's length
    truncated: int = 0
    #: Chunks that the new and changed rows were split into; None if they are whole
    chunks: int | None = None
    #: Documents that the source no longer has
    gone: int = 0
    pruned: bool = False
    #: Deleted documents: of a source that this one replaced, and not in this one
    replaced: int = 0
    is_dry_run: bool = False
    #: How long a dry run supposes that the work would take
    estimated_s: float | None = None
    #: The first of the rows that failed
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class IngestOptions:
    """How a source is brought in.

    *prune* deletes what is gone; *limit* takes only the first rows; *rebuild* makes the
    collection anew beside the old; *dry_run* writes nothing.  *start* hears how many
    rows there are, *progress* how many more of them are done.
    """

    prune: bool = False
    start: Callable[[int], None] = ignore
    progress: Callable[[int], None] = ignore
    limit: int | None = None
    rebuild: bool = False
    #: The source takes the place of another, whose other items are deleted
    replace_source: bool = False
    dry_run: bool = False
    #: What similarities the collection is to have; None for what it has
    similarities: SimilaritySettings | None = None
