"""The runtime of llm: the embedding models that its installed plugins register."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.distribution import install_command
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import Candidate, ModelSpec, Unavailable, ignore
from datasette_embeddings.models.batches import in_batches, is_out_of_memory
from datasette_embeddings.models.names import LLM_PREFIX
from datasette_embeddings.models.outside import OutsideModel
from datasette_embeddings.models.pictures import check_images

if TYPE_CHECKING:
    from llm.models import EmbeddingModel as Registered

    from datasette_embeddings.vectors import Vector, Vectors

    ByName: TypeAlias = Mapping[str, Registered]

# Where a model does not say: whole batches of sentence-transformers' 32, where the 100
# of llm itself leave a rest of 4
DEFAULT_BATCH_SIZE = 256
Content = TypeVar("Content", str, bytes)
_registering = threading.Lock()


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The model that a plugin registers under the id or the alias of *spec*.

    Nobody can tell whether it costs money.
    """
    if find_spec("llm") is None:
        return Unavailable(f"the library is not installed; {install_command('llm')}")
    if spec.config.dimensions is not None:
        return Unavailable("its models have one length each; leave out 'dimensions'")
    try:
        registered = _registered()
    except ModelError as problem:
        return Unavailable(str(problem))
    # llm-sentence-transformers puts its own name before that of the hub
    found = registered.get(spec.name) or registered.get(f"{LLM_PREFIX}{spec.name}")
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
    """Whether *model_id* is another name, in llm, of the model that is *configured*.

    What llm calls a model by is what stands in its collections, whatever the
    configuration calls it.
    """
    settings = configured.config
    is_elsewhere = settings.path is not None or settings.url is not None
    if settings.runtime not in (None, "llm") or is_elsewhere:
        return False
    if find_spec("llm") is None:
        return False
    try:
        registered = _registered()
    except ModelError:
        return False
    found = registered.get(configured.name)
    return found is not None and registered.get(model_id) is found


def _registered() -> ByName:
    """Every embedding model of llm by id and by alias, asked once.

    :raises ModelError: if a plugin of llm's cannot be loaded.
    """
    # Whoever comes while llm loads its plugins would see only some of them
    with _registering:
        found = _by_name()
    if isinstance(found, ModelError):
        raise found
    return found


@cache
def _by_name() -> ByName | ModelError:
    """All models by name, or what is wrong with a plugin, which is not tried again."""
    import llm

    try:
        found: ByName = llm.get_embedding_model_aliases()
    except Exception as error:  # whatever a plugin does
        return ModelError(f"a plugin cannot be loaded: {error!r:.300}")
    return found


def registered_ids() -> list[str]:
    """The id of every embedding model that llm has here; none where llm is not."""
    if find_spec("llm") is None:
        return []
    try:
        return sorted({model.model_id for model in _registered().values()})
    except ModelError:
        return []


def forget() -> None:
    """Ask llm anew for its models next time."""
    _by_name.cache_clear()


class LlmModel(OutsideModel):
    """A model of one of llm's plugins, one run at a time."""

    runtime = "llm"

    def __init__(self, registered: Registered, settings: ModelConfig) -> None:
        # Its own id is what llm writes into collections, not an alias
        super().__init__(registered.model_id, settings)
        self._model = registered
        self._batch_size = (
            settings.batch_size or registered.batch_size or DEFAULT_BATCH_SIZE
        )
        self._running = threading.Lock()
        self.supports_text = registered.supports_text
        self.supports_images = registered.supports_binary

    def _embed_texts(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int], None] = ignore,
        is_urgent: bool = False,
    ) -> Vectors:
        if not self.supports_text:
            raise self._problem("takes images, not texts")
        import numpy as np

        # Of about the same length together: a model on this machine pads the others
        places = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        found = self._embed([texts[place] for place in places], progress)
        vectors = np.empty_like(found)
        vectors[places] = found
        return vectors

    def embed_images(
        self, images: Sequence[bytes], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        if not self.supports_images:
            return super().embed_images(images, progress=progress)
        # A plugin decodes all that it is given, in formats that run other programs too
        for image in images:
            check_images([image])
        return self._embed(images, progress)

    def _embed(
        self, contents: Sequence[Content], progress: Callable[[int], None]
    ) -> Vectors:
        if not contents:
            return self._checked([], 0)
        return in_batches(contents, self._batch_size, self._together, progress=progress)

    def _together(self, contents: Sequence[Content]) -> Vectors:
        try:
            with self._running:
                found = list(
                    self._model.embed_multi(
                        contents, batch_size=len(contents), **self._key()
                    )
                )
            vectors = [_vector(each) for each in found]
        except Exception as error:  # whatever a plugin does
            if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(
                error
            ):
                raise
            said = self._quoted(str(error) or type(error).__name__)
            raise self._problem(f"of llm fails: {said}") from error
        return self._checked(vectors, len(contents))

    def _key(self) -> dict[str, Any]:
        """The key of the settings; without one llm looks for its own."""
        return {} if self._secret is None else {"key": self._secret.strip()}


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy as np

    with np.errstate(over="ignore"):
        return np.array(numbers, dtype=np.float32)
