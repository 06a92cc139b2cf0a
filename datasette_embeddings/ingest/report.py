"""What a run is asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Failure
from datasette_embeddings.models.base import Callback, ignore

#: How many of the rows that failed a report has
FAILURES_SHOWN = 10


@dataclass(frozen=True)
class IngestOptions:
    """Options of a run.

    *start* is called with the number of rows to embed, *progress* with how many more
    are done.
    """

    #: Delete items whose row was deleted
    prune: bool = False
    start: Callback = ignore
    progress: Callback = ignore
    #: Take only the first rows
    limit: int | None = None
    #: Build the collection again beside the old one, and swap them at the end
    rebuild: bool = False
    #: Read only the rows that changed, where their changes are recorded
    changed_only: bool = False
    #: The source takes the place of another, whose other items are deleted
    replace_source: bool = False
    #: Write nothing
    dry_run: bool = False
    #: Similarities to store; None for those that the collection has
    similarities: SimilaritySettings | None = None
    #: The kind of words index; None for the one that the collection has
    words: str | None = None


@dataclass(frozen=True)
class Report:
    """How many rows of the source a run found in each state."""

    new: int = 0
    changed: int = 0
    #: Only their metadata changed: nothing was embedded
    metadata: int = 0
    unchanged: int = 0
    #: Rows without content: not embedded, and the items they had are deleted
    empty: int = 0
    #: Rows that cannot be embedded; the items they had are kept
    failed: int = 0
    #: Of those, rows whose id is unknown: nothing is deleted then
    unread: int = 0
    #: Embedded items of which the model read only the beginning
    truncated: int = 0
    #: Chunks of the new and changed rows; None if they are whole
    chunks: int | None = None
    #: Documents whose row was deleted
    gone: int = 0
    pruned: bool = False
    #: Deleted documents of a source that this one replaced
    replaced: int = 0
    is_dry_run: bool = False
    #: The first of the rows that failed
    failures: tuple[Failure, ...] = ()
    #: What to do about clusters that many documents joined
    advice: str | None = None
    #: Files of a folder that are not embedded by design: how many of each kind
    left_out: Mapping[str, int] = field(default_factory=dict)
