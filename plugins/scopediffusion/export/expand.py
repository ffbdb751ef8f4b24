"""Operations that have kernels for CUDA only, written out in standard ones, so that a graph runs where it was made.

What is verified like this is the graph: its weights, their layout, and what is connected with what. The kernels
themselves only run on a GPU.

Source: ONNX Runtime, docs/ContribOperators.md.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Writer:
    """Writes the operations that take the place of one."""

    def __init__(self, graph, node, half: bool) -> None:
        self.graph, self.node, self.half = graph, node, half
        self.nodes: list = []
        self.attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

    def name(self) -> str:
        return f"{self.node.name or self.node.output[0]}/expanded_{len(self.nodes)}"

    def op(self, kind: str, *inputs: str, out: str | None = None, outputs: int = 1, **attributes):
        name = self.name()
        names = [out] if out else [f"{name}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values: np.ndarray) -> str:
        name = f"{self.name()}_value"
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values)))
        return name

    def full(self, name: str) -> str:
        return self.op("Cast", name, to=TensorProto.FLOAT) if self.half else name

    def back(self, name: str, out: str) -> None:
        if self.half:
            self.op("Cast", name, to=TensorProto.FLOAT16, out=out)
        else:
            self.op("Identity", name, out=out)

    def given(self, at: int) -> str | None:
        return self.node.input[at] if at < len(self.node.input) and self.node.input[at] else None


def convolution(write: Writer) -> None:
    picture = write.op("Transpose", write.given(0), perm=TO_NCHW)
    weight = write.op("Transpose", write.given(1), perm=TO_NCHW)
    bias = [write.given(2)] if write.given(2) else []
    out = write.op("Conv", picture, weight, *bias, **write.attributes)
    write.op("Transpose", out, perm=TO_NHWC, out=write.node.output[0])


def normalisation(write: Writer, picture: str) -> None:
    """- `picture`: `[B, H, W, C]` in float32."""
    groups = write.attributes["groups"]
    channels_last = write.attributes.get("channels_last", 1)
    if channels_last:
        picture = write.op("Transpose", picture, perm=TO_NCHW)
    shape = write.op("Shape", picture)
    split = write.op("Reshape", picture, write.constant(np.array([0, groups, -1], np.int64)))
    ones, zeros = (write.constant(values.astype(np.float32)) for values in (np.ones(groups), np.zeros(groups)))
    out = write.op("InstanceNormalization", split, ones, zeros, epsilon=write.attributes["epsilon"])
    out = write.op("Reshape", out, shape)
    column = write.constant(np.array([-1, 1, 1], np.int64))
    gamma, beta = (write.op("Reshape", write.given(at), column) for at in (1, 2))
    out = write.op("Add", write.op("Mul", out, gamma), beta)
    if write.attributes.get("activation", 0):
        out = write.op("Mul", out, write.op("Sigmoid", out))
    if channels_last:
        out = write.op("Transpose", out, perm=TO_NHWC)
    write.back(out, write.node.output[0])


def group_norm(write: Writer) -> None:
    normalisation(write, write.full(write.given(0)))


def skip_group_norm(write: Writer) -> None:
    together = write.op("Add", write.full(write.given(0)), write.full(write.given(3)))
    if write.given(4):
        together = write.op("Add", together, write.full(write.given(4)))
    if len(write.node.output) > 1 and write.node.output[1]:
        write.back(together, write.node.output[1])
    normalisation(write, together)


def split_gelu(write: Writer) -> None:
    hidden, gate = write.op("Split", write.op("Add", write.full(write.given(0)), write.full(write.given(1))), axis=-1, outputs=2)
    number = lambda value: write.constant(np.array(value, np.float32))  # noqa: E731
    bell = write.op("Erf", write.op("Mul", gate, number(0.5 ** 0.5)))
    gelu = write.op("Mul", write.op("Mul", gate, number(0.5)), write.op("Add", bell, number(1.0)))
    write.back(write.op("Mul", hidden, gelu), write.node.output[0])


def bias_add(write: Writer) -> None:
    write.op("Add", write.op("Add", write.given(0), write.given(1)), write.given(2), out=write.node.output[0])


WRITTEN_OUT: dict[str, Callable[[Writer], None]] = {
    "NhwcConv": convolution, "GroupNorm": group_norm, "SkipGroupNorm": skip_group_norm, "BiasSplitGelu": split_gelu,
    "BiasAdd": bias_add,
}


def expand(model: onnx.ModelProto, half: bool) -> onnx.ModelProto:
    """The same graph without operations that only CUDA has; weights stay where they are.

    - `half`: it computes in half precision.
    """
    nodes = []
    for node in model.graph.node:
        written = WRITTEN_OUT.get(node.op_type) if node.domain == "com.microsoft" else None
        if written is None:
            nodes.append(node)
            continue
        writer = Writer(model.graph, node, half)
        written(writer)
        nodes.extend(writer.nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
