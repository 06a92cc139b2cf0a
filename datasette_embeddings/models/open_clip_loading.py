"""Loading a model of open_clip's: its weights, and all that they were trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import EmbeddingsError, MissingLibraryError, ModelError
from datasette_embeddings.models.base import ModelSpec
from datasette_embeddings.models.open_clip_weights import (
    Checkpoint,
    cached_weights,
    check_config,
    fetched_weights,
)
from datasette_embeddings.models.torchvision import import_torchvision

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes what the model takes, in two parts."""

    #: Pillow's: resized and cut, in whatever thread
    fit: Callable[[Image], Image]
    #: torch's, which brings threads of its own to each thread that computes with it, so
    #: that in several of them these would be in each other's way
    tensor: Callable[[Image], torch.Tensor]


def best_device() -> str:
    """What torch computes on here."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load(
    spec: ModelSpec, place: Path | Checkpoint, device: str
) -> tuple[Any, Preparation, Any, Path]:
    """Model, preparation of a picture, tokenizer, and the folder of the weights.

    :raises MissingLibraryError: if open_clip is not installed.
    """
    import_torchvision()
    try:
        import open_clip
    except ImportError as error:
        raise MissingLibraryError("open-clip-torch", "this model") from error
    if isinstance(place, Path):
        check_config(spec, place)
        name, folder, how = f"local-dir:{place}", place, {}
    else:
        weights = cached_weights(place, spec.config.revision) or fetched_weights(
            place, spec.config.revision
        )
        name, folder = place.architecture, weights.parent
        how = _how_to_use(place) | {"pretrained": str(weights)}
    model, _training, prepare = open_clip.create_model_and_transforms(
        name, device=device, require_pretrained=True, **how
    )
    tokenizer = open_clip.get_tokenizer(name)
    return model.eval(), _preparation(prepare.transforms), tokenizer, folder


def _preparation(steps: Sequence[Any]) -> Preparation:
    """What *steps* do, parted where a picture becomes a tensor."""
    from torchvision.transforms import Compose, ToTensor

    kinds = [isinstance(step, ToTensor) for step in steps]
    place = kinds.index(True) if True in kinds else 0
    return Preparation(Compose(steps[:place]), Compose(steps[place:]))


def _how_to_use(place: Checkpoint) -> dict[str, Any]:
    """What open_clip's table says of weights, which it forgets of those in a file.

    And what open_clip 3.3 only warns of (factory.py, "QuickGELU mismatch"): weights
    that were trained with that activation are of another space without it.
    """
    import open_clip

    said: Mapping[str, Any] = open_clip.pretrained.get_pretrained_cfg(
        place.architecture, place.tag
    )
    return {
        "force_quick_gelu": bool(said.get("quick_gelu")),
        "image_mean": said.get("mean"),
        "image_std": said.get("std"),
        "image_interpolation": said.get("interpolation"),
        "image_resize_mode": said.get("resize_mode"),
    }


@contextmanager
def saying_what_failed(spec: ModelSpec, what: str) -> Iterator[None]:
    """Within, whatever a library makes of a model's files becomes a ModelError."""
    try:
        yield
    except EmbeddingsError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())
        raise ModelError(f"The model {spec.model_id!r} {what}: {line}") from error
