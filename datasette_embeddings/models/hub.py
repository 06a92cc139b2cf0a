"""Where the files of a model lie: a folder, or the cache that hub libraries share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasette_embeddings.config.models import ModelConfig
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import LLM_PREFIX, Wanted

# A repository in the cache: …/models--NAME/snapshots/COMMIT
SNAPSHOTS = "snapshots"
# The same weights for other libraries
OTHER_FORMATS = ("onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.tflite")


def folder_of(wanted: Wanted) -> Path | None:
    """The folder with the files of *wanted*, as far as they are here.

    The one that its settings name, one of that name, or that of the hub's cache.
    """
    if wanted.settings.path is not None:
        return _own_folder(wanted.settings.path)
    return _own_folder(wanted.hub_name) or _cached(
        wanted.hub_name, wanted.settings.revision
    )


def _own_folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # No path at all: too long, in a closed folder, of a user that is not there
        return None


def _cached(name: str, revision: str | None) -> Path | None:
    if not is_repository(name):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def is_in_cache(name: str) -> bool:
    """Whether some of a repository's files are in the hub's cache."""
    return _own_folder(name) is None and _cached(name, None) is not None


def cached_names() -> list[str]:
    """The repositories in the hub's cache that say how to make vectors of texts."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = Path(HF_HUB_CACHE).glob(f"models--*/{SNAPSHOTS}/*/modules.json")
    folders = {path.parents[2].name for path in found}
    return sorted(
        name.removeprefix("models--").replace("--", "/", 1) for name in folders
    )


def is_repository(name: str) -> bool:
    """Whether *name* looks like one of the hub's, which are USER/MODEL."""
    user, _slash, model = name.partition("/")
    return bool(user and model and "/" not in model and not name.startswith((".", "~")))


def fetched(wanted: Wanted, patterns: Sequence[str]) -> Path:
    """The folder with the files of *wanted* that fit *patterns*, fetched if need be.

    :raises ModelError: saying why they cannot be had.
    """
    from huggingface_hub import snapshot_download

    with _saying_what_failed(wanted):
        folder = snapshot_download(
            wanted.hub_name,
            revision=wanted.settings.revision,
            allow_patterns=list(patterns),
        )
    return Path(folder)


@contextmanager
def _saying_what_failed(wanted: Wanted) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ModelError(
            f"The model {wanted.model_id!r} cannot be fetched from the hub: {line}"
        ) from error


def completed(wanted: Wanted) -> None:
    """Fetch what a fetch that was cut short has left out of *wanted*.

    :raises ModelError: saying why it cannot be had.
    """
    from huggingface_hub import snapshot_download

    with _saying_what_failed(wanted):
        snapshot_download(
            wanted.hub_name,
            revision=wanted.settings.revision,
            ignore_patterns=list(OTHER_FORMATS),
        )


def stored_id(model_id: str, settings: ModelConfig, *, has_passage_prompt: bool) -> str:
    """The id that collections of a model store: that of llm where possible.

    llm-sentence-transformers knows repositories of the hub by their names, and adds
    none of our prompts.  A model for which its vectors would differ keeps its own
    name, so that llm does not add vectors of another kind.
    """
    is_plain = settings == replace(
        settings, path=None, model=None, revision=None, dimensions=None
    )
    is_alike = is_plain and not has_passage_prompt
    if not is_alike or not is_repository(model_id) or _own_folder(model_id) is not None:
        return model_id
    is_llms = model_id.startswith(LLM_PREFIX)
    return model_id if is_llms else f"{LLM_PREFIX}{model_id}"


def commit_of(folder: Path) -> str | None:
    """The commit that *folder* is of, if it lies in the hub's cache."""
    return folder.name if folder.parent.name == SNAPSHOTS else None


def has_gpu(device: str | None) -> bool:
    """Whether a GPU is asked for, or one seems to be here; torch is not asked."""
    if device is not None:
        return device.partition(":")[0] in ("cuda", "mps")
    is_apple = sys.platform == "darwin" and Path("/opt/homebrew").exists()
    return is_apple or Path("/dev/nvidia0").exists()
