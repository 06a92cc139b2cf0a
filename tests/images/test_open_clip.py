from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import InvalidInputError, ModelError, UnknownModelError
from datasette_embeddings.models import open_clip_weights, registry
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.models.open_clip import OpenClipModel, find
from tests.drawings import COMBINATIONS, draw, file_of
from tests.hub import FOREIGN, REVISION
from tests.images.conftest import HELD_OUT, TINY_CLIP

TEXTS = [
    "three red circles",
    "Two GREEN  squares,\nand what they've in common: 7 &amp; 8",
    "",
    "naïve café, ein blauer Stern ⭐ 東京",
    "a very long text about circles " * 20,
]


def wanted(model_id=str(TINY_CLIP), **settings):
    return ModelSpec(model_id, ModelConfig(**settings))


def loaded(**settings):
    return OpenClipModel(wanted(**settings), TINY_CLIP)


def cosines(one, other):
    """The cosine of each row with its counterpart."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / norms


def drawn(count, seed=1):
    chance = random.Random(seed)
    return [draw(chance.choice(COMBINATIONS), chance) for _ in range(count)]


def run(code, **environment):
    """*code* in a new process that sees no cache and no network."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN)
    }
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        env=inherited | {"HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
    )


def said(code, **environment):
    """What *code* prints."""
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_texts_are_embedded_as_by_hand(clip, by_hand):
    import torch

    model, _prepare, tokenizer = by_hand
    with torch.inference_mode():
        expected = model.encode_text(tokenizer(TEXTS)).numpy()
    found = clip.embed_passages(TEXTS)
    assert cosines(found, expected).min() >= 0.99999
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert found.dtype == np.float32
    assert cosines(clip.embed_queries(TEXTS), expected).min() >= 0.99999


def test_images_are_embedded_as_by_hand(clip, by_hand):
    import torch

    images = drawn(70)
    model, prepare, _tokenizer = by_hand
    with torch.inference_mode():
        batch = torch.stack([prepare(each) for each in images])
        expected = model.encode_image(batch).numpy()
    done = []
    found = clip.embed_images([file_of(each) for each in images], progress=done.append)
    assert cosines(found, expected).min() >= 0.99999
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert (found.shape, found.dtype, sum(done)) == ((70, 64), np.float32, 70)
    assert len(done) > 1


def test_an_image_has_the_vector_of_its_upright_self(clip):
    from PIL import Image

    image = drawn(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    asleep = file_of(image.transpose(Image.Transpose.ROTATE_90))
    found = clip.embed_images([file_of(image), turned, asleep])
    assert cosines(found[:1], found[1:2])[0] >= 0.99999
    assert cosines(found[:1], found[2:])[0] < 0.9999


@pytest.mark.parametrize(
    ("kind", "mode", "least"),
    [
        ("JPEG", "RGB", 0.98),
        ("WEBP", "RGB", 0.98),
        ("GIF", "RGB", 0.98),
        ("TIFF", "RGB", 0.99999),
        ("BMP", "RGB", 0.99999),
        ("JPEG", "CMYK", 0.95),
        ("PNG", "RGBA", 0.99999),
        ("PNG", "P", 0.95),
    ],
)
def test_an_image_in_another_format_has_nearly_its_vector(clip, kind, mode, least):
    images = drawn(8)
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    others = [file_of(each.convert(mode), kind, **options) for each in images]
    found = clip.embed_images(others)
    assert cosines(found, clip.embed_images(list(map(file_of, images)))).min() > least


def test_nothing_gives_no_vectors(clip):
    assert clip.embed_images([]).shape == (0, 64)
    assert clip.embed_passages([]).shape == (0, 64)


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_embedded(clip):
    good = [file_of(each) for each in drawn(40)]
    mixed = [*good[:20], b"no image", *good[20:], good[0][:200], b""]
    done = []
    outcomes = clip.image_outcomes(mixed, progress=done.append)
    reasons = {
        place: each for place, each in enumerate(outcomes) if isinstance(each, str)
    }
    assert sum(done) == len(mixed)
    assert list(reasons) == [20, 41, 42]
    assert "begin with b'no image'" in reasons[20]
    assert "cut short or broken" in reasons[41]
    assert reasons[42] == "Expected an image, found nothing"
    vectors = np.stack([each for each in outcomes if not isinstance(each, str)])
    assert cosines(vectors, clip.embed_images(good)).min() >= 0.99999
    with pytest.raises(InvalidInputError, match="no image"):
        clip.embed_images(mixed)


def test_a_batch_of_nothing_but_broken_images_needs_no_run(clip, monkeypatch):
    monkeypatch.setattr(clip._model, "encode_image", pytest.fail)
    assert all(isinstance(each, str) for each in clip.image_outcomes([b"a", b"b"]))


def test_prompts_come_from_the_settings(clip):
    prompted = loaded(query_prompt="a photo of ", passage_prompt="an image of ")
    expected = clip.embed_query("a photo of two pink stars")
    assert prompted.embed_query("two pink stars") == pytest.approx(expected, abs=1e-6)
    expected = clip.embed_passages(["an image of two pink stars"])
    assert prompted.embed_passages(["two pink stars"]) == pytest.approx(
        expected, abs=1e-6
    )
    assert (clip.query_prompt, clip.passage_prompt) == ("", "")
    assert prompted.count_tokens([""]) == [5]


def test_tokens_are_counted_uncut(clip, by_hand):
    _model, _prepare, tokenizer = by_hand
    assert clip.max_tokens == 16
    assert clip.passage_tokens == 14
    counts = clip.count_tokens(TEXTS)
    for text, count in zip(TEXTS, counts, strict=True):
        ids = tokenizer([text], context_length=200)[0]
        assert count == int((ids != 0).sum()), text
    assert counts[2] == 2
    assert counts[4] > 100


def test_a_long_word_takes_no_long_time_to_count(clip):
    started = time.process_time()
    [count] = clip.count_tokens(["".join(chr(97 + n % 26) for n in range(20_000))])
    assert 1_000 < count < 20_100
    assert time.process_time() - started < 5


def test_a_text_cannot_be_split(clip):
    with pytest.raises(ModelError, match="leave out --chunk"):
        clip.token_spans(["two pink stars"])


def test_a_long_text_is_cut_and_not_refused(clip):
    long = "circle " * 50
    assert clip.embed_passages([long])[0] == pytest.approx(
        clip.embed_passages(["circle " * 60])[0], abs=1e-6
    )


def test_a_text_that_utf_8_cannot_hold_is_refused(clip):
    with pytest.raises(InvalidInputError, match="UTF-8"):
        clip.embed_passages(["fine", "\ud800"])


def test_many_threads_get_the_same_vectors(clip):
    images = [file_of(each) for each in drawn(24)]
    texts = [each.caption for each in HELD_OUT]
    images_alone, texts_alone = clip.embed_images(images), clip.embed_passages(texts)
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        if number % 2:
            return cosines(clip.embed_images(images), images_alone).min()
        return cosines(clip.embed_passages(texts), texts_alone).min()

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(work, range(8))) >= 0.99999


def test_the_batch_is_halved_where_memory_runs_out(clip, monkeypatch):
    """Simulated: the model is made to raise what torch raises for more than five."""
    images = [file_of(each) for each in drawn(40)]
    expected = clip.embed_images(images)
    encode, sizes = clip._model.encode_image, []

    def encode_few(batch, **options):
        sizes.append(len(batch))
        if len(batch) > 5:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(batch, **options)

    monkeypatch.setattr(clip._model, "encode_image", encode_few)
    assert cosines(clip.embed_images(images), expected).min() >= 0.99999
    assert sizes[:4] == [32, 16, 8, 4]
    assert set(sizes[4:]) == {4, 8}


def test_a_failure_of_the_model_is_told(clip, monkeypatch):
    def fail(*_given, **_named):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(clip._model, "encode_image", fail)
    with pytest.raises(ModelError, match=r"tiny_clip' fails: the device is gone"):
        clip.embed_images([file_of(drawn(1)[0])])


def test_dimensions_are_all_or_refused():
    assert loaded(dimensions=64).dimensions == 64
    with pytest.raises(ModelError, match=r"Expected the 64 dimensions .* found 32"):
        loaded(dimensions=32)


def test_settings_of_the_machine(clip):
    import torch

    before = torch.get_num_threads()
    try:
        model = loaded(threads=1, batch_size=3, device="cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    images = [file_of(each) for each in drawn(7)]
    done = []
    found = model.embed_images(images, progress=done.append)
    assert done == [3, 3, 1]
    assert cosines(found, clip.embed_images(images)).min() >= 0.99999
    with pytest.raises(ModelError, match=r"cannot be loaded.*warp"):
        loaded(device="warp")


def test_a_folder_is_found_by_its_name_and_by_its_path():
    assert isinstance(find(wanted()), Candidate)
    found = find(wanted("images", path=str(TINY_CLIP)))
    assert isinstance(found, Candidate)
    assert not found.downloads
    assert found.load().model_id == "images"
    assert registry.find(wanted()).runtime == "open_clip"


NOT_HERE = """
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.models.names import ModelSpec
from datasette_embeddings.models.open_clip import find
for model_id in ("clip", "open_clip/ViT-B-32/openai", "open_clip/ViT-B-33/openai",
                 "open_clip/ViT-B-32/unknown", "open_clip/ViT-B-32", "some/model", "x"):
    found = find(ModelSpec(model_id))
    print(model_id, "|", found.reason, found.way_out)
print(find(ModelSpec("clip", may_download=True)).downloads)
config = ModelConfig(runtime="open_clip")
print(find(ModelSpec("x/y", config, may_download=True)).downloads)
"""
NOT_FETCHED = """
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.registry import load_model
try:
    load_model("clip", may_download=True)
except ModelError as error:
    print(error)
"""
IN_THE_CACHE = """
from datasette_embeddings.models.registry import load_model
model = load_model("me/mine")
print(model.revision, model.dimensions, model.model_id)
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """What each of these prints where the cache has one model.

    One process runs all of them, because each would import open_clip for seconds.
    """
    cache = tmp_path_factory.mktemp("cache")
    snapshot = cache / "models--me--mine" / "snapshots" / REVISION
    shutil.copytree(TINY_CLIP, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(REVISION)
    codes = [NOT_HERE, NOT_FETCHED, IN_THE_CACHE]
    told = said("print('---')".join(codes), HF_HUB_CACHE=str(cache))
    return dict(zip(codes, told.split("---\n"), strict=True))


def test_what_is_not_here_is_told(offline):
    lines = offline[NOT_HERE].splitlines()
    told = dict(line.split(" | ") for line in lines[:-2])
    not_here = "the files of timm/vit_base_patch32_clip_224.openai are not here"
    assert told["clip"].startswith(not_here)
    assert told["clip"].endswith("datasette embeddings models fetch clip")
    assert told["open_clip/ViT-B-32/openai"].startswith(not_here)
    assert "it has none" in told["open_clip/ViT-B-33/openai"]
    assert "it has openai, laion400m" in told["open_clip/ViT-B-32/unknown"]
    assert "with ''" in told["open_clip/ViT-B-32"]
    assert "expected open_clip/ARCHITECTURE/WEIGHTS" in told["some/model"]
    assert lines[-2:] == ["True", "True"]


def test_all_weights_of_open_clip_can_be_named():
    import open_clip

    table = open_clip.list_pretrained()
    assert len(table) > 150
    for architecture, tag in table:
        weights = open_clip_weights.checkpoint(architecture, tag.replace("_", "-"))
        assert weights.repository.count("/") == 1
        assert weights.files[-1].endswith((".bin", ".pt", ".pth", ".safetensors"))
    with pytest.raises(InvalidInputError, match="'openai2'"):
        open_clip_weights.checkpoint("ViT-B-32", "openai2")


def test_a_library_that_cannot_be_imported_is_told(tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('no torchvision::nms')")
    code = """
from datasette_embeddings.models.registry import load_model
try:
    load_model("clip")
except Exception as error:
    print(error)
"""
    told = said(code, PYTHONPATH=str(tmp_path))
    assert "Open_clip cannot be imported: no torchvision::nms; install a torch" in told


def test_what_cannot_be_fetched_is_told(offline):
    start = "The model 'timm/vit_base_patch32_clip_224.openai' cannot be fetched from"
    assert offline[NOT_FETCHED].startswith(start)


def changed_folder(tmp_path, name, content):
    folder = tmp_path / "clip"
    shutil.copytree(TINY_CLIP, folder)
    (folder / name).write_bytes(content)
    return str(folder)


def bad_config(**changes):
    config = json.loads((TINY_CLIP / "open_clip_config.json").read_text("utf-8"))
    config["model_cfg"].update(changes)
    return json.dumps(config).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("open_clip_model.safetensors", b"broken", "cannot be loaded"),
        ("open_clip_config.json", b"{", "cannot be loaded"),
        ("open_clip_config.json", b"{}", "missing 'model_cfg'"),
        ("open_clip_config.json", bad_config(embed_dim=32), "size mismatch"),
        (
            "open_clip_config.json",
            bad_config(vision_cfg={"timm_model_name": "no"}),
            "no",
        ),
        ("open_clip_config.json", bad_config(nonsense=1), "nonsense"),
    ],
    ids=["weights", "json", "empty", "dimensions", "architecture", "setting"],
)
def test_broken_files_are_told(tmp_path, name, content, message):
    model_id = changed_folder(tmp_path, name, content)
    with pytest.raises(ModelError, match=f"cannot be loaded: .*{message}|{message}"):
        registry.load_model(model_id)


def test_a_folder_without_weights_is_none(tmp_path):
    shutil.copy(TINY_CLIP / "open_clip_config.json", tmp_path)
    assert isinstance(find(wanted(str(tmp_path))), Unavailable)
    found = find(wanted("images", path=str(tmp_path)))
    assert found.reason == (
        f"expected open_clip_config.json and weights in the folder {tmp_path}"
    )
    with pytest.raises(UnknownModelError, match="open_clip: expected open_clip_config"):
        registry.load_model(
            "images", {"images": ModelConfig(path=str(tmp_path), runtime="open_clip")}
        )


def test_a_repository_in_the_hubs_cache_has_its_commit_for_a_revision(offline):
    assert offline[IN_THE_CACHE] == f"{REVISION} 64 me/mine"


def test_clip_is_what_openai_trained_with_its_own_activation(tmp_path):
    """Weights of that name, with random numbers in them, lie where the hub has them."""
    code = f"""
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from datasette_embeddings.models.registry import load_model
import open_clip
torch.manual_seed(1)
by_hand = open_clip.create_model("ViT-B-32-quickgelu").eval()
repository = "models--timm--vit_base_patch32_clip_224.openai"
folder = Path(os.environ["HF_HUB_CACHE"], repository, "snapshots", "{REVISION}")
folder.mkdir(parents=True)
(folder.parent.parent / "refs").mkdir()
(folder.parent.parent / "refs" / "main").write_text("{REVISION}")
save_file(by_hand.state_dict(), folder / "open_clip_model.safetensors")
tokens = open_clip.get_tokenizer("ViT-B-32")(["two blue stars"])
with torch.inference_mode():
    expected = by_hand.encode_text(tokens, normalize=True)[0].numpy()
    del by_hand
model = load_model("clip")
found = model.embed_query("two blue stars")
print(float(expected @ found) > 0.99999, model.dimensions, model.max_tokens)
print(model.revision, model._fit.transforms[0].size)
for module in model._model.modules():
    assert not isinstance(module, torch.nn.GELU)
"""
    try:
        told = said(code, HF_HUB_CACHE=str(tmp_path))
    finally:
        shutil.rmtree(tmp_path)
    assert told.splitlines() == ["True 512 77", f"{REVISION} 224"]
