"""Runtimes: which one serves a model, and that it does so as its library would."""

from __future__ import annotations

import gc
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.request import urlopen

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import Config, ModelConfig
from datasette_embeddings.errors import ConfigError, ModelError, UnknownModelError
from datasette_embeddings.models import (
    names,
    onnx_export,
    registry,
    sentence_transformer,
)
from datasette_embeddings.models.base import in_batches
from datasette_embeddings.models.names import Candidate, ModelSpec
from datasette_embeddings.models.onnx import BUNDLED_FOLDER, OnnxModel
from datasette_embeddings.models.registry import (
    candidates,
    find,
    load,
    load_model,
    model_spec,
)
from datasette_embeddings.models.sentence_transformer import SentenceTransformerModel
from datasette_embeddings.serving.allowed_models import start
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from tests.hub import FOREIGN, MODEL_ID, REVISION, Hub, link_files, reference_folder

TEXTS = [
    "a",
    "How do I make a backup?",
    "Die Möwe fliegt über das Wasser. " * 40,
    "",
    "🐈 und 🐕",
]


@pytest.fixture(scope="module")
def folder():
    return reference_folder()


@pytest.fixture(scope="module")
def torch_model(folder):
    """The real MiniLM, as sentence-transformers executes it."""
    model = load_model(str(folder))
    assert isinstance(model, SentenceTransformerModel)
    return model


@pytest.fixture
def copy(folder, tmp_path):
    """A folder with the files of the real MiniLM, some of which a test changes."""
    link_files(folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def small(copy):
    """The same with one narrow layer of random weights, which is soon exported."""
    from transformers import BertConfig, BertModel

    config = json.loads((copy / "config.json").read_text("utf-8"))
    narrow = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    for path in (copy / "config.json", copy / "model.safetensors"):
        path.unlink()
    model = BertModel(BertConfig(**config | narrow | {"num_attention_heads": 2}))
    model.save_pretrained(copy)
    write_json(copy / "1_Pooling" / "config.json", {"word_embedding_dimension": 32})
    return copy


def by_hand(folder, **options):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", **options)


def write_json(path, content):
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def cosines(a, b):
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b))
    return (a * b).sum(axis=1)


# sentence-transformers


def test_vectors_are_those_of_the_library(torch_model, folder):
    library = by_hand(folder)
    passages = torch_model.embed_passages(TEXTS)
    assert passages.dtype == np.float32
    assert passages == pytest.approx(library.encode_document(TEXTS), abs=1e-6)
    queries = torch_model.embed_queries(TEXTS)
    assert queries == pytest.approx(library.encode_query(TEXTS), abs=1e-6)
    assert torch_model.embed_query(TEXTS[1]) == pytest.approx(queries[1], abs=1e-6)


def test_they_are_in_the_space_of_the_bundled_model(torch_model, model):
    ours, theirs = (each.embed_passages(TEXTS) for each in (model, torch_model))
    assert cosines(ours, theirs).min() >= 0.998


def test_it_knows_what_its_files_say(torch_model, model):
    assert (torch_model.dimensions, torch_model.max_tokens) == (384, 256)
    assert (torch_model.normalized, torch_model.device) == (True, "cpu")
    assert torch_model.count_tokens(TEXTS) == model.count_tokens(TEXTS)
    assert torch_model.token_spans(TEXTS) == model.token_spans(TEXTS)


def test_no_texts_give_no_vectors(torch_model):
    assert torch_model.embed_passages([]).shape == (0, 384)
    assert torch_model.count_tokens([]) == []


def test_progress_hears_of_every_text(torch_model):
    heard = []
    torch_model.embed_passages(["text"] * 70, progress=heard.append)
    assert sum(heard) == 70
    assert len(heard) > 1


def test_prompts_come_from_the_files_or_from_the_owner(copy, folder):
    prompts = {"query": "query: ", "passage": "passage: "}
    write_json(copy / "config_sentence_transformers.json", {"prompts": prompts})
    own = load_model(str(copy))
    assert (own.query_prompt, own.passage_prompt) == ("query: ", "passage: ")
    library = by_hand(folder)
    assert own.embed_passages(["x"]) == pytest.approx(
        library.encode(["passage: x"]), abs=1e-6
    )
    assert own.embed_query("x") == pytest.approx(library.encode("query: x"), abs=1e-6)
    settings = ModelConfig(query_prompt="", passage_prompt="text: ")
    given = load_model(str(copy), {str(copy): settings})
    assert given.embed_passages(["x"]) == pytest.approx(
        library.encode(["text: x"]), abs=1e-6
    )
    assert given.embed_query("x") == pytest.approx(library.encode("x"), abs=1e-6)
    assert given.count_tokens(["x"]) == [5]


def test_stored_content_stays_without_prompts(copy, conn, tmp_path):
    settings = {"models": {"e5": {"path": str(copy), "passage_prompt": "passage: "}}}
    (tmp_path / "m.yml").write_text(
        json.dumps({"plugins": {"datasette-embeddings": settings}}), "utf-8"
    )
    path = tmp_path / "docs.db"
    with sqlite3.connect(path) as disk:
        conn.backup(disk)
    declared = {"articles": {"table": "articles", "model": "e5", "store": True}}
    settings["collections"] = declared
    (tmp_path / "m.yml").write_text(
        json.dumps({"plugins": {"datasette-embeddings": settings}}), "utf-8"
    )
    result = run("sync", path, "--config", tmp_path / "m.yml")
    assert result.exit_code == 0, result.output
    contents = disk.execute("select content from embeddings order by id").fetchall()
    assert contents[0][0].startswith("Sourdough Flour")
    found = collection(disk, "articles")
    assert (found.settings.passage_prompt, found.model_id) == ("passage: ", "e5")
    disk.close()


def test_a_part_of_the_dimensions_may_be_kept(copy, torch_model):
    with pytest.raises(ModelError, match="at most the 384 dimensions"):
        load_model(str(copy), {str(copy): ModelConfig(dimensions=500)})
    model = load_model(str(copy), {str(copy): ModelConfig(dimensions=64)})
    assert model.dimensions == 64
    whole = torch_model.embed_passages(TEXTS)[:, :64]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert model.embed_passages(TEXTS) == pytest.approx(expected, abs=1e-6)


def test_code_that_came_with_a_model_runs_only_where_the_owner_says_so(copy):
    code = "open(__file__ + '.ran', 'w').close()\nclass Pooling:\n    pass\n"
    (copy / "own.py").write_text(code, "utf-8")
    modules = json.loads((copy / "modules.json").read_text("utf-8"))
    modules[1]["type"] = "own.Pooling"
    write_json(copy / "modules.json", modules)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(copy))
    assert not (copy / "own.py.ran").exists()


def test_a_damaged_file_is_one_line(copy):
    write_json(copy / "config.json", {"model_type": "no such thing"})
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_model(str(copy))
    assert "\n" not in str(caught.value)


def test_threads_share_one_model(torch_model):
    texts = [f"The text of thread {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: torch_model.embed_query(text), texts))
    assert np.array(found) == pytest.approx(torch_model.embed_queries(texts), abs=1e-6)


# Memory that runs out; simulated, because a test cannot fill the machine


def test_the_batch_is_halved_where_memory_runs_out():
    tried = []

    def embed(some):
        tried.append(len(some))
        if len(some) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.array([[float(each)] for each in some], dtype=np.float32)

    vectors = in_batches(range(10), 8, embed)
    assert vectors.ravel().tolist() == list(range(10))
    assert tried == [8, 4, 2, 2, 2, 2, 2]


def test_memory_for_not_even_one_is_said():
    def embed(_some):
        raise MemoryError

    with pytest.raises(ModelError, match="not enough memory to embed a single one"):
        in_batches(range(4), 4, embed)


def test_another_failure_is_not_taken_for_it():
    def embed(_some):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        in_batches(range(4), 4, embed)


def test_the_model_goes_on_with_smaller_batches(torch_model, monkeypatch):
    encode = torch_model.encoder.encode_document
    sizes = []

    def scarce(texts, **options):
        sizes.append(len(texts))
        if len(texts) > 10:
            raise RuntimeError("MPS backend out of memory")
        return encode(texts, **options)

    monkeypatch.setattr(torch_model.encoder, "encode_document", scarce)
    texts = [f"{'word ' * (number % 7)}{number}" for number in range(40)]
    found = torch_model.embed_passages(texts)
    monkeypatch.undo()
    assert found == pytest.approx(torch_model.embed_passages(texts), abs=1e-5)
    assert sizes[:3] == [32, 16, 8]


# Which runtime serves what


def test_the_bundled_model_comes_first():
    assert find(model_spec("mini-l6", {})).runtime == "onnx"


def test_the_owner_may_name_the_runtime(folder):
    settings = {
        MODEL_ID: ModelConfig(runtime="sentence-transformers", path=str(folder))
    }
    assert find(model_spec("mini-l6", settings)).runtime == "sentence-transformers"


def test_a_device_is_for_a_runtime_that_has_it(folder):
    settings = {"x": ModelConfig(path=str(folder), device="cuda")}
    answers = dict(candidates(model_spec("x", settings)))
    assert answers["onnx"].reason == "it runs on the processor, not on cuda"
    assert isinstance(answers["sentence-transformers"], Candidate)


def test_onnx_comes_before_torch_where_a_folder_has_both(tmp_path, folder):
    both = tmp_path / "both"
    link_files(BUNDLED_FOLDER, both)
    (both / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert find(model_spec(str(both), {})).runtime == "onnx"
    on_gpu = {str(both): ModelConfig(device="cuda:0")}
    assert find(model_spec(str(both), on_gpu)).runtime == "sentence-transformers"


def test_an_error_tells_what_each_runtime_lacks():
    with pytest.raises(UnknownModelError) as caught:
        find(model_spec("example/nothing", {}))
    said = "\n".join(caught.value.reasons)
    assert "onnx: expected a folder of that name" in said
    assert "sentence-transformers: its files are not here" in said
    way_out = "Download it with: datasette embeddings models fetch example/nothing"
    assert str(caught.value).endswith(f"is not available. {way_out}")


def test_dimensions_are_never_passed_over():
    with pytest.raises(UnknownModelError, match="onnx: it keeps all dimensions"):
        load_model("mini-l6", {MODEL_ID: ModelConfig(runtime="onnx", dimensions=64)})


def test_a_folder_of_an_unknown_user_is_no_traceback():
    with pytest.raises(
        UnknownModelError, match="Copy its files to the folder ~no-such-user/x"
    ):
        load_model("x", {"x": ModelConfig(path="~no-such-user/x")})


def test_the_short_name_of_clip_is_the_same_model():
    assert names.is_same_model("clip", "open_clip/ViT-B-32/openai")
    settings = {"open_clip/ViT-B-32/openai": ModelConfig(device="cuda")}
    assert model_spec("clip", settings).config.device == "cuda"
    assert not names.is_same_model("clip", "mini-l6")


def test_a_static_model_reads_texts_of_any_length(tmp_path, folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    made = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu"
    )
    made.save_pretrained(str(tmp_path / "static"))
    static = load_model(str(tmp_path / "static"))
    assert (static.dimensions, static.max_tokens) == (16, None)
    assert static.embed_passages(TEXTS[:3]) == pytest.approx(
        made.encode_document(TEXTS[:3]), abs=1e-6
    )
    with pytest.raises(ModelError, match="begins with a StaticEmbedding"):
        onnx_export.export(static, tmp_path / "out")


# Unloading


def test_an_idle_model_gives_its_memory_back(folder):
    settings = {"idle": ModelConfig(path=str(folder), unload_after=0.2)}
    model = load_model("idle", settings)
    model.query_vector("a question")
    while registry._loaded.get(model_spec("idle", settings)) is not None:
        time.sleep(0.05)
    expected, gone = model.embed_query("x"), weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    again = load_model("idle", settings)
    assert again.embed_query("x") == pytest.approx(expected, abs=1e-6)


def test_a_model_that_is_asked_for_stays(folder):
    settings = {"busy": ModelConfig(path=str(folder), unload_after=3_600)}
    model, key = load_model("busy", settings), model_spec("busy", settings)
    registry._loaded[key].used -= 4_000
    # Each request keeps it
    assert load(key) is model
    registry._unload_if_idle(key)
    assert load(key) is model
    registry._loaded[key].used -= 4_000
    registry._unload_if_idle(key)
    assert key not in registry._loaded


def test_a_model_stays_where_nothing_is_said():
    model = load_model(MODEL_ID)
    registry._loaded[model_spec(MODEL_ID, {})].used -= 100_000
    registry._unload_if_idle(model_spec(MODEL_ID, {}))
    assert registry._loaded[model_spec(MODEL_ID, {})] is model


# Export


@pytest.fixture(scope="module")
def exported(torch_model, tmp_path_factory):
    """The real MiniLM as ONNX, and its lowest cosine to the original."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    return folder, onnx_export.export(torch_model, folder)


def test_an_export_gives_the_same_vectors(exported, torch_model):
    folder, cosine = exported
    served = load_model(str(folder))
    assert isinstance(served, OnnxModel)
    original = torch_model.embed_passages(TEXTS)
    assert cosines(served.embed_passages(TEXTS), original).min() >= 0.99999
    assert cosine >= 0.99999
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size / 1e6 < 95
    assert served.count_tokens(TEXTS) == torch_model.count_tokens(TEXTS)
    assert (served.max_tokens, served.normalized) == (256, True)


def test_an_export_is_served_where_no_torch_is(exported, articles_db):
    code = """
import sys
for name in ("torch", "sentence_transformers", "transformers"):
    sys.modules[name] = None
from datasette_embeddings.cli.commands import embeddings
embeddings()
"""
    folder = str(exported[0])
    for arguments in (
        ["embed", "mine", "-t", "articles", "--model", folder],
        ["search", "mine", "how do I mend a bike", "--format", "nl"],
    ):
        command = [arguments[0], str(articles_db), *arguments[1:]]
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["id"] == "3"


def test_prompts_and_lower_case_survive_an_export(small, tmp_path):
    prompts = {"query": "Q: ", "document": "D: "}
    write_json(small / "config_sentence_transformers.json", {"prompts": prompts})
    original = load_model(str(small))
    onnx_export.export(original, tmp_path / "out")
    served = load_model(str(tmp_path / "out"))
    assert (served.query_prompt, served.passage_prompt) == ("Q: ", "D: ")
    assert cosines(
        served.embed_queries(["Wörld"]), original.embed_queries(["Wörld"])
    ) == pytest.approx(1, abs=1e-5)


def test_settings_are_added_where_an_export_is_served(small, tmp_path):
    settings = {"path": str(small), "passage_prompt": "passage: "}
    metadata = named(tmp_path / "m.yml", {"e5": settings})
    result = run("models", "export", "e5", tmp_path / "out", "--config", metadata)
    assert result.exit_code == 0, result.output
    assert load_model(str(tmp_path / "out")).passage_prompt == ""


def test_nothing_is_written_over_or_left_behind(small, tmp_path, monkeypatch):
    before = sorted([*os.listdir(tmp_path), "full"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    result = run("models", "export", small, tmp_path / "full")
    assert result.exit_code == 1
    assert "Expected a folder that is empty or not there" in result.stderr
    monkeypatch.setattr(onnx_export, "MIN_COSINE", 1.1)
    with pytest.raises(ModelError, match=r"gives other vectors .* Nothing was"):
        onnx_export.export(load_model(str(small)), tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(tmp_path / "full") == ["mine.txt"]


# A hub, and the command


def run(*arguments, **options):
    return CliRunner().invoke(embeddings, [str(each) for each in arguments], **options)


# What the hub has: weights that ONNX Runtime executes, which needs no torch to start
ONNX = {"runtime": "onnx", "model": MODEL_ID}


@pytest.fixture
def online(tmp_path):
    """An environment whose hub is on this machine, and that hub."""
    hub = Hub(BUNDLED_FOLDER)
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    yield (
        {**inherited, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url},
        hub,
    )
    hub.shutdown()
    thread.join()
    hub.server_close()


def command(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "datasette", "embeddings", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def listed(done):
    """The models of a list, by name."""
    return {row["model"]: row for row in map(json.loads, done.stdout.splitlines())}


def named(path, settings):
    text = json.dumps({"plugins": {"datasette-embeddings": {"models": settings}}})
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "runtime", ["onnx", pytest.param("sentence-transformers", marks=pytest.mark.long)]
)
def test_fetch_brings_a_model_that_then_needs_no_network(
    online, folder, tmp_path, runtime
):
    environment, hub = online
    if runtime == "sentence-transformers":
        hub.offer(folder, without=["onnx"])
    metadata = named(tmp_path / "m.yml", {"mine": ONNX | {"runtime": runtime}})
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    listing = ("models", "list", "--config", metadata, "--format", "nl")
    before = listed(command(environment, *listing))["mine"]
    assert before["ready"] is False
    assert "models fetch" in before["reason"]
    assert hub.asked == []
    done = command(environment, "models", "fetch", "mine", "--config", metadata)
    assert done.returncode == 0, done.stderr
    assert "Fetching " in done.stderr
    assert f"mine is ready ({runtime}, 384 dimensions)" in done.stderr
    snapshots = tmp_path / f"home/hub/models--{MODEL_ID.replace('/', '--')}/snapshots"
    assert os.listdir(snapshots) == [REVISION]
    after = listed(command(offline, *listing))["mine"]
    assert (after["runtime"], after["ready"]) == (runtime, True)
    hub.asked.clear()
    done = command(offline, "models", "fetch", "mine", "--config", metadata)
    assert done.returncode == 0, done.stderr
    assert "Fetching" not in done.stderr
    assert hub.asked == []


def test_fetch_completes_a_download_that_was_interrupted(online, tmp_path):
    environment, _hub = online
    metadata = named(tmp_path / "m.yml", {"mine": ONNX})
    fetch = ("models", "fetch", "mine", "--config", metadata)
    assert command(environment, *fetch).returncode == 0
    [missing] = tmp_path.glob("home/hub/*/snapshots/*/tokenizer.json")
    missing.unlink()
    done = command(environment, *fetch)
    assert (done.returncode, missing.exists()) == (0, True), done.stderr


def test_a_model_of_the_hub_is_fetched_also_without_torch(monkeypatch):
    monkeypatch.setattr(sentence_transformer, "find_spec", lambda _name: None)
    with pytest.raises(UnknownModelError, match="models fetch example/nothing"):
        find(model_spec("example/nothing", {}))


def test_a_commit_is_what_a_collection_remembers(online, tmp_path, articles_db):
    environment, _hub = online
    metadata = tmp_path / "m.yml"
    collections = {"mine": {"table": "articles", "model": "theirs"}}
    settings = {"models": {"theirs": ONNX}, "collections": collections}
    metadata.write_text(
        json.dumps({"plugins": {"datasette-embeddings": settings}}), "utf-8"
    )
    done = command(environment, "sync", articles_db, "mine", "--config", metadata)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(articles_db) as conn:
        assert collection(conn, "mine").settings.revision == REVISION
    conn.close()


def test_a_server_fetches_what_its_owner_names_when_it_starts(
    online, tmp_path, articles_db
):
    environment, hub = online
    metadata = named(tmp_path / "m.yml", {"e5": ONNX})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "datasette", "serve", str(articles_db)),
            *("-m", str(metadata), "-h", "127.0.0.1", "-p", str(port)),
        ],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}/-/embeddings/embed.json?model=e5&input=hello"
    answer = None
    try:
        while answer is None and server.poll() is None:
            time.sleep(0.1)
            with suppress(OSError), urlopen(url) as response:
                answer = json.load(response)
    finally:
        server.terminate()
        _out, said = server.communicate()
    assert answer is not None, said
    assert (answer["dimensions"], answer["model"]) == (384, "e5")
    assert "Fetching the model e5 from the hub" in said
    assert hub.asked


@pytest.mark.parametrize(
    "runtime", ["onnx", pytest.param("any", marks=pytest.mark.long)]
)
def test_what_the_hub_does_not_have_is_said(online, tmp_path, runtime):
    environment, _hub = online
    settings = {"runtime": runtime} if runtime == "onnx" else {}
    metadata = named(tmp_path / "m.yml", {"example/nothing": settings})
    fetch = ("models", "fetch", "example/nothing", "--config", metadata)
    done = command(environment, *fetch)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("Error: The model 'example/nothing'")
    assert "Traceback" not in done.stderr


def test_models_are_listed_with_the_reason_why_not(tmp_path, articles_db, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    conn = sqlite3.connect(articles_db)
    create_collection(conn, "other", "elsewhere/model", None)
    conn.close()
    metadata = named(tmp_path / "m.yml", {"mine": {"path": str(reference_folder())}})
    result = run("models", "list", articles_db, "--config", metadata, "--format", "nl")
    assert result.exit_code == 0, result.output
    rows = listed(result)
    assert rows[MODEL_ID]["runtime"] == "onnx"
    assert rows["mine"]["runtime"] == "sentence-transformers"
    assert not rows["elsewhere/model"]["ready"]
    assert "its files are not here" in rows["elsewhere/model"]["reason"]
    people = run("models")
    assert people.exit_code == 0, people.exception
    assert "ready" in people.output


# The configuration


def test_every_setting_of_a_model_is_read():
    settings = {
        "runtime": "http",
        "path": "/x",
        "model": "text-embedding-3-small",
        "revision": "abc",
        "query_prompt": "",
        "passage_prompt": "p: ",
        "dimensions": 256,
        "trust_remote_code": True,
        "device": "cuda",
        "threads": 2,
        "batch_size": 16,
        "unload_after": 60,
        "url": "https://example.com/v1",
        "api_key": "secret",
        "timeout": 5,
        "retries": 0,
    }
    config = Config.from_plugin_config({"models": {"x": settings}})
    assert vars(config.models["x"]) == settings
    assert "secret" not in repr(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "abacus"}, "expected one of onnx, sentence-transformers"),
        ({"colour": "red"}, "models.x.colour: unknown, expected one of runtime"),
        ({"dimensions": 0}, "x.dimensions: expected a whole number of"),
        ({"url": "example.com"}, "x.url: expected an address that begins with"),
        ({"runtime": "http"}, "models.x: the runtime http needs a url"),
        ({"unload_after": 0}, "expected seconds, more than 0"),
        ({"trust_remote_code": "yes"}, "expected true or false"),
        ("x", "models.x: expected a mapping"),
    ],
)
def test_a_wrong_setting_is_named_and_no_key_is_shown(settings, message):
    if isinstance(settings, dict):
        settings = {"api_key": "secret", **settings}
    with pytest.raises(ConfigError) as caught:
        Config.from_plugin_config({"models": {"x": settings}})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_cannot_fetch_a_model_does_not_start(online, tmp_path):
    environment, _hub = online
    settings = ONNX | {"model": "example/nothing"}
    metadata = named(tmp_path / "m.yml", {"x": settings})
    done = subprocess.run(
        [sys.executable, "-m", "datasette", "-m", str(metadata), "--get", "/"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "'x': The model 'x' cannot be fetched from the hub" in done.stderr


def test_a_server_refuses_a_model_that_it_cannot_have():
    config = Config.from_plugin_config({"models": {"x": {"path": "/not/here"}}})
    with pytest.raises(ConfigError, match="The model 'x' is not available"):
        start(config)


def test_a_wanted_model_is_the_same_as_another_of_its_settings():
    assert ModelSpec("x") == ModelSpec("x")
    assert len({ModelSpec("x"), ModelSpec("x", ModelConfig(threads=2))}) == 2
