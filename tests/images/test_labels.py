"""Which labels fit pictures: those of open_clip itself, with the model's own scale."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from datasette_embeddings import Embeddings
from datasette_embeddings.analysis.labels import (
    label_vectors,
    probabilities,
    prompts,
    scale_of,
)
from datasette_embeddings.cli.commands import embeddings
from tests.drawings import COMBINATIONS, draw, file_of
from tests.images.conftest import HELD_OUT, RED_CIRCLES, TINY_CLIP

CAPTIONS = [each.caption for each in COMBINATIONS]
PICTURES_OF_EACH = 3


@pytest.fixture(scope="module")
def pictures():
    """Pictures of combinations that the model never saw, and what they show."""
    chance = random.Random(18)
    shown = HELD_OUT * PICTURES_OF_EACH
    return [file_of(draw(each, chance)) for each in shown], shown


@pytest.mark.parametrize("template", [None, "a photo of {}"])
def test_the_probabilities_are_those_of_open_clip(clip, by_hand, pictures, template):
    import torch

    model, prepare, tokenize = by_hand
    files, _shown = pictures
    batch = torch.stack([prepare(Image.open(io.BytesIO(each))) for each in files])
    with torch.no_grad():
        images = model.encode_image(batch, normalize=True)
        texts = model.encode_text(tokenize(prompts(CAPTIONS, template)), normalize=True)
        logits = model.logit_scale.exp() * images @ texts.T
        expected = logits.softmax(dim=-1).numpy()
    cosines = clip.embed_images(files) @ label_vectors(clip, CAPTIONS, template).T
    assert scale_of(clip) == pytest.approx(model.logit_scale.exp().item())
    assert np.abs(probabilities(cosines, scale_of(clip)) - expected).max() < 1e-3


def test_what_was_never_seen_is_named(clip, pictures):
    files, shown = pictures
    cosines = clip.embed_images(files) @ label_vectors(clip, CAPTIONS).T
    order = np.argsort(-cosines, axis=1)
    right = np.array([CAPTIONS.index(each.caption) for each in shown])
    # Of 120 labels
    assert (order[:, 0] == right).mean() > 0.5
    assert (order[:, :5] == right[:, np.newaxis]).any(axis=1).mean() > 0.9


def test_a_picture_has_labels_in_python_and_in_the_shell(tmp_path):
    path = tmp_path / "drawings.db"
    picture = file_of(draw(RED_CIRCLES, random.Random(3)))
    labels = ["three red circles", "one blue star", "two green squares"]
    with Embeddings(path) as db:
        drawings = db.collection("drawings", model=str(TINY_CLIP), create=True)
        drawings.embed("red", picture)
        by_item = drawings.labels(labels, id="red")
        assert drawings.labels(labels, picture) == by_item
        assert by_item[0].label == labels[0]
        assert by_item[0].probability > 0.9
    file = tmp_path / "red.png"
    file.write_bytes(picture)
    given = ["labels", str(path), "drawings", "-i", str(file), "--binary"]
    given += [part for label in labels for part in ("-l", label)]
    result = CliRunner().invoke(embeddings, [*given, "--format", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == [each._asdict() for each in by_item]
