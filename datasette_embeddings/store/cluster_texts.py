"""Names and words of clusters as they are read: another program may write any text."""

from __future__ import annotations

import json
import re

# Characters and words of a name that are read; no run writes so many
LONGEST_NAME, MOST_WORDS = 1_000, 20
# A lone surrogate
HALF = re.compile("[\ud800-\udfff]")


def text_sql(column: str) -> str:
    """SQL for a name as it is read: another program may have written any length."""
    return f"substr({column}, 1, {LONGEST_NAME})"


def texts_of(stored: str | None) -> tuple[str, ...]:
    """The texts in a JSON list; none if another program wrote something else."""
    try:
        found = json.loads(stored or "[]")
    except (ValueError, RecursionError):
        return ()
    texts = [e for e in found if isinstance(e, str)] if isinstance(found, list) else []
    # JSON can have half of a character, and no page can
    return tuple(each for each in texts if not HALF.search(each))
