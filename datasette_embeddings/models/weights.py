"""Weights of an ONNX graph as 8-bit integers, with one scale for every few of them.

All arithmetic stays fp32: a matrix is widened in front of its product, a row of a
table after it was picked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Rows of a weight that share a scale, for each of its columns.  32 costs a tenth more
# than one scale a column and halves the error.
BLOCK = 32
INT8_MAX = 127
# Smaller matrices are not worth an operator of their own
LEAST_NUMBERS = 4_096


def quantize(
    weight: NDArray[np.float32], *, axis: int, block: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """*weight* as int8, and the fp32 scale of each *block* numbers along *axis*."""
    import numpy as np

    blocks = np.stack(np.split(weight, weight.shape[axis] // block, axis=axis))
    scales = np.abs(blocks).max(axis=axis + 1) / INT8_MAX
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    scales = np.moveaxis(scales, 0, axis)
    steps = weight / np.repeat(scales, block, axis=axis)
    return np.rint(steps).clip(-INT8_MAX, INT8_MAX).astype(np.int8), scales


def narrowed(model: Any) -> Any:  # noqa: ANN401 - onnx is imported late
    """The ONNX *model* with its matrices and tables in int8; at least opset 21."""
    graph = _Graph(model)
    for node in list(model.graph.node):
        # The second of a product's factors, or the first input of a lookup
        if node.op_type == "MatMul" and graph.is_weight(node.input[1]):
            node.input[1] = graph.widened(node.input[1], axis=0)
        elif node.op_type == "Gemm" and graph.is_weight(node.input[1]):
            is_turned = any(each.name == "transB" and each.i for each in node.attribute)
            node.input[1] = graph.widened(node.input[1], axis=int(is_turned))
        elif node.op_type == "Gather" and graph.is_weight(node.input[0]):
            axes = [each.i for each in node.attribute if each.name == "axis"]
            if axes in ([], [0]):
                graph.pick_narrow(node)
    graph.finish()
    return model


class _Graph:
    """A graph whose weights are replaced one by one."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - onnx is imported late
        from onnx import TensorProto

        self.graph = model.graph
        self.weights = {
            each.name: each
            for each in self.graph.initializer
            if each.data_type == TensorProto.FLOAT
        }
        self.done: dict[tuple[str, int], str] = {}

    def is_weight(self, name: str) -> bool:
        weight = self.weights.get(name)
        if weight is None or len(weight.dims) != 2:
            return False
        return bool(weight.dims[0] * weight.dims[1] >= LEAST_NUMBERS)

    def widened(self, name: str, *, axis: int) -> str:
        """The name of what the weight called *name* is when it is widened again."""
        from onnx import helper, numpy_helper

        if (name, axis) not in self.done:
            weight = numpy_helper.to_array(self.weights[name])
            size = weight.shape[axis]
            block = BLOCK if size % BLOCK == 0 else size
            steps, scales = quantize(weight, axis=axis, block=block)
            output = f"{name}_widened_{axis}"
            inputs = [
                self.constant(f"{name}_steps_{axis}", steps),
                self.constant(f"{name}_scales_{axis}", scales),
            ]
            node = helper.make_node(
                "DequantizeLinear", inputs, [output], axis=axis, block_size=block
            )
            self.graph.node.insert(0, node)
            self.done[name, axis] = output
        return self.done[name, axis]

    def pick_narrow(self, node: Any) -> None:  # noqa: ANN401 - onnx is imported late
        """Let *node* pick rows of int8, which are widened afterwards."""
        from onnx import TensorProto, helper, numpy_helper

        name, ids = node.input
        table = numpy_helper.to_array(self.weights[name])
        steps, scales = quantize(table, axis=1, block=table.shape[1])
        [result] = node.output
        picked, wide, scale = (f"{result}_{part}" for part in ("int8", "wide", "scale"))
        place = list(self.graph.node).index(node)
        self.graph.node.remove(node)
        narrow = self.constant(f"{name}_rows", steps)
        factors = self.constant(f"{name}_factors", scales)
        nodes = [
            helper.make_node("Gather", [narrow, ids], [picked]),
            helper.make_node("Cast", [picked], [wide], to=TensorProto.FLOAT),
            helper.make_node("Gather", [factors, ids], [scale]),
            helper.make_node("Mul", [wide, scale], [result]),
        ]
        for offset, each in enumerate(nodes):
            self.graph.node.insert(place + offset, each)

    def constant(self, name: str, value: Any) -> str:  # noqa: ANN401 - an array
        from onnx import numpy_helper

        if all(each.name != name for each in self.graph.initializer):
            self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def finish(self) -> None:
        """Drop the weights that nothing needs any more."""
        used = {name for node in self.graph.node for name in node.input}
        for name, weight in self.weights.items():
            if name not in used:
                self.graph.initializer.remove(weight)
