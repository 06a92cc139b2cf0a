"""The plugin's settings, checked once and frozen.

Each field is named as its setting; every setting stands with its default in
``metadata.example.yml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, get_args

from datasette_embeddings.errors import ConfigError, InvalidInputError
from datasette_embeddings.validation import (
    AnyText,
    Checked,
    Count,
    CountOrZero,
    Expected,
    Flag,
    Key,
    Seconds,
    Text,
    validated,
)

PLUGIN_NAME = "datasette-embeddings"
LLM_EMBED = "datasette-llm-embed"
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_LIMIT = 10
DEFAULT_TOKENS = 2_000
#: Tokens of a context: the fewest, the most, and the most of one for a visitor
LEAST_TOKENS, MOST_TOKENS, MOST_VISITOR_TOKENS = 50, 100_000, 20_000
DEFAULT_INDEX_MEMORY_MB = 256
DEFAULT_RERANK_TIME_LIMIT_MS = 1_000

#: The kinds of words index of a collection: English word forms, words as they are
#: written, any three letters in a row (for languages without spaces), or none
DEFAULT_WORDS, NO_WORDS = "english", "none"
WORDS = (DEFAULT_WORDS, "plain", "trigram", NO_WORDS)

#: What a search goes by: both words and meaning, or one of them
Mode: TypeAlias = Literal["both", "meaning", "words"]
#: How the vectors of a collection are searched: all of them, or by what is compact
IndexKind: TypeAlias = Literal["auto", "exact", "compact"]
MODES: tuple[Mode, ...] = get_args(Mode)

RUNTIMES = ("onnx", "sentence-transformers", "open_clip", "llm", "http")


def _key(value: object) -> str:
    # Datasette puts None where {"$env": …} names a variable that is not set, and keeps
    # the end of the line of a file that {"$file": …} names
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


Runtime: TypeAlias = Annotated[
    str, Expected(f"one of {', '.join(RUNTIMES)}", pattern=f"^({'|'.join(RUNTIMES)})$")
]
Url: TypeAlias = Annotated[
    str,
    Expected("an address that begins with http:// or https://", pattern="^https?://"),
]
ApiKey: TypeAlias = Annotated[
    str | None,
    Expected("a key (one that $env names must be set where this runs)", read=_key),
]
DeclaredIndex: TypeAlias = Annotated[
    IndexKind, Expected(f"one of {', '.join(get_args(IndexKind))}")
]
WordsKind: TypeAlias = Annotated[
    str, Expected(f"one of {', '.join(WORDS)}", pattern=f"^({'|'.join(WORDS)})$")
]
Names: TypeAlias = Annotated[
    tuple[Text, ...],
    Expected(
        "a name or a list of names",
        read=lambda given: [given] if isinstance(given, str) else given,
    ),
]
#: "" where YAML has false: no reranker, also where there is one by default
Reranker: TypeAlias = Annotated[
    str,
    Expected(
        "a cross-encoder's id or folder, or false",
        read=lambda given: "" if given is False else given,
        min_length=0,
    ),
]
Pairs: TypeAlias = Annotated[
    tuple[tuple[Key, Text], ...],
    Expected(
        "names, each with a text",
        read=lambda given: [*given.items()] if isinstance(given, Mapping) else None,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """A model of the configuration: its runtime, its files and its options."""

    #: None: the first runtime that can load the model
    runtime: Runtime | None = None
    #: The folder of its files
    path: Text | None = None
    #: Its name in the runtime, where that is not its id
    model: Text | None = None
    #: A commit, tag or branch on the hub
    revision: Text | None = None
    #: Prefixes of queries and of passages; None: those of the model's files
    query_prompt: AnyText | None = None
    passage_prompt: AnyText | None = None
    #: Keep so many numbers of each vector (Matryoshka)
    dimensions: Count | None = None
    #: Allow code in the model's folder to run
    trust_remote_code: Flag = False
    #: cpu, cuda or mps; None: the best one available
    device: Text | None = None
    threads: Count | None = None
    #: Texts or images embedded together
    batch_size: Count | None = None
    #: Seconds without a search after which the model is unloaded
    unload_after: Seconds | None = None
    #: An OpenAI-compatible API, up to ``/v1`` or ``/v1/embeddings``
    url: Url | None = None
    api_key: ApiKey = field(default=None, repr=False)
    #: Seconds to wait for a response
    timeout: Seconds = 30.0
    #: Further requests after one that failed
    retries: CountOrZero = 4

    def __post_init__(self) -> None:
        if self.runtime == "http" and self.url is None:
            raise ValueError("the runtime http needs a url, found none")


@dataclass(frozen=True)
class SimilaritySettings(Checked):
    """How many similar items to store for each item, and their lowest score."""

    limit: Count
    min_score: Annotated[float, Expected("a score", ge=-1, le=1)] | None = None


Similarities: TypeAlias = Annotated[
    SimilaritySettings,
    Expected(
        "a number of items, or 'limit: 10' and 'min_score: 0.5'",
        read=lambda given: given if isinstance(given, Mapping) else {"limit": given},
    ),
]


@dataclass(frozen=True, kw_only=True)
class CollectionConfig(Checked):
    """A collection of the configuration or of a command's options.

    One of *table*, *sql*, *input* and *files* is the source of its rows.
    """

    table: Text | None = None
    sql: Text | None = None
    #: Other databases that *sql* reads: alias and path
    attach: Pairs = ()
    #: Path of a folder, or of a CSV, TSV, JSON or NDJSON file; "-" is standard input
    input: Text | None = None
    input_format: Text | None = None
    #: Of a folder: which of its files, and patterns of those that are left out
    glob: Names = ()
    exclude: Names = ()
    #: Leave out what is hidden or ignored.  None: as in the collection, or true
    ignore: Flag | None = None
    #: Folder and glob
    files: Pairs = ()
    images: Flag = False
    caption: Text | None = None
    #: The bytes of files of any kind
    binary: Flag = False
    encodings: Names = ()
    id: Names = ()
    columns: Names = ()
    template: Text | None = None
    strip_html: Flag = False
    metadata: Names = ()
    #: Keys of the metadata that filters find by an index; "none" removes it
    metadata_index: Names = ()
    title: Text | None = None
    #: What begins the addresses of items on the owner's site, or Jinja for them
    url: Text | None = None
    prefix: AnyText = ""
    chunk: Text | None = None
    chunk_size: CountOrZero | None = None
    chunk_overlap: CountOrZero = 0
    model: Text | None = None
    #: None: the content is kept, unless it stays in a table
    store: Flag | None = None
    words: WordsKind | None = None
    similarities: Similarities | None = None
    #: A cross-encoder that orders the best matches of a search again
    rerank: Reranker | None = None
    index: DeclaredIndex | None = None
    #: A server embeds the rows as they are written
    live: Flag = False

    @property
    def is_of_searches(self) -> bool:
        """Whether it says nothing of where rows come from and how they are embedded."""
        return self == CollectionConfig(
            rerank=self.rerank, index=self.index, live=self.live
        )


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """The settings under ``plugins: datasette-embeddings:``."""

    default_model: Text = DEFAULT_MODEL
    models: Mapping[Key, ModelConfig] = field(default_factory=dict)
    collections: Mapping[Key, CollectionConfig] = field(default_factory=dict)
    preload: Flag = True
    max_query_length: Count = 2_000
    max_size: Count = 100
    max_text_length: Count = 100_000
    max_inputs: Count = 2_048
    max_body_bytes: Count = 2_000_000
    max_image_pixels: Count = 25_000_000
    max_searches: Count = 3
    max_waiting: Count = 128
    #: Who may use the embedding API; None: all who may see this Datasette
    allow_embed: Annotated[
        Flag | dict[str, Any] | None,
        Expected("true, false or an allow block of Datasette's"),
    ] = None
    index_memory_mb: Count = DEFAULT_INDEX_MEMORY_MB
    #: Of every collection that does not say otherwise
    index: DeclaredIndex = "auto"
    #: Of every collection that does not say otherwise
    rerank: Reranker | None = None
    rerank_time_limit_ms: Count = DEFAULT_RERANK_TIME_LIMIT_MS

    def reranker_of(self, collection: str) -> str | None:
        """The cross-encoder of *collection*, if it has one."""
        declared = self.collections.get(collection)
        own = None if declared is None else declared.rerank
        return (self.rerank if own is None else own) or None

    @property
    def rerankers(self) -> frozenset[str]:
        """The cross-encoders that these settings name."""
        names = {self.rerank, *(each.rerank for each in self.collections.values())}
        return frozenset(name for name in names if name)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The checked settings, and those of datasette-llm-embed that count here too."""

    #: Keys of llm's models
    llm_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_plugin_config(cls, settings: object, llm_embed: object = None) -> Config:
        """The configuration in *settings*, as Datasette returns them.

        *llm_embed* are the settings of datasette-llm-embed, whose keys are used too.

        :raises ConfigError: listing all faults. Secrets are never part of it.
        """
        try:
            checked = validated(
                Settings,
                {} if settings is None else settings,
                sections={"models": ModelConfig, "collections": CollectionConfig},
                hidden=["models"],
            )
        except InvalidInputError as error:
            raise ConfigError(error.faults) from None
        return cls(**vars(checked), llm_keys=_llm_keys(llm_embed))


def _llm_keys(settings: object) -> dict[str, str]:
    """The keys in the settings of datasette-llm-embed, by model.

    Unusable ones, such as a key whose variable is not set, are ignored there too.
    """
    keys = settings.get("keys") if isinstance(settings, Mapping) else None
    given = keys.items() if isinstance(keys, Mapping) else ()
    return {
        str(name): key.strip()
        for name, key in given
        if isinstance(key, str) and key.strip()
    }
