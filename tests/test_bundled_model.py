"""The bundled int8 model against the fp32 weights.

In every run against vectors that sentence-transformers made of a sample of texts, and
with --all against those that it makes now, of every fourth entry of the library.
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

from datasette_embeddings.errors import ModelError, UnknownModelError
from datasette_embeddings.models.files import prompts_of
from datasette_embeddings.models.onnx import BUNDLED_FOLDER, OnnxModel, pool
from datasette_embeddings.models.registry import load_model
from tests import reference
from tests.hub import MODEL_ID, link_files, reference_folder

REPOSITORY = Path(__file__).parent.parent
LEAST_COSINE = 0.998
LEAST_RECALL = 0.97
NEIGHBOURS = 10
SAMPLE_STEP = 4
DEQUANTIZE = "DequantizeLinear"

MIXED_TEXTS = [
    "short",
    "A sentence of a dozen words that says nothing of any importance.",
    "",
    "longer and longer " * 60,
    "日本語の文章を検索する。",
    "another short one",
]


@pytest.fixture(scope="session")
def stdlib_texts():
    return reference.stdlib_texts()


@pytest.fixture(scope="session")
def torch_model():
    return reference.reference_model()


@pytest.fixture(
    scope="session", params=["sample", pytest.param("library", marks=pytest.mark.long)]
)
def compared(request, stdlib_texts):
    """Texts, and the vectors that the fp32 weights give, (n, d)."""
    if request.param == "sample":
        return reference.known(reference.sample_texts(stdlib_texts))
    texts = [*reference.ODD_TEXTS, *stdlib_texts[::SAMPLE_STEP]]
    return texts, request.getfixturevalue("torch_model").encode(texts)


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


def test_the_reference_is_the_published_model():
    _texts, [vector] = reference.known(["Hello world"])
    assert vector[:5] == pytest.approx(
        [-0.03447725, 0.03102325, 0.00673496, 0.02610892, -0.03936201], abs=2e-5
    )


@pytest.mark.long
def test_the_vectors_in_the_repository_are_those_of_the_fp32_weights(
    torch_model, stdlib_texts
):
    texts, vectors = reference.known(reference.sample_texts(stdlib_texts))
    assert cosines(vectors, torch_model.encode(texts)).min() >= 0.99999


@pytest.fixture(scope="session")
def embedded(model, compared):
    """The vectors that the bundled model gives to the texts of *compared*, (n, d)."""
    texts, _vectors = compared
    return model.embed_passages(texts)


def test_every_kind_of_text_has_nearly_the_fp32_vector(embedded, compared):
    texts, expected = compared
    found = cosines(embedded, expected)
    far = {
        text[:40]: float(cosine)
        for text, cosine in zip(texts, found, strict=True)
        if not cosine >= LEAST_COSINE
    }
    assert far == {}
    # Another Python has other texts, but the odd ones are always the same
    assert set(reference.ODD_TEXTS) <= set(texts)
    assert len(texts) >= 150


def test_neighbours_are_those_of_the_fp32_vectors(embedded, compared):
    _texts, vectors = compared
    found = nearest(embedded, NEIGHBOURS)
    expected = nearest(vectors, NEIGHBOURS)
    shared = [
        len(set(ours) & set(theirs))
        for ours, theirs in zip(found, expected, strict=True)
    ]
    assert np.mean(shared) / NEIGHBOURS >= LEAST_RECALL


@pytest.fixture(params=["bundled", pytest.param("fp32", marks=pytest.mark.long)])
def embed(request, model):
    """Texts to vectors, by our model or by the one it stands for."""
    if request.param == "bundled":
        return model.embed_passages
    return request.getfixturevalue("torch_model").encode


def test_a_text_is_cut_at_256_tokens(embed):
    # Two of them mark the ends
    shorter, full, longer, longest = embed(
        ["word " * count for count in (253, 254, 255, 6_000)]
    )
    assert full == pytest.approx(longest, abs=1e-5)
    assert full == pytest.approx(longer, abs=1e-5)
    assert np.abs(full - shorter).max() > 1e-4


def test_5000_words_are_as_good_as_more_of_them(model, stdlib_texts):
    words = " ".join(stdlib_texts).split()[:10_000]
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
        # No thread has loaded this folder before
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
    assert prompts_of(folder) == expected


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
        pytest.param("pooling_mode_cls_token", 3, marks=pytest.mark.long),
        ("pooling_mode_max_tokens", 3),
        pytest.param("pooling_mode_mean_sqrt_len_tokens", 3, marks=pytest.mark.long),
        pytest.param("pooling_mode_lasttoken", 3, marks=pytest.mark.long),
        pytest.param("pooling_mode_mean_tokens", 2, marks=pytest.mark.long),
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
    expected = reference.sentence_transformer(folder).encode(MIXED_TEXTS)
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


@pytest.mark.long
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
