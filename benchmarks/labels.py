"""Labels: how often the right one is the best, and how true its probability is.

    python benchmarks/labels.py --corpus CORPUS.json
    python benchmarks/labels.py --clip tests/tiny_clip

The corpus, a list of objects with topic, title and body, is labelled with the names of
its topics, by the bundled model; beside it the topic that most of the nearest others
have, each left out once.  With several scales of the softmax: the mean negative
logarithm of the right probability, and the expected calibration error in ten bins.

The tiny CLIP labels pictures of combinations that it never saw; the peer is open_clip's
own zero-shot classification of the same pictures, in the same run.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np

from datasette_embeddings import load_model
from datasette_embeddings.analysis.labels import (
    label_vectors,
    probabilities,
    prompts,
    scale_of,
)
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.vectors import normalize

SCALES = (10, 15, 20, 25, 30, 50, 100)
NEIGHBOURS = (1, 5, 10)
TEMPLATES = (None, "a photo of {}", "This text is about {}.")
PICTURES_OF_EACH, SEED = 12, 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--clip", type=Path)
    given = parser.parse_args()
    if given.corpus:
        label_topics(given.corpus)
    if given.clip:
        label_pictures(given.clip)


def label_topics(path: Path) -> None:
    articles = json.loads(path.read_text("utf-8"))
    topics = sorted({each["topic"] for each in articles})
    right = np.array([topics.index(each["topic"]) for each in articles])
    model = load_model(DEFAULT_MODEL)
    texts = [f"{each['title']}\n{each['body']}" for each in articles]
    vectors = normalize(model.embed_passages(texts))
    print(f"{len(articles)} articles, {len(topics)} topics")
    for template in TEMPLATES:
        cosines = vectors @ label_vectors(model, topics, template).T
        print(f"{template or 'no template'}: {accuracies(cosines, right)}")
        if template is None:
            for scale in SCALES:
                report_scale(cosines, right, scale)
    near = vectors @ vectors.T
    np.fill_diagonal(near, -2)
    order = np.argsort(-near, axis=1)
    for count in NEIGHBOURS:
        best = [Counter(right[row[:count]]).most_common(1)[0][0] for row in order]
        share = np.mean(np.array(best) == right)
        print(f"most of the {count} nearest articles: right at 1 {share:.3f}")


def accuracies(cosines: np.ndarray, right: np.ndarray) -> str:
    order = np.argsort(-cosines, axis=1)
    first = np.mean(order[:, 0] == right)
    fifth = np.mean((order[:, :5] == right[:, np.newaxis]).any(axis=1))
    return f"right at 1 {first:.3f}, at 5 {fifth:.3f}"


def report_scale(cosines: np.ndarray, right: np.ndarray, scale: float) -> None:
    shares = probabilities(cosines, scale)
    loss = -np.log(shares[np.arange(len(right)), right]).mean()
    best, is_right = shares.max(axis=1), shares.argmax(axis=1) == right
    bins = np.minimum((best * 10).astype(int), 9)
    error = sum(
        abs(best[bins == each].mean() - is_right[bins == each].mean())
        * (bins == each).mean()
        for each in set(bins.tolist())
    )
    print(f"  scale {scale:3}: loss {loss:.3f}, calibration error {error:.3f}")


def label_pictures(folder: Path) -> None:
    import open_clip
    import torch
    from PIL import Image

    from tests.drawings import COMBINATIONS, draw, file_of

    held_out = json.loads((folder / "held_out.json").read_text("utf-8"))
    captions = [each.caption for each in COMBINATIONS]
    shown = [each for each in COMBINATIONS if each.caption in held_out]
    chance = random.Random(SEED)
    files = [file_of(draw(each, chance)) for each in shown * PICTURES_OF_EACH]
    right = np.array(
        [captions.index(each.caption) for each in shown * PICTURES_OF_EACH]
    )
    model = load_model(str(folder))
    images = model.embed_images(files)
    print(f"{len(files)} pictures, {len(captions)} labels, scale {scale_of(model):.2f}")
    name = f"local-dir:{folder}"
    peer, _training, prepare = open_clip.create_model_and_transforms(name)
    peer.eval()
    tokenize = open_clip.get_tokenizer(name)
    batch = torch.stack([prepare(Image.open(io.BytesIO(each))) for each in files])
    for template in TEMPLATES[:2]:
        cosines = images @ label_vectors(model, captions, template).T
        ours = probabilities(cosines, scale_of(model))
        with torch.no_grad():
            features = peer.encode_image(batch, normalize=True)
            texts = peer.encode_text(
                tokenize(prompts(captions, template)), normalize=True
            )
            logits = peer.logit_scale.exp() * features @ texts.T
            theirs = logits.softmax(dim=-1).numpy()
        difference = np.abs(ours - theirs).max()
        print(f"{template or 'no template'}: {accuracies(cosines, right)}")
        print(f"  at most {difference:.1e} from open_clip's own probabilities")
        print(f"  its {accuracies(theirs, right)}")


if __name__ == "__main__":
    main()
