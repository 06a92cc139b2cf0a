"""The runtime ``http``: endpoints that answer ``/v1/embeddings`` as OpenAI does.

The ``openai`` client sends the requests and repeats them where that may help.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from datasette_embeddings import distribution
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models import names
from datasette_embeddings.models.base import Callback, check_utf8, ignore
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.models.remote import RemoteModel, quoted
from datasette_embeddings.vectors import Vector, Vectors

if TYPE_CHECKING:
    import httpx2
    import openai

# Texts and characters of one request: OpenAI takes 2,048 texts and 300,000 tokens
DEFAULT_BATCH_SIZE = 100
MAX_CHARACTERS = 250_000
# Of an answer: no model has 16,000 dimensions, which take 350 KB written as digits
MAX_BYTES_PER_TEXT = 400_000
MAX_BYTES_BESIDE = 100_000
# The client adds other headers, some of them from environment variables for OpenAI
SENT_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "host"}
)
# What reading a malformed answer may raise
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The endpoint in the configuration of *spec*; no request is sent."""
    if spec.config.url is None:
        return Unavailable("expected 'url' under models in the configuration")
    if find_spec("openai") is None:
        return names.not_installed("openai", is_likely=True)
    return Candidate(
        "http", partial(OpenAIModel, spec.model_id, spec.config), is_remote=True
    )


class OpenAIModel(RemoteModel):
    """A model behind an endpoint on the network."""

    runtime = "http"

    def __init__(self, model_id: str, config: ModelConfig) -> None:
        super().__init__(model_id, config)
        self._config = config
        url = _base_url(str(config.url))
        # Without a password or a query string, which may hold a key
        endpoint = url.copy_with(username="", password="", query=None, fragment=None)
        self.endpoint = f"{endpoint}/embeddings"
        self._client = self._new_client(url)
        self.batch_size = config.batch_size or DEFAULT_BATCH_SIZE
        self._max_bytes = MAX_BYTES_BESIDE + MAX_BYTES_PER_TEXT * self.batch_size
        self._question: dict[str, Any] = {
            "model": config.model or model_id,
            # A quarter of the size of digits
            "encoding_format": "base64",
        }
        if config.dimensions is not None:
            self._question["dimensions"] = config.dimensions

    def _new_client(self, url: httpx2.URL) -> openai.OpenAI:
        import httpx2
        import openai

        key = self._secret or ""
        if not (key.isascii() and key.isprintable()):
            raise ModelError(
                f"The 'api_key' for {self.endpoint} has characters that no key has; "
                "copy it again"
            )
        return openai.OpenAI(
            # Without any, the client takes that of the environment
            api_key=key or "none",
            base_url=url.copy_with(query=None),
            default_query=dict(url.params),
            timeout=self._config.timeout,
            max_retries=self._config.retries,
            http_client=httpx2.Client(
                # The key is for this address
                follow_redirects=False,
                event_hooks={"request": [self._begin], "response": [self._read]},
            ),
        )

    def _begin(self, request: httpx2.Request) -> None:
        """Set the headers of a request; its answer must end within the timeout."""
        headers = request.headers
        for name in set(headers) - SENT_HEADERS:
            del headers[name]
        headers["User-Agent"] = f"{distribution.NAME}/{distribution.version()}"
        # Vectors do not become smaller, and a small answer may become huge
        headers["Accept-Encoding"] = "identity"
        if self._secret:
            headers["Authorization"] = f"Bearer {self._secret}"
        elif not request.url.username:
            headers.pop("Authorization", None)
        request.extensions["ends_at"] = time.monotonic() + self._config.timeout

    def _read(self, response: httpx2.Response) -> None:
        """Read an answer in time, and at most one byte more than it may have."""
        import httpx2

        body = bytearray()
        for part in response.stream:  # type: ignore[union-attr]  # it is synchronous
            body += part
            if len(body) > self._max_bytes:
                break
            if time.monotonic() > response.request.extensions["ends_at"]:
                raise httpx2.ReadTimeout("The whole answer took too long")
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx2.ByteStream(bytes(body[: self._max_bytes + 1]))
        # A compressed answer was not asked for, and is not decompressed
        response.headers.pop("Content-Encoding", None)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        prompted = [self.query_prompt + text for text in texts]
        return self._request(prompted, ignore, is_urgent=True)

    def _embed_texts(self, texts: Sequence[str], progress: Callback) -> Vectors:
        # A single text comes from SQL or from a page, where a caller waits
        return self._request(texts, progress, is_urgent=len(texts) == 1)

    def _request(
        self, texts: Sequence[str], progress: Callback, *, is_urgent: bool
    ) -> Vectors:
        check_utf8(texts)
        parts = [] if texts else [self._checked([], 0)]
        for batch in _batches(texts, self.batch_size):
            answer = self._answer(batch, is_urgent=is_urgent)
            parts.append(self._checked(self._vectors(answer), len(batch)))
            progress(len(batch))
        return np.concatenate(parts)

    def _answer(self, texts: Sequence[str], *, is_urgent: bool) -> bytes:
        """The body of the answer to a request for the vectors of *texts*."""
        import httpx2
        import openai

        # Where a caller waits, the client must not wait for as long as an endpoint asks
        client = self._client.with_options(max_retries=0) if is_urgent else self._client
        # Without their causes: those quote headers and answers, which may hold a key
        try:
            answer = client.post(
                "/embeddings",
                cast_to=httpx2.Response,
                body={**self._question, "input": list(texts)},
            )
        except openai.APIStatusError as error:
            raise ModelError(self._status_message(error)) from None
        except openai.APITimeoutError:
            raise ModelError(
                f"{self.endpoint} did not answer within {self._config.timeout:g} "
                "seconds; 'timeout' under models in the configuration says how long to "
                "wait"
            ) from None
        except openai.APIConnectionError as error:
            reason = str(error.__cause__ or "") or type(error.__cause__).__name__
            raise ModelError(
                f"{self.endpoint} cannot be reached: {quoted(reason, self._secret)}"
            ) from None
        if len(answer.content) > self._max_bytes:
            raise ModelError(
                f"{self.endpoint} gave an answer of more than {self._max_bytes:,} "
                "bytes, too large for the vectors requested"
            )
        return answer.content

    def _status_message(self, error: openai.APIStatusError) -> str:
        """The message for an answer with the status of an error."""
        response, status, advice = error.response, error.status_code, ""
        if 300 <= status < 400:
            where = response.headers.get("Location", "nowhere").partition("?")[0]
            return (
                f"{self.endpoint} redirects to {quoted(where, self._secret)}; if that "
                "is right, give it as 'url' under models in the configuration"
            )
        if status in (401, 403):
            verb = "check" if self._secret else "set"
            advice = f". To fix it, {verb} 'api_key' under models in the configuration"
        elif status == 404:
            advice = (
                ". To fix it, check 'url', which ends with /v1 or /v1/embeddings, and "
                "'model' under models in the configuration"
            )
        found = error.body
        if isinstance(found, dict):
            found = found.get("message") or found.get("detail")
        reason = quoted(
            found if isinstance(found, str) else response.text, self._secret
        )
        return (
            f"{self.endpoint} answered {status}{': ' if reason else ''}{reason}{advice}"
        )

    def _vectors(self, answer: bytes) -> list[Vector]:
        """The vectors in *answer*, in the order of the texts."""
        try:
            found = json.loads(answer)["data"]
            vectors = {
                each.get("index", position): _vector(each["embedding"])
                for position, each in enumerate(found)
            }
        except (*MALFORMED, RecursionError) as error:
            beginning = quoted(answer[:200].decode("utf-8", "replace"), self._secret)
            raise ModelError(
                f"{self.endpoint} gave an answer that is not as OpenAI's: expected "
                f"JSON with data, each with index and embedding; found {beginning!r}"
            ) from error
        if set(vectors) != set(range(len(found))):
            raise self._error("gave vectors whose index is missing or there twice")
        return [vectors[position] for position in range(len(found))]

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _base_url(url: str) -> httpx2.URL:
    """*url*, which may be that of the embeddings, up to ``/v1``."""
    try:
        import httpx2
        import openai  # noqa: F401 - brings httpx2
    except ImportError as error:
        raise MissingLibraryError("openai", "a model behind an endpoint") from error
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ModelError(f"The 'url' of a model is no address: {error}") from error
    if not parsed.host:
        raise ModelError("The 'url' of a model names no host")
    path = parsed.path.rstrip("/").removesuffix("/embeddings")
    return parsed.copy_with(path=path)


def _batches(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """*texts* in their order, as many as one request may have."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        characters += len(text)
        if batch and (len(batch) == size or characters > MAX_CHARACTERS):
            yield batch
            batch, characters = [], len(text)
        batch.append(text)
    if batch:
        yield batch


def _vector(embedding: Any) -> Vector:  # noqa: ANN401 - any JSON value
    """The numbers of one embedding: a list, or float32 in base64."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    with np.errstate(over="ignore"):
        return np.array(embedding, dtype=np.float32)
