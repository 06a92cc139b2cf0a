"""Words as the ends of an axis of images."""

from __future__ import annotations

import random

from datasette_embeddings import Embeddings
from tests.drawings import draw, file_of
from tests.images.conftest import BY_CAPTION, COMBINATIONS, RED_CIRCLES

OTHER = next(
    each
    for each in COMBINATIONS
    if "red" not in each.caption and "circle" not in each.caption
)


def test_texts_are_the_ends_of_a_collection_of_images(clip):
    chance = random.Random(5)
    assert BY_CAPTION[OTHER.caption] is OTHER
    with Embeddings(":memory:") as db:
        photos = db.collection("photos", model=clip, create=True)
        photos.embed_many(
            (f"{name} {number}", file_of(draw(what, chance)))
            for number in range(4)
            for name, what in (("red", RED_CIRCLES), ("other", OTHER))
        )
        placed = photos.axis([RED_CIRCLES.caption], [OTHER.caption])
        items = photos.axis(low_items=["red 0"], high_items=["other 0"])
    for found in (placed, items):
        assert [each.match.id.split()[0] for each in found] == ["red"] * 4 + [
            "other"
        ] * 4
