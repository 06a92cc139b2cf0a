"""A model of sentence-transformers as a folder that ONNX Runtime serves without torch.

All but the transformer itself (tokenizer, pooling, prompts) is what the library saves.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
)
from datasette_embeddings.models.onnx import OnnxModel
from datasette_embeddings.models.weights import narrowed
from datasette_embeddings.vectors import normalize

if TYPE_CHECKING:
    from datasette_embeddings.models.sentence_transformer import (
        SentenceTransformerModel,
    )

OPSET = 21  # the first whose DequantizeLinear takes blocks
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"
# Protocol buffers hold no more
MOST_BYTES = 2_000_000_000
# Texts by which the two are compared, and how much they may differ
SAMPLE = (
    "a",
    "How do I make a backup of a database?",
    "Die Möwe fliegt über das Wasser, 42 mal. " * 20,
)
LEAST_COSINE, LEAST_COSINE_INT8 = 0.99999, 0.99


@dataclass(frozen=True)
class Exported:
    """What was written, and the lowest cosine of a few texts to the original."""

    folder: Path
    size_bytes: int
    cosine: float


def export(model: SentenceTransformerModel, folder: Path, *, int8: bool) -> Exported:
    """*model* in *folder*, with weights of 32 bits or of 8.

    :raises InvalidInputError: if something is in the folder.
    :raises ModelError: if it has steps that our ONNX runtime has not, or gives other
        vectors afterwards.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(
            f"Expected a folder that is empty or not there: {folder}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that it comes there at once and whole
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as beside:
        made = Path(beside) / "model"
        _save(model, made)
        _write_onnx(model, made / "onnx" / "model.onnx", int8=int8)
        cosine = _checked(model, made, int8=int8)
        if folder.exists():
            folder.rmdir()
        shutil.move(made, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(folder, size, cosine)


def _save(model: SentenceTransformerModel, folder: Path) -> None:
    """All files of *model* but its weights."""
    model.encoder.save_pretrained(str(folder), create_model_card=False)
    for pattern in ("*.safetensors*", "pytorch_model*.bin*"):
        for path in folder.rglob(pattern):
            path.unlink()
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    settings["max_seq_length"] = model.max_tokens
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _write_onnx(model: SentenceTransformerModel, path: Path, *, int8: bool) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it, and says less
    except ImportError as error:
        raise MissingLibraryError(str(error.name), "the export of models") from error
    path.parent.mkdir(parents=True)
    _trace(model, path)
    if int8:
        graph = narrowed(onnx.load(path))
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, path)


def _trace(model: SentenceTransformerModel, path: Path) -> None:
    """Let torch write the transformer, token ids in and token vectors out."""
    import torch

    inner = _transformer(model)
    known = model.encoder.tokenizer.model_input_names
    names = [name for name in INPUTS if name in known]

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *given: Any) -> Any:  # noqa: ANN401 - tensors
            return self.inner(**dict(zip(names, given, strict=True))).last_hidden_state

    ones = torch.ones(2, 7, dtype=torch.long, device=next(inner.parameters()).device)
    texts, tokens = torch.export.Dim("b"), torch.export.Dim("n", max=model.max_tokens)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Encoder().eval(),
                # A tensor of its own for each: the same one would be one input
                tuple(ones * int(name != INPUTS[2]) for name in names),
                str(path),
                input_names=names,
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamic_shapes=(tuple({0: texts, 1: tokens} for _name in names),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch has many, and says which operator it is
        line = " ".join(str(error).split())
        raise ModelError(
            f"torch cannot write {model.model_id!r} as ONNX: {line:.500}"
        ) from error


def _transformer(model: SentenceTransformerModel) -> Any:  # noqa: ANN401 - torch's
    """The first step of *model*, if it is one that can be written."""
    first = model.encoder[0]
    inner: Any = getattr(first, "auto_model", None)
    if inner is None or model.max_tokens is None:
        raise ModelError(
            f"The model {model.model_id!r} begins with a {type(first).__name__}; what "
            "can be exported begins with a transformer"
        )
    size = sum(each.numel() * each.element_size() for each in inner.parameters())
    if size > MOST_BYTES:
        raise ModelError(
            f"The model {model.model_id!r} has {size / 1e9:.1f} GB of weights; an ONNX "
            "file of ours holds at most 2 GB"
        )
    return inner.eval()


def _checked(model: SentenceTransformerModel, folder: Path, *, int8: bool) -> float:
    """The lowest cosine between what both make of the sample."""
    import numpy as np

    served = OnnxModel(model.model_id, folder)
    vectors = [each.embed_passages(SAMPLE) for each in (model, served)]
    ours, theirs = (normalize(each) for each in vectors)
    cosine = float(np.einsum("ij,ij->i", ours, theirs).min())
    least = LEAST_COSINE_INT8 if int8 else LEAST_COSINE
    if not cosine >= least:
        raise ModelError(
            f"The exported model gives other vectors than {model.model_id!r}: a cosine "
            f"of {cosine:.5f}, expected at least {least}. Nothing was written"
        )
    return cosine
