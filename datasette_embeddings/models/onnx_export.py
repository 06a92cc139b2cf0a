"""Export a model of sentence-transformers to ONNX, to be served without torch."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
)
from datasette_embeddings.models.onnx import INPUTS, TOKEN_OUTPUTS, OnnxModel
from datasette_embeddings.models.sentence_transformer import SentenceTransformerModel
from datasette_embeddings.vectors import normalize

OPSET = 21
# Texts by which the two are compared, and the lowest cosine that may result
SAMPLE = (
    "a",
    "How do I make a backup of a database?",
    "Die Möwe fliegt über das Wasser, 42 mal. " * 20,
)
MIN_COSINE = 0.99999


def export(model: SentenceTransformerModel, folder: Path) -> float:
    """Write *model* to *folder*; return the lowest cosine to its own vectors."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(
            f"Expected a folder that is empty or not there: {folder}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In a folder beside it, which then takes its place
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as beside:
        made = Path(beside) / "model"
        _save_settings(model, made)
        _write_onnx(model, made / "onnx" / "model.onnx")
        cosine = _lowest_cosine(model, made)
        if folder.exists():
            folder.rmdir()
        shutil.move(made, folder)
    return cosine


def _save_settings(model: SentenceTransformerModel, folder: Path) -> None:
    """Save all files of *model* but its weights."""
    model.encoder.save_pretrained(str(folder), create_model_card=False)
    for pattern in ("*.safetensors*", "pytorch_model*.bin*"):
        for path in folder.rglob(pattern):
            path.unlink()
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    settings["max_seq_length"] = model.max_tokens
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _write_onnx(model: SentenceTransformerModel, path: Path) -> None:
    """Write the transformer, token ids in and token vectors out."""
    inner, tokenizer = _transformer(model), model.encoder.tokenizer
    inputs = [name for name in INPUTS if name in tokenizer.model_input_names]
    assert model.max_tokens is not None
    write_onnx(inner, path, inputs, TOKEN_OUTPUTS[0], max_tokens=model.max_tokens)


def write_onnx(
    inner: Any,  # noqa: ANN401 - a module of torch
    path: Path,
    inputs: Sequence[str],
    output: str,
    *,
    max_tokens: int,
) -> None:
    """Let torch write *inner*, a transformer that takes *inputs* and gives *output*.

    :raises ModelError: if it has an operator that ONNX has not.
    """
    try:
        import onnx  # noqa: F401 - torch's exporter needs both, and says less
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingLibraryError(str(error.name), "the export of models") from error

    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *given: Any) -> Any:  # noqa: ANN401 - tensors
            return self.inner(**dict(zip(inputs, given, strict=True)))[output]

    ones = torch.ones(2, 7, dtype=torch.long, device=next(inner.parameters()).device)
    texts, tokens = torch.export.Dim("b"), torch.export.Dim("n", max=max_tokens)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Transformer().eval(),
                # A tensor of its own for each: the same one would be one input
                tuple(ones * int(name != "token_type_ids") for name in inputs),
                str(path),
                input_names=inputs,
                output_names=[output],
                opset_version=OPSET,
                dynamic_shapes=(tuple({0: texts, 1: tokens} for _name in inputs),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch has many, and says which operator it is
        line = " ".join(str(error).split())
        raise ModelError(
            f"torch cannot write {type(inner).__name__} as ONNX: {line:.500}"
        ) from error


def _transformer(model: SentenceTransformerModel) -> Any:  # noqa: ANN401 - torch's
    """The first step of *model*, which must be a transformer."""
    first = model.encoder[0]
    inner: Any = getattr(first, "auto_model", None)
    if inner is None or model.max_tokens is None:
        raise ModelError(
            f"The model {model.model_id!r} begins with a {type(first).__name__}; what "
            "can be exported begins with a transformer"
        )
    return inner.eval()


def _lowest_cosine(model: SentenceTransformerModel, folder: Path) -> float:
    """The lowest cosine between the vectors of *model* and of its export."""
    models = model, OnnxModel(model.model_id, folder)
    ours, theirs = (normalize(each.embed_passages(SAMPLE)) for each in models)
    cosine = float(np.einsum("ij,ij->i", ours, theirs).min())
    if not cosine >= MIN_COSINE:
        raise ModelError(
            f"The exported model gives other vectors than {model.model_id!r}: a cosine "
            f"of {cosine:.5f}, expected at least {MIN_COSINE}. Nothing was written"
        )
    return cosine
