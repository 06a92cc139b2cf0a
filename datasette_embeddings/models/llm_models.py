"""The runtime ``llm``: embedding models that its installed plugins register."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import ModelError
from datasette_embeddings.images import check_images
from datasette_embeddings.models import names
from datasette_embeddings.models.base import Callback, Outcome, ignore, is_out_of_memory
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.models.remote import RemoteModel, quoted
from datasette_embeddings.vectors import Vectors

if TYPE_CHECKING:
    from llm.models import EmbeddingModel as Registered

    ByName: TypeAlias = Mapping[str, Registered]

# Where a model does not say: whole batches of sentence-transformers' 32, where the 100
# of llm itself leave a rest of 4
DEFAULT_BATCH_SIZE = 256
Content = TypeVar("Content", str, bytes)
_registering = threading.Lock()


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The model that a plugin registers under the id or the alias of *spec*.

    It counts as remote, because a plugin does not report whether its model is.
    """
    if find_spec("llm") is None:
        return names.not_installed("llm")
    if spec.config.dimensions is not None:
        return Unavailable("its models have one length each; leave out 'dimensions'")
    try:
        registered = _registered()
    except ModelError as error:
        return Unavailable(str(error))
    # llm-sentence-transformers puts its own name before that of the hub
    prefixed = f"{names.LLM_PREFIX}{spec.name}"
    found = registered.get(spec.name) or registered.get(prefixed)
    if found is None:
        close = get_close_matches(spec.name, registered, cutoff=0.5)
        hint = f"; there are {', '.join(close)}" if close else ""
        likely = get_close_matches(spec.name, close, n=1, cutoff=0.8)
        return Unavailable(
            f"no installed plugin registers {spec.name!r}{hint}",
            f"Did you mean {likely[0]!r}, a model of llm?" if likely else None,
        )
    return Candidate("llm", partial(LlmModel, found, spec.config), is_remote=True)


def is_same(configured: ModelSpec, model_id: str) -> bool:
    """Whether *model_id* is another name in llm of the *configured* model.

    Collections that llm made store its id, which the configuration need not use.
    """
    config = configured.config
    is_llm = config.runtime in (None, "llm") and config.path is None
    if not is_llm or config.url is not None:
        return False
    registered = _usable()
    found = registered.get(configured.name)
    return found is not None and registered.get(model_id) is found


def _registered() -> ByName:
    """The embedding models of llm by id and by alias."""
    # While llm loads its plugins, other threads would see only some of them
    with _registering:
        return _by_name()


@cache
def _by_name() -> ByName:
    import llm

    try:
        return llm.get_embedding_model_aliases()
    except Exception as error:  # a plugin can raise any
        raise ModelError(f"a plugin cannot be loaded: {error!r:.300}") from error


def _usable() -> ByName:
    """As :func:`_registered`; none if llm is not installed or cannot be loaded."""
    with suppress(ModelError):
        return _registered() if find_spec("llm") else {}
    return {}


def registered_ids() -> list[str]:
    """The ids of all embedding models of llm."""
    return sorted({model.model_id for model in _usable().values()})


class LlmModel(RemoteModel):
    """A model of a plugin of llm; one thread at a time runs it."""

    runtime = "llm"

    def __init__(self, registered: Registered, config: ModelConfig) -> None:
        # Its own id is what llm stores in collections, not an alias
        super().__init__(registered.model_id, config)
        self._model = registered
        self.batch_size = (
            config.batch_size or registered.batch_size or DEFAULT_BATCH_SIZE
        )
        self._running = threading.Lock()
        self.supports_text = registered.supports_text
        self.supports_images = self.supports_binary = registered.supports_binary

    def _embed_texts(self, texts: Sequence[str], progress: Callback) -> Vectors:
        if not self.supports_text:
            raise self._error("takes images, not texts")
        return self._batched(texts, self._run, length=len, progress=progress)

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        if not self.supports_images:
            return super().image_outcomes(images, progress=progress)
        # A plugin decodes any format, and some formats start other programs
        for image in images:
            check_images([image])
        return self.binary_outcomes(images, progress=progress)

    def binary_outcomes(
        self, contents: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        if not self.supports_binary:
            return super().binary_outcomes(contents, progress=progress)
        return list(self._batched(contents, self._run, progress=progress))

    def _run(self, contents: Sequence[Content]) -> Vectors:
        # Without a configured key, llm looks for its own
        key = {} if self._secret is None else {"key": self._secret}
        try:
            with self._running, np.errstate(over="ignore"):
                vectors = [
                    np.array(each, dtype=np.float32)
                    for each in self._model.embed_multi(
                        contents, batch_size=len(contents), **key
                    )
                ]
        except Exception as error:  # a plugin can raise any
            if is_out_of_memory(error):
                raise
            message = quoted(str(error) or type(error).__name__, self._secret)
            raise self._error(f"of llm fails: {message}") from error
        return self._checked(vectors, len(contents))
