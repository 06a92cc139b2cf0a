"""The runtime of the network, against a server that answers badly."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import closing, contextmanager, suppress
from traceback import format_exception

import numpy as np
import pytest
from openai import OpenAI

from datasette_embeddings.config import PLUGIN_NAME, ModelConfig
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
    ModelSettingsMismatchError,
    UnknownModelError,
)
from datasette_embeddings.ingest.embed import SIMPLEST_TEXT
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import openai_api
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.models.openai_api import OpenAIModel
from datasette_embeddings.models.registry import find
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import staging
from tests.misbehaving import (
    FINE,
    Reply,
    backwards,
    in_base64,
    misbehaving,
    numbers,
    with_data,
    with_vector,
)

KEY = "sk-secret-of-the-owner"
TEXTS = ["one", "and two", "and then three"]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(OpenAI, "_sleep_for_retry", lambda *_given, **_named: None)


@pytest.fixture
def server():
    with misbehaving() as running:
        yield running


@pytest.fixture
def model_of(server):
    """A model behind the server, with these settings."""
    made = []

    def make(**settings):
        given = {"url": server.url, "api_key": KEY, "timeout": 5.0, **settings}
        made.append(OpenAIModel("some/model", ModelConfig(**given)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def problem_of(model, texts=TEXTS):
    with pytest.raises(ModelError) as raised:
        model.embed_passages(texts)
    assert KEY not in repr(raised.value) + "".join(format_exception(raised.value))
    return str(raised.value)


def expected(texts=TEXTS):
    return np.array([numbers(text) for text in texts], dtype=np.float32)


@pytest.mark.parametrize(
    "body",
    [Reply().body, in_base64, backwards],
    ids=["lists", "base64", "in another order"],
)
def test_vectors_come_in_the_order_of_the_texts(server, model_of, body):
    server.reply(Reply(body=body))
    assert np.array_equal(model_of().embed_passages(TEXTS), expected())


def test_a_request_is_as_openai_wants_it(server, model_of):
    model_of(model="its-name", dimensions=4).embed_passages(["text"])
    [(path, headers)] = server.requests
    assert path == "/v1/embeddings"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["User-Agent"].startswith("datasette-semantic-search/0.")
    assert server.questions == [
        {
            "model": "its-name",
            "encoding_format": "base64",
            "dimensions": 4,
            "input": ["text"],
        }
    ]


def test_without_a_key_none_is_sent(server, model_of):
    model_of(api_key=None).embed_passages(["text"])
    assert "Authorization" not in server.requests[0][1]


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://host/v1", "http://host/v1/embeddings"),
        ("http://host/v1/", "http://host/v1/embeddings"),
        ("http://host/v1/embeddings", "http://host/v1/embeddings"),
        ("https://host:8/a/embeddings?v=1", "https://host:8/a/embeddings"),
        ("https://user:password@host/v1", "https://host/v1/embeddings"),
        ("http://host/v1#part", "http://host/v1/embeddings"),
    ],
)
def test_the_address_may_end_before_embeddings(url, asked):
    with closing(OpenAIModel("m", ModelConfig(url=url))) as model:
        assert model.endpoint == asked


@pytest.mark.parametrize(
    ("url", "found"), [("http://", "names no host"), ("http://[::1", "no address")]
)
def test_what_is_no_address_is_told(url, found):
    with pytest.raises(ModelError, match=found):
        OpenAIModel("m", ModelConfig(url=url))


def test_a_key_that_no_header_can_carry_is_refused_unseen(model_of):
    with pytest.raises(ModelError, match="'api_key' for http") as raised:
        model_of(api_key=f"{KEY}\nX: y")
    assert KEY not in str(raised.value)


def test_prompts_go_before_the_texts(server, model_of):
    model = model_of(query_prompt="query: ", passage_prompt="passage: ")
    model.embed_passages(["a"])
    model.embed_query("b")
    assert [each["input"] for each in server.questions] == [
        ["passage: a"],
        ["query: b"],
    ]


def test_batches_have_as_many_texts_as_the_settings_say(server, model_of):
    done = []
    vectors = model_of(batch_size=2).embed_passages(TEXTS, progress=done.append)
    assert [each["input"] for each in server.questions] == [TEXTS[:2], TEXTS[2:]]
    assert (done, vectors.shape) == ([2, 1], (3, 4))


def test_batches_have_a_limited_number_of_characters(server, model_of, monkeypatch):
    monkeypatch.setattr(openai_api, "MAX_CHARACTERS", 10)
    texts = ["four", "five5", "x", "longer than any", "end"]
    model_of().embed_passages(texts)
    assert [each["input"] for each in server.questions] == [
        ["four", "five5", "x"],
        ["longer than any"],
        ["end"],
    ]


def test_no_texts_are_no_request(server, model_of):
    assert model_of().embed_passages([]).shape == (0, 0)
    assert server.questions == []


def test_the_first_vector_tells_the_dimensions(model_of):
    model = model_of()
    assert (model.dimensions, model.max_tokens) == (None, None)
    model.embed_query("text")
    assert model.dimensions == 4


@pytest.mark.parametrize(
    "passing",
    [
        Reply(429, headers={"Retry-After": "60"}),
        Reply(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Reply(429, headers={"Retry-After": "soon"}),
        Reply(429),
        Reply(408),
        Reply(409),
        Reply(500),
        Reply(503, headers={"Retry-After": "0"}),
        Reply(cut=20),
        Reply(cut=0),
    ],
    ids=[
        *(
            "429 in a minute",
            "429 since a date",
            "429 soon",
            "429",
            "408",
            "409",
            "500",
            "503",
        ),
        *("closed in the body", "closed before it"),
    ],
)
def test_what_may_pass_is_asked_again(server, model_of, passing):
    server.reply(passing, passing, FINE)
    assert np.array_equal(model_of().embed_passages(TEXTS), expected())
    assert len(server.questions) == 3


def test_an_endpoint_that_asks_for_an_hour_is_not_waited_for(server, model_of):
    server.reply(Reply(429, headers={"Retry-After": "3600"}))
    assert "answered 429" in problem_of(model_of())
    assert len(server.questions) == 1


FOREVER = [
    (Reply(429, body={"error": {"message": "slow down"}}), "answered 429: slow down"),
    (Reply(500, body=b"<h1>Oops</h1>"), "answered 500: <h1>Oops</h1>"),
    (Reply(cut=20), "cannot be reached: "),
]


@pytest.mark.parametrize(
    ("reply", "said"), FOREVER, ids=["429", "500", "closes the connection"]
)
def test_what_does_not_pass_is_told_after_as_many_tries_as_allowed(
    server, model_of, reply, said
):
    server.reply(reply)
    problem = problem_of(model_of(retries=2))
    assert said in problem
    assert len(server.questions) == 3


def test_a_slow_endpoint_is_waited_for_as_long_as_the_settings_say(server, model_of):
    server.reply(Reply(is_silent=True))
    problem = problem_of(model_of(timeout=0.05, retries=1))
    assert "did not answer within 0.05 seconds" in problem
    assert len(server.questions) == 2


def test_a_query_is_sent_once_because_a_visitor_waits(server, model_of):
    server.reply(Reply(503, headers={"Retry-After": "60"}))
    with pytest.raises(ModelError, match="answered 503"):
        model_of(retries=9).embed_query("text")
    server.reply(Reply(is_silent=True))
    with pytest.raises(ModelError, match=r"did not answer within 0\.1 seconds"):
        model_of(timeout=0.1, retries=9).embed_query("text")
    assert len(server.questions) == 2


@pytest.mark.parametrize("key", [KEY, None])
def test_settings_of_the_environment_are_not_sent(server, model_of, monkeypatch, key):
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
        monkeypatch.setenv(f"OPENAI_{name}", "from-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/from-the-environment")
    model_of(api_key=key).embed_passages(["text"])
    [(_path, headers)] = server.requests
    assert "from-the-environment" not in str(headers)
    assert headers.get("Authorization") == (None if key is None else f"Bearer {KEY}")


def test_an_endpoint_needs_the_library_of_its_client(monkeypatch):
    monkeypatch.setattr(openai_api, "find_spec", lambda _name: None)
    with pytest.raises(UnknownModelError, match="pip install 'openai>="):
        find(ModelSpec("m", ModelConfig(url="http://127.0.0.1:1/v1")))
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingLibraryError, match="pip install 'openai>="):
        OpenAIModel("m", ModelConfig(url="http://127.0.0.1:1/v1"))


def test_an_address_without_a_server_is_reported():
    with closing(
        OpenAIModel("m", ModelConfig(url="http://127.0.0.1:1/v1", retries=1))
    ) as model:
        problem = problem_of(model)
    assert problem.startswith("http://127.0.0.1:1/v1/embeddings cannot be reached: ")


REFUSED = [
    (
        Reply(401, body={"error": {"message": f"Incorrect API key: {KEY}"}}),
        "answered 401: Incorrect API key: ***. To fix it, check 'api_key'",
    ),
    (Reply(400, body={"detail": "too long"}), "answered 400: too long"),
    (Reply(404, body=b""), "answered 404. To fix it, check 'url'"),
    (Reply(413, body={"error": "too large"}), "answered 413: too large"),
    (Reply(302, headers={"Location": "http://x/?k=1"}), "redirects to http://x/;"),
    (Reply(300), "redirects to nowhere;"),
    (Reply(body=b"<html>Welcome"), "not as OpenAI's"),
    (Reply(body=b"[" * 100_000), "not as OpenAI's"),
    (Reply(400, body=b"[" * 10_000), "answered 400: [[["),
    (Reply(body=with_vector([10**400])), "not as OpenAI's"),
    (
        Reply(400, body={"error": "Authorization: Bearer abcdef123456"}),
        "answered 400: Authorization: Bearer ***",
    ),
    (Reply(body=b'{"data": 3}'), "not as OpenAI's"),
    (Reply(body=b'[{"data": []}]'), "not as OpenAI's"),
    (Reply(body=with_vector(None)), "no vector"),
    (Reply(body=with_vector([])), "no vector"),
    (Reply(body=with_vector([[1.0]])), "no vector"),
    (Reply(body=with_vector("no base64!")), "not as OpenAI's"),
    (Reply(body=with_vector("AAA=")), "not as OpenAI's"),
    (Reply(body=with_vector(["a"])), "not as OpenAI's"),
    (Reply(body=with_vector([1, 2, 3, float("nan")])), "not finite"),
    (Reply(body=with_vector([1, 2, 3, float("-inf")])), "not finite"),
    (Reply(body=with_vector([1, 2, 3, 1e300])), "not finite"),
    (Reply(body=with_vector([1, 2])), "of 2 dimensions where 4 were expected"),
    (Reply(body=with_data(lambda data: data[:-1])), "gave 2 vectors for 3 contents"),
    (Reply(body=with_data(lambda data: data * 2)), "index is missing or there"),
    (Reply(body=with_data(lambda data: [data[0]] * 3)), "index is missing or there"),
    (
        Reply(headers={"Content-Encoding": "gzip"}, body=b"not compressed"),
        "not as OpenAI's",
    ),
]


@pytest.mark.parametrize(("reply", "said"), REFUSED)
def test_what_will_not_pass_is_told_at_once(server, model_of, reply, said):
    server.reply(reply)
    model = model_of()
    assert said in problem_of(model)
    assert len(server.questions) == 1
    # Nor does it spoil what comes
    server.reply(FINE)
    assert np.array_equal(model.embed_passages(TEXTS), expected())


def test_another_length_than_before_is_told(server, model_of):
    model = model_of()
    model.embed_passages(TEXTS)
    server.reply(Reply(body=with_vector([1, 2])))
    assert "of 2 dimensions where 4 were expected" in problem_of(model, ["one"])


def test_another_length_than_the_settings_say_is_told(model_of):
    assert "where 3 were expected" in problem_of(model_of(dimensions=3))


def test_a_huge_answer_is_not_read_to_its_end(server, model_of, monkeypatch):
    monkeypatch.setattr(openai_api, "MAX_BYTES_BESIDE", 1_000)
    monkeypatch.setattr(openai_api, "MAX_BYTES_PER_TEXT", 1_000)
    server.reply(Reply(body=b" " * 1_000_000))
    assert "more than 101,000 bytes" in problem_of(model_of())


def test_a_text_that_is_no_unicode_is_the_callers_fault(model_of):
    with pytest.raises(InvalidInputError, match="lone surrogates"):
        model_of().embed_passages(["\ud800"])


def test_images_are_refused(model_of):
    with pytest.raises(ModelError, match="takes texts, not images"):
        model_of().embed_images([b"\x89PNG"])


def test_tokens_are_counted_as_the_bundled_model_does(model_of, model):
    text = "Sourdough rises overnight. 猫の世話"
    ours = model_of()
    assert ours.count_tokens([text]) == [model.count_tokens([text])[0] - 2]
    assert ours.token_spans([text]) == model.token_spans([text])


def test_only_an_address_makes_a_model_of_the_network():
    assert openai_api.find(ModelSpec("m", ModelConfig())) == Unavailable(
        "expected 'url' under models in the configuration"
    )
    found = find(ModelSpec("m", ModelConfig(url="http://127.0.0.1:1/v1")))
    assert isinstance(found, Candidate)
    assert (found.runtime, found.is_remote) == ("http", True)
    with pytest.raises(UnknownModelError):
        find(ModelSpec("m"))


# Into a collection


@pytest.fixture
def rows(conn):
    conn.execute("create table notes (id integer primary key, body text)")
    conn.executemany(
        "insert into notes (body) values (?)", [[f"note {n}"] for n in range(30)]
    )
    conn.commit()
    return conn


def notes_into(conn, model, **options):
    source = table_source(conn, "notes")
    return ingest(conn, "notes", source, model, options=IngestOptions(**options))


def count(conn):
    return conn.execute("select count(*) from embeddings").fetchone()[0]


def test_what_was_committed_before_the_endpoint_died_is_kept(
    server, model_of, rows, monkeypatch
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 10)
    server.reply(FINE, Reply(500))
    with pytest.raises(ModelError) as raised:
        notes_into(rows, model_of(retries=1))
    assert "answered 500" in str(raised.value)
    assert str(raised.value).endswith(
        "What was committed is kept; run it again to go on"
    )
    assert count(rows) == 10
    # One window; the next one twice; a single letter twice
    assert [len(each["input"]) for each in server.questions] == [10, 10, 10, 1]
    server.reply(FINE)
    report = notes_into(rows, model_of())
    assert (report.new, report.unchanged, count(rows)) == (20, 10, 30)


def test_a_text_that_the_endpoint_refuses_fails_alone(server, model_of, rows):
    class Picky(Reply):
        def content(self, question):
            self.status = 400 if "note 7" in question["input"] else 200
            return super().content(question)

    server.reply(Picky())
    report = notes_into(rows, model_of())
    assert (report.new, report.failed) == (29, 1)
    [failure] = report.failures
    assert (failure.id, "answered 400" in failure.error) == ("8", True)


def test_an_endpoint_that_became_another_model_is_refused(server, model_of, rows):
    notes_into(rows, model_of())
    rows.execute("update notes set body = 'changed' where id = 3")
    rows.commit()
    server.reply(
        Reply(
            body=with_data(
                lambda data: [{**each, "embedding": [1.0, 2.0]} for each in data]
            )
        )
    )
    expected = "the dimensions 4, and the model now has 2"
    with pytest.raises(ModelSettingsMismatchError, match=expected) as e:
        notes_into(rows, model_of())
    assert "--rebuild" in str(e.value)
    report = notes_into(rows, model_of(), rebuild=True)
    assert (report.new, count(rows)) == (30, 30)


def test_texts_are_split_into_chunks_of_a_size_that_is_given(server, model_of, rows):
    rows.execute("update notes set body = body || ' with four more words' where id = 3")
    rows.commit()

    def split_into(size):
        rules = Source(chunking=Chunking("fixed", size))
        source = table_source(rows, "notes", rules=rules)
        return ingest(rows, "notes", source, model_of())

    with pytest.raises(InvalidInputError, match="Expected a chunk size, such as"):
        split_into(None)
    assert split_into(3).chunks == 31
    asked = [text for each in server.questions for text in each["input"]]
    assert asked[2:4] == ["note 2 with", "four more words"]


def test_an_interrupted_run_ends_while_it_waits(server, tmp_path):
    server.reply(Reply(429, headers={"Retry-After": "3600"}))
    settings = tmp_path / "metadata.yml"
    models = {"far": {"url": server.url}}
    settings.write_text(json.dumps({"plugins": {PLUGIN_NAME: {"models": models}}}))
    database = tmp_path / "notes.db"
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("create table notes (id integer primary key, body text)")
        conn.execute("insert into notes values (1, 'text')")
        conn.commit()
    command = [sys.executable, "-m", "datasette", "embeddings", "embed"]
    arguments = ["notes", "--table", "notes", "-m", "far", "--config", str(settings)]
    process = subprocess.Popen(
        [*command, str(database), *arguments], stderr=subprocess.PIPE, text=True
    )
    while not server.questions and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, "Interrupted." in said) == (1, True), said
    assert SIMPLEST_TEXT not in server.questions[0]["input"]


@contextmanager
def sending_forever(start, piece):
    """The address of a server that answers with *start*, and *piece* without end."""
    done = threading.Event()

    def serve(listening):
        with suppress(OSError):
            connection, _address = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(start)
                while not done.wait(0.01):
                    connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
        (b"HTTP/1.1 500 No\r\nContent-Length: 99999\r\n\r\n", b" "),
    ],
    ids=["content", "content of an error"],
)
def test_an_answer_that_comes_bit_by_bit_ends(model_of, start, piece):
    with sending_forever(start, piece) as url:
        said = problem_of(model_of(url=url, timeout=0.2, retries=0))
    assert "did not answer within 0.2 seconds" in said or "answered 500" in said


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_redirect_is_followed_by_no_client(server, model_of, status, scheme):
    with misbehaving() as other:
        where = f"{other.url}/embeddings" if scheme == "http" else "file:///etc/passwd"
        server.reply(Reply(status, headers={"Location": f"{where}?key={KEY}"}))
        assert f"redirects to {where};" in problem_of(model_of())
        assert other.requests == []


def test_a_compressed_answer_is_not_unpacked(server, model_of):
    bomb = gzip.compress(bytes(100_000_000))
    twice = gzip.compress(bomb)
    for coding, body in (("gzip", bomb), ("gzip, gzip", twice)):
        server.reply(Reply(body=body, headers={"Content-Encoding": coding}))
        model = model_of()
        tracemalloc.start()
        said = problem_of(model)
        _now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "not as OpenAI's" in said
        assert most < 20_000_000
