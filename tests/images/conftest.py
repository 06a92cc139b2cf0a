from __future__ import annotations

import json
import os
import random
import runpy
import sys
from pathlib import Path

import pytest

from datasette_embeddings.models.registry import load_model
from tests.drawings import COMBINATIONS, draw, file_of

TINY_CLIP = Path(__file__).parent.parent / "tiny_clip"
BY_CAPTION = {each.caption: each for each in COMBINATIONS}
# What the tiny CLIP never saw while it learned
HELD_OUT = [
    BY_CAPTION[caption]
    for caption in json.loads((TINY_CLIP / "held_out.json").read_text("utf-8"))
]
RED_CIRCLES = BY_CAPTION["three red circles"]
IMAGES_OF_EACH = 12
# For an environment whose torchvision was compiled for another torch
WITHOUT_OPERATORS = Path(__file__).parent / "without_operators"


def pytest_collection_finish():
    """Before any test; not where the tests are only handed out: torch takes long."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        runpy.run_path(str(WITHOUT_OPERATORS / "sitecustomize.py"))
        # Also in the processes that tests start
        paths = str(WITHOUT_OPERATORS), os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


@pytest.fixture(scope="session")
def clip():
    """The tiny CLIP that lies beside the tests, through our door."""
    return load_model(str(TINY_CLIP))


@pytest.fixture(scope="session")
def by_hand():
    """The same model as open_clip itself opens it: model, preparation, tokenizer."""
    import open_clip

    name = f"local-dir:{TINY_CLIP}"
    model, _training, prepare = open_clip.create_model_and_transforms(name)
    return model.eval(), prepare, open_clip.get_tokenizer(name)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory) -> Path:
    """A folder with images of every combination, each in a folder of its caption."""
    folder = tmp_path_factory.mktemp("gallery")
    chance = random.Random(7)
    for what in COMBINATIONS:
        (folder / what.caption).mkdir()
        for number in range(IMAGES_OF_EACH):
            path = folder / what.caption / f"{number}.png"
            path.write_bytes(file_of(draw(what, chance)))
    return folder


@pytest.fixture
def image():
    """One drawn image."""
    return draw(RED_CIRCLES, random.Random(3))
