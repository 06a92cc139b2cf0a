"""A chat model of ``llm``, which the owner names: its answers, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
    UnknownModelError,
)
from datasette_embeddings.models.remote import quoted

if TYPE_CHECKING:
    from llm.models import Model


class ChatModel:
    """A chat model of ``llm``, and the key that it is called with.

    *name* is its id or alias in ``llm``; None stands for the default model that the
    owner has set there.  Without *key*, ``llm`` finds its own.  *purpose* is what needs
    it, such as "an answer", for an error.

    :raises MissingLibraryError: if ``llm`` is not installed.
    :raises InvalidInputError: without *name*, if the owner has set no default model.
    :raises UnknownModelError: if no installed plugin has it.
    :raises ModelError: if it needs a key and there is none.
    """

    def __init__(
        self, name: str | None, key: str | None = None, *, purpose: str = "an answer"
    ) -> None:
        if find_spec("llm") is None:
            raise MissingLibraryError("llm", f"{purpose} by a chat model")
        self._model, self._key = _found(name or _default()), key
        self.model_id: str = self._model.model_id
        if self._model.needs_key:
            try:
                # A name of a key that llm has stored stands for that key
                self._key = self._model.get_key(key)
            except Exception as error:
                raise self._failed(error) from error

    def answer(self, prompt: str, *, system: str) -> Iterator[str]:
        """The parts of the answer to *prompt*, as they come; *system* instructs it.

        The model is asked when the first part is.

        :raises ModelError: if the model fails, at any part.
        """
        key: dict[str, Any] = {} if self._key is None else {"key": self._key}
        try:
            yield from self._model.prompt(prompt, system=system, **key)
        except Exception as error:  # a plugin can raise any
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ModelError:
        message = quoted(str(error) or type(error).__name__, self._key)
        return ModelError(f"The chat model {self.model_id!r} fails: {message}")


def _default() -> str:
    import llm

    # The one that llm falls back to costs money, and was not chosen by the owner
    name: str = llm.get_default_model(default="")  # type: ignore[no-untyped-call]
    if not name:
        raise InvalidInputError(
            "Expected the name of a chat model, such as --llm gpt-4o-mini, because llm "
            "has no default model set. Set one with: llm models default MODEL"
        )
    return name


def _found(name: str) -> Model:
    import llm

    try:
        return llm.get_model(name)
    except llm.UnknownModelError as error:
        raise UnknownModelError(
            name, "Expected a chat model of llm. See which there are with: llm models"
        ) from error
    except Exception as error:  # a plugin can raise any
        raise ModelError(f"A plugin of llm cannot be loaded: {error!r:.300}") from error
