from __future__ import annotations

import pytest
from datasette.utils import path_from_row_pks, tilde_decode, tilde_encode
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings import documents
from datasette_embeddings.errors import SourceError

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_tilde_encoding_is_datasettes(text):
    encoded = tilde_encode(text)
    assert documents.tilde_encode(text) == encoded
    assert documents.tilde_decode(encoded) == tilde_decode(encoded)


@pytest.mark.parametrize(
    ("key", "item_id"),
    [
        ([7], "7"),
        (["a/b, c"], "a/b, c"),
        ([1.5], "1.5"),
        (["a/b", "c,d"], "a~2Fb,c~2Cd"),
        ([1, ""], "1,"),
    ],
    ids=["integer", "text", "real", "compound", "empty part"],
)
def test_an_item_id_is_the_key_as_text_or_a_row_path(key, item_id):
    assert documents.item_id_of(key) == item_id


@given(st.lists(texts, min_size=2, max_size=3))
def test_the_item_id_of_a_compound_key_is_datasettes_row_path(key):
    columns = [f"key_{place}" for place in range(len(key))]
    row = dict(zip(columns, key, strict=True))
    item_id = documents.item_id_of(key)
    assert item_id == path_from_row_pks(row, columns, use_rowid=False)
    assert documents.key_values(item_id, len(key)) == key


def test_a_null_in_the_key_is_refused():
    with pytest.raises(SourceError, match="NULL"):
        documents.item_id_of([1, None])
