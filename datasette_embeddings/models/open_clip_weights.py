"""Weights that open_clip has: which, where they are, and how they are loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInputError,
    MissingLibraryError,
    ModelError,
)
from datasette_embeddings.models.files import download
from datasette_embeddings.models.names import ModelSpec

#: From an image of Pillow to a smaller one, or from that to a tensor of torch
Preparation: TypeAlias = Callable[[Any], Any]
CONFIG_FILE = "open_clip_config.json"
SAFE_WEIGHTS, WEIGHTS = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
# The files of a repository that are downloaded: layout, weights and tokenizer
PATTERNS = ("*.json", "*.txt", "*.model", SAFE_WEIGHTS)
# The files that open_clip takes for weights in a folder
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.pth")
# What a text tower of transformers needs of the hub, by the setting that names it
PARTS = {"hf_tokenizer_name": "tokenizer_config.json", "hf_model_name": "config.json"}


def import_open_clip() -> Any:  # noqa: ANN401 - it has no types
    """The library, which takes seconds to import."""
    try:
        import open_clip
    except ImportError as error:
        raise MissingLibraryError("open-clip-torch", "this model") from error
    except RuntimeError as error:
        # torchvision raises it if it was compiled for another torch
        raise ModelError(
            f"open_clip cannot be imported: {error}; install a torch and a torchvision "
            "of the same release, from the same index"
        ) from error
    return open_clip


@dataclass(frozen=True)
class Checkpoint:
    """Weights that open_clip has for an architecture, and how to load them."""

    architecture: str
    #: The repository on the hub, and the names that their file there may have
    repository: str
    files: tuple[str, ...]
    options: Mapping[str, Any]


def checkpoint(architecture: str, tag: str) -> Checkpoint:
    """The weights of that name.

    :raises InvalidInputError: if open_clip has none, with the names that it has.
    """
    pretrained = import_open_clip().pretrained
    config = pretrained.get_pretrained_cfg(architecture, tag)
    if not config.get("hf_hub"):
        tags = ", ".join(pretrained.list_pretrained_tags_by_model(architecture))
        raise InvalidInputError(
            f"expected weights that open_clip has, found {architecture!r} with "
            f"{tag!r}; of that architecture it has {tags or 'none'}"
        )
    repository, _slash, file = config["hf_hub"].rpartition("/")
    files: tuple[str, ...] = (SAFE_WEIGHTS, WEIGHTS)
    if file:
        files = str(Path(file).with_suffix(".safetensors")), file
    # open_clip does not know how a file was trained.  Of another activation, QuickGELU,
    # it only warns (3.3, factory.py), but without it the vectors are of no use
    options = {
        "force_quick_gelu": bool(config.get("quick_gelu")),
        "image_mean": config.get("mean"),
        "image_std": config.get("std"),
        "image_interpolation": config.get("interpolation"),
        "image_resize_mode": config.get("resize_mode"),
    }
    return Checkpoint(architecture, repository, files, options)


def cached_weights(weights: Checkpoint, revision: str | None) -> Path | None:
    """The file with the *weights*, if it is in the hub's cache."""
    found = (_cached(weights.repository, name, revision) for name in weights.files)
    return next((path for path in found if path is not None), None)


def _cached(repository: str, name: str, revision: str | None = None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def missing_part(text_config: Mapping[str, Any]) -> str | None:
    """A repository on the hub that a text tower needs and that is not here, if any."""
    for setting, file in PARTS.items():
        name = text_config.get(setting)
        if name and not Path(name).is_dir() and _cached(name, file) is None:
            return str(name)
    return None


def download_weights(weights: Checkpoint, revision: str | None) -> Path:
    """The file with the *weights*, downloaded from the hub."""
    repository = ModelSpec(weights.repository, ModelConfig(revision=revision))
    for name in weights.files:
        path = download(repository, (name,)) / name
        if path.is_file():
            return path
    raise ModelError(
        f"Expected {' or '.join(weights.files)} in the repository "
        f"{weights.repository!r}, found none"
    )


def download_folder(spec: ModelSpec) -> Path:
    """The folder of the repository *spec*, downloaded from the hub."""
    folder = download(spec, PATTERNS)
    if not has_weights(folder):
        folder = download(spec, (WEIGHTS,))
    if not has_weights(folder):
        raise ModelError(
            f"Expected {CONFIG_FILE} and {SAFE_WEIGHTS} or {WEIGHTS} in the repository "
            f"{spec.name!r}; it is none that open_clip can read"
        )
    return folder


def check_config(spec: ModelSpec, folder: Path) -> None:
    """Check that the config in *folder* runs and downloads nothing unasked."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        texts = config["model_cfg"]["text_cfg"]
        options = texts.get("tokenizer_kwargs") or {}
        asks_for_code = bool(options.get("trust_remote_code"))
        missing = missing_part(texts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # open_clip reports what is wrong with it
        return
    if asks_for_code and not spec.config.trust_remote_code:
        raise ModelError(
            f"{folder / CONFIG_FILE} wants to run code of its own: if you trust it, "
            "set 'trust_remote_code: true' for it under models in the configuration"
        )
    if missing is not None and not spec.may_download:
        raise ModelError(
            f"The model in {folder} needs {missing!r} of the hub, which is not "
            f"here; fetch it with: datasette embeddings models fetch {spec.model_id}"
        )


def has_weights(folder: Path) -> bool:
    """Whether *folder* holds a model in open_clip's own layout."""
    return (folder / CONFIG_FILE).is_file() and any(
        any(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS
    )


def load(
    spec: ModelSpec, source: Path | Checkpoint | None, device: str
) -> tuple[Any, Preparation, Preparation, Any, Path]:
    """The model, two steps that prepare an image, tokenizer, and folder of the weights.

    If there is no *source*, the repository of *spec* is downloaded.
    """
    open_clip = import_open_clip()
    if source is None:
        source = download_folder(spec)
    if isinstance(source, Path):
        check_config(spec, source)
        name, folder = f"local-dir:{source}", source
        options: dict[str, Any] = {}
    else:
        weights = cached_weights(source, spec.config.revision)
        weights = weights or download_weights(source, spec.config.revision)
        name, folder = source.architecture, weights.parent
        options = {**source.options, "pretrained": str(weights)}
    model, _training, prepare = open_clip.create_model_and_transforms(
        name, device=device, require_pretrained=True, **options
    )
    fit, to_tensor = _split_preparation(prepare.transforms)
    return model.eval(), fit, to_tensor, open_clip.get_tokenizer(name), folder


def _split_preparation(steps: Sequence[Any]) -> tuple[Preparation, Preparation]:
    """The part of *steps* that makes an image smaller, and the rest.

    The first is Pillow's, for any thread. The second is torch's, whose own threads
    would be in each other's way if several threads ran it.
    """
    from torchvision.transforms import Compose, ToTensor

    kinds = [isinstance(step, ToTensor) for step in steps]
    split = kinds.index(True) if True in kinds else 0
    return Compose(steps[:split]), Compose(steps[split:])


def best_device() -> str:
    """The device on which torch computes here."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def reporting(spec: ModelSpec, what: str) -> Iterator[None]:
    """Turn an error of a library in the block into a ModelError."""
    try:
        yield
    except EmbeddingsError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())
        raise ModelError(f"The model {spec.model_id!r} {what}: {line}") from error
