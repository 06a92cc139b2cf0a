"""The bundled int8 model against sentence-transformers running the fp32 weights.

Recall is measured on a sample of the standard library, because torch takes long over
all of it: every fourth entry, of whatever length.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from safetensors.numpy import load_file

from datasette_embeddings.cli.demo import library_entries
from datasette_embeddings.errors import ModelError, UnknownModelError
from datasette_embeddings.models.folder import read_model_folder
from datasette_embeddings.models.onnx import BUNDLED_FOLDER, OnnxModel, pool
from datasette_embeddings.models.registry import load_model
from tests.hub import MODEL_ID, link_files, reference_folder

REPOSITORY = Path(__file__).parent.parent
LEAST_COSINE = 0.998
LEAST_RECALL = 0.97
NEIGHBOURS = 10
SAMPLE_STEP = 4
DEQUANTIZE = "DequantizeLinear"

# 32 texts of the kinds that people have in tables, and of those that break programs
ODD_TEXTS = [
    "",
    " ",
    "\n\n\t",
    "a",
    "?",
    "word",
    "Hello world",
    "HELLO WORLD",
    "word " * 5_000,
    "antidisestablishmentarianism",
    "x" * 1_000,
    "ab" * 20,
    "🎉",
    "👩‍👩‍👧‍👦 at the beach 🏖️ 🇫🇷",
    "日本語の文章を検索する。",
    "中文维基百科",
    "한국어 문장",
    "مرحبا بالعالم، هذا نص عربي",
    "שלום עולם",
    "Привет, мир",
    "नमस्ते दुनिया",
    "ภาษาไทยไม่เว้นวรรค",
    "naïve café, Ångström; e\u0301 decomposed",
    "def f(x):\n    return [y ** 2 for y in x if y % 2 == 0]",
    "select id, name from users where email like '%@example.com' limit 10;",
    '{"name": "Ada", "born": 1815, "tags": ["mathematics", null]}',
    "<p class='x'>Hello &amp; <b>goodbye</b></p>",
    "https://example.com/a/b?c=d&e=f#g",
    "3.14159 2.71828 1,000,000 -40 6.02e23",
    "∀ε>0 ∃δ>0: |x·a|<δ ⇒ |f(x)·f(a)|<ε",
    "nul \x00 bell \x07 escape \x1b[31m red \x7f \u200b\ufeff\ufffd",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
]
MIXED_TEXTS = [
    "short",
    "A sentence of a dozen words that says nothing of any importance.",
    "",
    "longer and longer " * 60,
    "日本語の文章を検索する。",
    "another short one",
]


@pytest.fixture(scope="session")
def reference():
    """The fp32 weights in sentence-transformers, the peer of every comparison here."""
    return sentence_transformer(reference_folder())


def sentence_transformer(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="session")
def library_texts():
    return [f"{entry.path} {entry.doc}" for entry in library_entries()]


@pytest.fixture(scope="session")
def library_sample(library_texts):
    """Every fourth text of the library, long ones and short ones."""
    return library_texts[::SAMPLE_STEP]


@pytest.fixture
def folder(tmp_path):
    """The bundled model once more: the small files to edit, the weights as a link."""
    copy = tmp_path / "model"
    link_files(BUNDLED_FOLDER, copy)
    for link in copy.rglob("*.json"):
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    return copy


def write_json(path, content):
    path.write_text(json.dumps(content), "utf-8")


def cosines(a, b):
    """The cosine similarity of each row of *a* to the same row of *b*."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / lengths


def nearest(vectors, count):
    """The places of the *count* nearest others of each row, (n, count)."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :count]


# The same vectors


def test_the_reference_is_the_published_model(reference):
    vector = reference.encode("Hello world")
    assert vector[:5] == pytest.approx(
        [-0.03447725, 0.03102325, 0.00673496, 0.02610892, -0.03936201], abs=1e-6
    )


def test_every_kind_of_text_has_nearly_the_fp32_vector(model, reference, library_texts):
    # The longest entries, and more spread over the alphabet
    long = sorted(library_texts, key=len)[-20:]
    texts = [*ODD_TEXTS, *long, *library_texts[:: len(library_texts) // 250]]
    found = cosines(model.embed_passages(texts), reference.encode(texts))
    far = {
        text[:40]: float(cosine)
        for text, cosine in zip(texts, found, strict=True)
        if not cosine >= LEAST_COSINE
    }
    assert far == {}
    assert len(texts) >= 300


def test_neighbours_are_those_of_the_fp32_vectors(model, reference, library_sample):
    found = nearest(model.embed_passages(library_sample), NEIGHBOURS)
    expected = nearest(reference.encode(library_sample), NEIGHBOURS)
    shared = [
        len(set(ours) & set(theirs))
        for ours, theirs in zip(found, expected, strict=True)
    ]
    assert np.mean(shared) / NEIGHBOURS >= LEAST_RECALL


@pytest.fixture(params=["bundled", "fp32"])
def embed(request, model, reference):
    """Texts to vectors, by our model or by the one it stands for."""
    return {"bundled": model.embed_passages, "fp32": reference.encode}[request.param]


def test_a_text_is_cut_at_256_tokens(embed):
    # Two of them mark the ends
    shorter, full, longer, longest = embed(
        ["word " * count for count in (253, 254, 255, 6_000)]
    )
    assert full == pytest.approx(longest, abs=1e-5)
    assert full == pytest.approx(longer, abs=1e-5)
    assert np.abs(full - shorter).max() > 1e-4


def test_5000_words_are_as_good_as_more_of_them(model, library_texts):
    words = " ".join(library_texts).split()[:10_000]
    [text, longer] = model.embed_passages([" ".join(words[:5_000]), " ".join(words)])
    assert text == pytest.approx(longer, abs=1e-5)


def test_tokens_are_counted_uncut(model):
    assert model.count_tokens(["", "word", "word " * 5_000]) == [2, 3, 5_002]


def test_a_vector_is_the_same_alone_and_in_a_batch(model):
    together = model.embed_passages(MIXED_TEXTS)
    alone = [model.embed_passages([text])[0] for text in MIXED_TEXTS]
    assert together == pytest.approx(np.array(alone), abs=1e-5)


def test_vectors_come_in_the_order_of_their_texts(model):
    vectors = model.embed_passages(MIXED_TEXTS)
    backwards = model.embed_passages(MIXED_TEXTS[::-1])
    assert backwards[::-1] == pytest.approx(vectors, abs=1e-5)


def test_a_query_has_the_vector_of_the_same_passage(model):
    [passage] = model.embed_passages(["Hello world"])
    assert model.embed_query("Hello world").tolist() == passage.tolist()


def test_no_texts_give_no_vectors(model):
    assert model.embed_passages([]).shape == (0, 384)


# Loading


@pytest.mark.parametrize("alias", ["all-MiniLM-L6-v2", "mini-l6"])
def test_an_alias_is_the_same_model(alias):
    assert load_model(alias) is load_model(MODEL_ID)


def test_16_threads_share_one_model_and_each_gets_its_own_answer(folder, model):
    texts = [f"The text of thread number {number}" for number in range(16)]
    start = Barrier(len(texts))

    def embed_in_a_thread(text):
        start.wait()
        # Nobody has loaded this folder before
        loaded = load_model(str(folder))
        return loaded, loaded.embed_passages([text])[0]

    with ThreadPoolExecutor(len(texts)) as threads:
        models, vectors = zip(*threads.map(embed_in_a_thread, texts), strict=True)
    assert len(set(models)) == 1
    assert np.array(vectors) == pytest.approx(model.embed_passages(texts), abs=1e-5)


def test_an_unknown_model_is_an_error_with_the_reason_of_each_runtime():
    with pytest.raises(UnknownModelError) as caught:
        load_model("no-such-model")
    assert str(caught.value).startswith(
        "The model 'no-such-model' is not available. Describe it in the settings "
    )
    assert caught.value.reasons[:2] == (
        f"bundled: the bundled model is {MODEL_ID}",
        "onnx: expected a folder of that name, or under 'path', or in the hub's cache, "
        "with modules.json, tokenizer.json and onnx/model.onnx: there is none",
    )


@pytest.mark.parametrize(
    "name",
    ["modules.json", "tokenizer.json", "1_Pooling/config.json", "onnx/model.onnx"],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        OnnxModel("mine", folder)


@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "onnx/model.onnx",
    ],
)
def test_a_damaged_file_is_named(folder, name):
    (folder / name).unlink()
    (folder / name).write_text("{ not what it should be", "utf-8")
    with pytest.raises(ModelError, match=name):
        OnnxModel("mine", folder)


def test_a_module_that_is_not_supported_is_named(folder):
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    dense = {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", [*modules, dense])
    with pytest.raises(ModelError, match=r"modules\.json asks for Dense; supported"):
        OnnxModel("mine", folder)


def test_a_pooling_that_is_not_supported_is_named(folder):
    config = {"pooling_mode_weightedmean_tokens": True}
    write_json(folder / "1_Pooling/config.json", config)
    with pytest.raises(ModelError, match=r"config\.json asks .* \['weightedmean'\]"):
        OnnxModel("mine", folder)


# What a folder's own files ask for


def test_prompts_of_the_folder_are_put_in_front(folder, model):
    prompts = {"query": "query: ", "passage": "passage: "}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    prompted = OnnxModel("mine", folder)
    found = [prompted.embed_query("text"), *prompted.embed_passages(["text"])]
    expected = model.embed_passages(["query: text", "passage: text"])
    assert np.array(found) == pytest.approx(expected, abs=1e-5)


def test_a_prompt_counts_among_the_tokens(folder):
    prompts = {"document": "one two three "}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    assert OnnxModel("mine", folder).count_tokens(["four"]) == [6]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("", "")),
        ({"prompts": {"query": "Q "}}, ("Q ", "")),
        ({"prompts": {"query": "Q ", "document": "D "}}, ("Q ", "D ")),
        ({"prompts": {"document": "D ", "passage": "P "}}, ("", "D ")),
        ({"prompts": {"search": "S "}, "default_prompt_name": "search"}, ("S ", "S ")),
        (
            {
                "prompts": {"query": "Q ", "document": "D "},
                "default_prompt_name": "query",
            },
            ("Q ", "D "),
        ),
        (
            {
                "prompts": {"query": "Q ", "passage": "P "},
                "default_prompt_name": "query",
            },
            ("Q ", "P "),
        ),
    ],
    ids=[
        "none",
        "query",
        "both",
        "document-first",
        "default",
        "default-with-document",
        "default-with-passage",
    ],
)
def test_each_role_has_its_own_prompt_or_the_default(folder, config, expected):
    write_json(folder / "config_sentence_transformers.json", config)
    read = read_model_folder(folder)
    assert (read.query_prompt, read.passage_prompt) == expected


STATES = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)  # (b, n, d)
LENGTHS = [5, 1, 3]
MASK = np.array([[1] * length + [0] * (5 - length) for length in LENGTHS])  # (b, n)


@pytest.mark.parametrize(
    ("pooling", "pool_one"),
    [
        ("cls", lambda tokens: tokens[0]),
        ("lasttoken", lambda tokens: tokens[-1]),
        ("max", lambda tokens: tokens.max(axis=0)),
        ("mean", lambda tokens: tokens.sum(axis=0) / len(tokens)),
        (
            "mean_sqrt_len_tokens",
            lambda tokens: tokens.sum(axis=0) / np.sqrt(len(tokens)),
        ),
    ],
    ids=["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens"],
)
def test_pooling_looks_at_the_tokens_and_not_at_the_padding(pooling, pool_one):
    expected = [
        pool_one(states[:length])
        for states, length in zip(STATES, LENGTHS, strict=True)
    ]
    assert pool(STATES, MASK, pooling) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("flag", "modules"),
    [
        ("pooling_mode_cls_token", 3),
        ("pooling_mode_max_tokens", 3),
        ("pooling_mode_mean_sqrt_len_tokens", 3),
        ("pooling_mode_lasttoken", 3),
        ("pooling_mode_mean_tokens", 2),
    ],
    ids=["cls", "max", "mean_sqrt_len_tokens", "lasttoken", "not-normalized"],
)
def test_a_folder_is_run_as_sentence_transformers_runs_it(folder, flag, modules):
    listed = json.loads((folder / "modules.json").read_text("utf-8"))
    write_json(folder / "modules.json", listed[:modules])
    config = {"word_embedding_dimension": 384, flag: True}
    write_json(folder / "1_Pooling/config.json", config)
    weights = reference_folder() / "model.safetensors"
    (folder / weights.name).symlink_to(weights)
    found = OnnxModel("mine", folder).embed_passages(MIXED_TEXTS)
    expected = sentence_transformer(folder).encode(MIXED_TEXTS)
    # Vectors of one length with a cosine of 0.998 are 0.063 of it apart
    apart = np.linalg.norm(found - expected, axis=1)
    assert (apart / np.linalg.norm(expected, axis=1)).max() <= 0.063


# The files


def files(folder):
    """The content of each file under *folder*, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_folder_is_at_most_27_megabytes():
    assert sum(map(len, files(BUNDLED_FOLDER).values())) <= 27_000_000


def test_the_script_makes_the_files_that_are_in_the_repository(tmp_path):
    script = REPOSITORY / "scripts/build_bundled_model.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    built, committed = files(tmp_path), files(BUNDLED_FOLDER)
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == []


def test_every_weight_matrix_is_stored_as_int8():
    graph = onnx.load(BUNDLED_FOLDER / "onnx/model.onnx").graph
    stored = [tensor for tensor in graph.initializer if len(tensor.dims) == 2]
    int8_numbers = sum(
        math.prod(tensor.dims)
        for tensor in stored
        if tensor.data_type == TensorProto.INT8
    )
    weights = load_file(reference_folder() / "model.safetensors")
    # The pooler is a head for another task: its output is no part of the vector
    fp32_numbers = sum(
        weight.size
        for name, weight in weights.items()
        if (weight.ndim, weight.dtype) == (2, np.float32)
        and not name.startswith("pooler.")
    )
    assert int8_numbers == fp32_numbers


def test_the_only_large_float_matrices_are_scales():
    graph = onnx.load(BUNDLED_FOLDER / "onnx/model.onnx").graph
    scales = {node.input[1] for node in graph.node if node.op_type == DEQUANTIZE}
    large = [
        list(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and tensor.name not in scales
        and len(tensor.dims) == 2
        and math.prod(tensor.dims) > 10_000
    ]
    # One number for each of the 30,522 word pieces: the scales of their embeddings
    assert large == [[30_522, 1]]


def test_license_and_origin_stand_beside_the_weights():
    license_text = (BUNDLED_FOLDER / "LICENSE").read_text("utf-8")
    origin = (BUNDLED_FOLDER / "README.md").read_text("utf-8")
    assert license_text == (REPOSITORY / "LICENSE").read_text("utf-8")
    assert "Apache License" in license_text
    assert MODEL_ID in origin
