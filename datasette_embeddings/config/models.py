"""A model as the owner names it: what executes it, where it is, how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from datasette_embeddings.config.readers import count, flag, number, settings, text

RUNTIMES = ("onnx", "sentence-transformers", "open_clip", "llm", "http")
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRIES = 4


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is said of a model; each field is named as its setting."""

    #: What executes it, one of :data:`RUNTIMES`; None for the first that can
    runtime: str | None = None
    #: The folder of its files
    path: str | None = None
    #: What the runtime calls it, where that is not its id
    model: str | None = None
    #: The commit, tag or branch of a hub
    revision: str | None = None
    #: In front of questions and of passages; None for what its own files say
    query_prompt: str | None = None
    passage_prompt: str | None = None
    #: As many of the first numbers of each vector are kept (Matryoshka)
    dimensions: int | None = None
    #: Code that came with the model may be run
    trust_remote_code: bool = False
    #: cpu, cuda or mps; None for the best there is
    device: str | None = None
    threads: int | None = None
    #: Texts or images that are embedded together
    batch_size: int | None = None
    #: Seconds without a question after which its memory is given back
    unload_after: float | None = None
    #: An endpoint that answers as OpenAI's does, up to ``/v1`` or ``/v1/embeddings``
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    #: Seconds to wait for an answer, and how often to ask again
    timeout: float = DEFAULT_TIMEOUT_S
    retries: int = DEFAULT_RETRIES

    @property
    def is_remote(self) -> bool:
        """Whether somebody else's machine does the work."""
        return self.url is not None


def models(value: object) -> Mapping[str, ModelConfig]:
    """The models that *value* names, by id.

    :raises ValueError: saying what is wrong with the first that cannot be read.  Values
        are never part of it: one may be a key.
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected model ids, each with its settings")
    return MappingProxyType(
        {str(model_id): _model(str(model_id), each) for model_id, each in value.items()}
    )


def _model(model_id: str, value: object) -> ModelConfig:
    given = settings(value, READERS, of=model_id, example="path: FOLDER")
    config = ModelConfig(**given)  # type: ignore[arg-type]  # a reader a field
    if config.runtime == "http" and config.url is None:
        raise ValueError(f"expected 'url' for the runtime 'http' under {model_id!r}")
    return config


def _key(value: object) -> str:
    # Datasette puts nothing where {"$env": …} names a variable that is not set
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            "expected a key, found none (one that $env names must be set here)"
        )
    # One that $file names ends with a line
    return value.strip()


def _prompt(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value


def _runtime(value: object) -> str:
    if value not in RUNTIMES:
        raise ValueError(f"expected one of {', '.join(RUNTIMES)}")
    return str(value)


def _url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError("expected an address that begins with http:// or https://")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError("expected seconds, more than 0")
    return float(value)


READERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        "runtime": _runtime,
        "path": text,
        "model": text,
        "revision": text,
        "query_prompt": _prompt,
        "passage_prompt": _prompt,
        "dimensions": count,
        "trust_remote_code": flag,
        "device": text,
        "threads": count,
        "batch_size": count,
        "unload_after": _seconds,
        "url": _url,
        "api_key": _key,
        "timeout": _seconds,
        "retries": number,
    }
)
