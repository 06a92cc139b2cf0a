"""Where the files of a model lie: a folder, or the cache that hub libraries share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import ModelSpec
from datasette_embeddings.models.names import is_repository

# A repository in the cache: …/models--NAME/snapshots/COMMIT
SNAPSHOTS = "snapshots"
# The same weights for other libraries
OTHER_FORMATS = ("onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.tflite")


def folder_of(spec: ModelSpec, patterns: Sequence[str] | None = None) -> Path | None:
    """The folder with the files of *spec*, as far as they are here.

    The one that its settings name, one of that name, or that of the hub's cache, which
    must have the files that fit *patterns*, or all of the repository.
    """
    if spec.config.path is not None:
        return _own_folder(spec.config.path)
    return _own_folder(spec.hub_name) or _cached(spec, patterns)


def _own_folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # No path at all: too long, in a closed folder, of a user that is not there
        return None


def _cached(spec: ModelSpec, patterns: Sequence[str] | None) -> Path | None:
    if not is_repository(spec.hub_name):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            spec.hub_name,
            revision=spec.config.revision,
            local_files_only=True,
            allow_patterns=None if patterns is None else list(patterns),
        )
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return Path(folder)


def cached_names() -> list[str]:
    """The repositories in the hub's cache that say how to make vectors of texts."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = Path(HF_HUB_CACHE).glob(f"models--*/{SNAPSHOTS}/*/modules.json")
    folders = {path.parents[2].name for path in found}
    return sorted(
        name.removeprefix("models--").replace("--", "/", 1) for name in folders
    )


def fetched(spec: ModelSpec, patterns: Sequence[str]) -> Path:
    """The folder with the files of *spec* that fit *patterns*, fetched if need be.

    :raises ModelError: saying why they cannot be had.
    """
    from huggingface_hub import snapshot_download

    with _saying_what_failed(spec):
        folder = snapshot_download(
            spec.hub_name,
            revision=spec.config.revision,
            allow_patterns=list(patterns),
        )
    return Path(folder)


@contextmanager
def _saying_what_failed(spec: ModelSpec) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ModelError(
            f"The model {spec.model_id!r} cannot be fetched from the hub: {line}"
        ) from error


def commit_of(folder: Path) -> str | None:
    """The commit that *folder* is of, if it lies in the hub's cache."""
    return folder.name if folder.parent.name == SNAPSHOTS else None


def has_gpu(device: str | None) -> bool:
    """Whether a GPU is asked for, or one seems to be here; torch is not asked."""
    if device is not None:
        return device.partition(":")[0] in ("cuda", "mps")
    is_apple = sys.platform == "darwin" and Path("/opt/homebrew").exists()
    return is_apple or Path("/dev/nvidia0").exists()
