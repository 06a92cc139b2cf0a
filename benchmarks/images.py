"""From image files to vectors.

    python benchmarks/images.py [--photos N] [--turns N]

Measured: ``embed_images()`` of the runtime ``open_clip``, on the bytes of JPEG files of
1,024 x 768 pixels, with two models: the tiny CLIP of the tests, where decoding is most
of the work, and a ViT-B-32 with random weights, where the model is.  Against: open_clip
itself (open, prepare, stack, ``encode_image``) in a plain loop, with the fastest of
several batch sizes.

Must hold: at least 0.95 times as fast.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from measuring import OURS, duration, median_seconds, print_line
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file

from datasette_embeddings import load_model

TINY_CLIP = Path(__file__).parent.parent / "tests" / "tiny_clip"
LARGE = "ViT-B-32"
SIZE = (1_024, 768)
BATCH_SIZES = (1, 8, 32, 64)
AT_LEAST = 0.95
AGREEMENT = 0.99999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=96)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_photos(folder, arguments.photos)
        large = write_untrained(folder / LARGE)
        for work, model in (("tiny CLIP", TINY_CLIP), (f"{LARGE}, untrained", large)):
            compare(work, model, photos, arguments.turns)


def compare(work: str, folder: Path, photos: Sequence[Path], turns: int) -> None:
    """Print the line of the model in *folder*."""
    ours = load_model(str(folder))
    by_hand = ByHand(folder)
    found, expected = embed(ours, photos), by_hand.embed(photos, BATCH_SIZES[-1])
    if (found * expected).sum(axis=1).min() < AGREEMENT:
        raise SystemExit(f"{work}: the two sides disagree")
    works = {OURS: lambda: embed(ours, photos)}
    for size in BATCH_SIZES:
        works[f"by hand, {size} at a time"] = lambda size=size: by_hand.embed(
            photos, size
        )
    times = median_seconds(turns, works)
    peers = {name: time for name, time in times.items() if name != OURS}
    peer = min(peers, key=peers.__getitem__)
    ratio = peers[peer] / times[OURS]
    figures = [
        f"{name} {duration(times[name])}, {len(photos) / times[name]:.1f} a second"
        for name in (OURS, peer)
    ]
    print_line(work, [*figures, f"{ratio:.2f}x as fast"], ratio, "x", at_least=AT_LEAST)


def embed(model, photos: Sequence[Path]) -> np.ndarray:
    """With this package."""
    return model.embed_images([photo.read_bytes() for photo in photos])


class ByHand:
    """As open_clip's README does it."""

    def __init__(self, folder: Path) -> None:
        model, _training, self.prepare = open_clip.create_model_and_transforms(
            f"local-dir:{folder}"
        )
        self.model = model.eval()

    def embed(self, photos: Sequence[Path], size: int) -> np.ndarray:
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(photos), size):
                some = photos[start : start + size]
                batch = torch.stack([self.prepare(Image.open(each)) for each in some])
                vectors.append(self.model.encode_image(batch, normalize=True).numpy())
        return np.concatenate(vectors)


def write_photos(folder: Path, count: int) -> list[Path]:
    """JPEG files with about as much in them as a photo has."""
    chance = random.Random(1)
    grain = np.random.default_rng(1)
    paths = []
    for number in range(count):
        picture = Image.new("RGB", SIZE, tuple(chance.choices(range(256), k=3)))
        pen = ImageDraw.Draw(picture)
        for _ in range(60):
            x, y = chance.randrange(SIZE[0]), chance.randrange(SIZE[1])
            colour = tuple(chance.choices(range(256), k=3))
            pen.ellipse((x, y, x + chance.randrange(300), y + 150), fill=colour)
        soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)), dtype=np.int16)
        noisy = soft + grain.integers(-12, 12, soft.shape)
        path = folder / f"{number}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=88)
        paths.append(path)
    return paths


def write_untrained(folder: Path) -> Path:
    """A model of that size in open_clip's own layout; its numbers mean nothing."""
    torch.manual_seed(1)
    folder.mkdir()
    model = open_clip.create_model(LARGE)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(LARGE), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


if __name__ == "__main__":
    main()
