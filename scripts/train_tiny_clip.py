"""Train the tiny CLIP of the tests: python -m scripts.train_tiny_clip tests/tiny_clip

A real model of open_clip's, with its own tokenizer, that knows shapes, colours and
counts.  It takes a few minutes on two cores.  Some combinations are never shown to it,
and held_out.json beside the weights says which: what it finds of them it understood.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize

from tests.drawings import COMBINATIONS, Combination, draw

SEED = 20_240_607
# The same sums in the same order on every machine with two cores
THREADS = 2
CONFIG: Mapping[str, object] = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": 48,
        "layers": 4,
        "width": 128,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49_408,
        "width": 64,
        "heads": 2,
        "layers": 2,
    },
}
HELD_OUT = 20
ALWAYS_HELD_OUT = Combination("three", "red", "circle")
PICTURES_OF_EACH = 120
STEPS = 1_800
LEARNING_RATE = 2e-3
CAPTIONS = ("{}", "a photo of {}", "a picture of {}")
# Of each combination, when it is measured
TEST_PICTURES = 12
NEAREST = 10


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    chance = random.Random(SEED)
    others = [each for each in COMBINATIONS if each != ALWAYS_HELD_OUT]
    held_out = [ALWAYS_HELD_OUT, *chance.sample(others, HELD_OUT - 1)]
    shown = [each for each in COMBINATIONS if each not in held_out]
    model = open_clip.CLIP(**CONFIG)
    train(model, shown, chance)
    model = halved(model)
    for name, some in (("shown", shown), ("held out", held_out)):
        by_text, by_picture = precision(model, some, chance)
        print(f"{name}: precision@{NEAREST} {by_text:.3f} by text, {by_picture:.3f}")
    write(model, held_out, folder)


def tensors(pictures: Sequence[Combination], chance: random.Random) -> torch.Tensor:
    """A new picture of each of *pictures*, as open_clip itself prepares it."""
    size = CONFIG["vision_cfg"]["image_size"]
    prepare = image_transform_v2(PreprocessCfg(size=size), is_train=False)
    return torch.stack([prepare(draw(each, chance)) for each in pictures])


def captions(some: Sequence[Combination], chance: random.Random) -> torch.Tensor:
    """The tokens of *some*, each in one of several wordings."""
    tokenize = open_clip.SimpleTokenizer(
        context_length=CONFIG["text_cfg"]["context_length"]
    )
    return tokenize([chance.choice(CAPTIONS).format(each.caption) for each in some])


def train(
    model: open_clip.CLIP, shown: Sequence[Combination], chance: random.Random
) -> None:
    """Bring each picture near to its caption and away from all other captions.

    A batch has one picture of each combination, so that no two captions agree.
    """
    pictures = torch.stack(
        [tensors([each] * PICTURES_OF_EACH, chance) for each in shown]
    )
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS
    )
    right = torch.arange(len(shown))
    for step in range(STEPS):
        chosen = torch.randint(PICTURES_OF_EACH, (len(shown),))
        images = model.encode_image(pictures[right, chosen], normalize=True)
        texts = model.encode_text(captions(shown, chance), normalize=True)
        scores = model.logit_scale.exp().clamp(max=100) * images @ texts.T
        loss = (cross_entropy(scores, right) + cross_entropy(scores.T, right)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)


def halved(model: open_clip.CLIP) -> open_clip.CLIP:
    """*model* with the numbers that fp16 leaves of its weights."""
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    return model.eval()


@torch.no_grad()
def precision(
    model: open_clip.CLIP, asked: Sequence[Combination], chance: random.Random
) -> tuple[float, float]:
    """How many of the nearest pictures are right, by caption and by picture.

    They are looked for among new pictures of every combination.
    """
    shown = [each for each in COMBINATIONS for _ in range(TEST_PICTURES)]
    found = model.encode_image(tensors(shown, chance), normalize=True)
    tokenize = open_clip.SimpleTokenizer(
        context_length=CONFIG["text_cfg"]["context_length"]
    )
    texts = model.encode_text(tokenize([each.caption for each in asked]))
    images = model.encode_image(tensors(asked, chance))
    shares = []
    for questions in (texts, images):
        nearest = (normalize(questions, dim=-1) @ found.T).topk(NEAREST).indices
        right = [
            shown[place] == each
            for each, places in zip(asked, nearest.tolist(), strict=True)
            for place in places
        ]
        shares.append(sum(right) / len(right))
    return shares[0], shares[1]


def write(model: open_clip.CLIP, held_out: Sequence[Combination], folder: Path) -> None:
    """*model* as a folder that open_clip opens as local-dir:FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    size = CONFIG["vision_cfg"]["image_size"]
    preparing = PreprocessCfg(size=size)
    config = {
        "model_cfg": CONFIG,
        "preprocess_cfg": {
            "mean": preparing.mean,
            "std": preparing.std,
            "interpolation": preparing.interpolation,
            "resize_mode": preparing.resize_mode,
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(
        {name: value.half() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "held_out.json").write_text(
        json.dumps([each.caption for each in held_out], indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
