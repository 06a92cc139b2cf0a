"""Words that no document has, and the nearest that some have."""

from __future__ import annotations

from datasette_embeddings.store.collections import StoredCollection

# Letters of a word that is corrected; shorter ones have too many neighbors
SHORTEST, LONGEST = 4, 24
# From this length on, two edits are a typing error, and not another word
LONG_WORD = 8
# Nearest words that are compared by how common they are
COMPARED = 20


def nearest_word(collection: StoredCollection, word: str) -> str | None:
    """The word of *collection* with the fewest edits from *word*, the commonest first.

    An edit is a letter too many, missing, another one, or two of them swapped (optimal
    string alignment): one in a word of up to seven letters, two in a longer one.  The
    first letter is nearly always right, and is kept.
    """
    if not (SHORTEST <= len(word) <= LONGEST and word.isalpha()):
        return None
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    edits = 1 if len(word) < LONG_WORD else 2
    rows = collection.conn.execute(
        """
        select word, documents
        from _embedding_vocabulary
        where collection_id = ?
        and word >= ?
        and word < ?
        and length(word) between ? and ?
        """,
        [
            collection.id,
            word[0],
            chr(ord(word[0]) + 1),
            len(word) - edits,
            len(word) + edits,
        ],
    )
    documents = dict(map(tuple, rows))
    near = process.extract(
        word, list(documents), scorer=OSA.distance, score_cutoff=edits, limit=COMPARED
    )
    found = [(distance, -documents[each], each) for each, distance, _place in near]
    return min(found)[2] if found else None
