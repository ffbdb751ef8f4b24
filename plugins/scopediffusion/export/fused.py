"""A copy of a graph for CUDA alone, `model.cuda.onnx`: attention, normalisation and convolutions as single operations.

Attention becomes one operation while the part is traced, because no pattern is needed where the call itself is at
hand. Everything else is done to the float32 graph by the optimiser that ONNX Runtime brings, and only then is it
brought to half precision: its patterns do not know halves. Weights of normalisations stay in float32, as the kernels
want them, and so does everything between the timestep and the first layer.

Queries, keys and values are not packed into one weight: it would gain little, and adapters are merged by the names
and shapes of these layers.

The operations have kernels for CUDA only, so on the CPU the file is verified with them written out; see `expand.py`.
"""
from __future__ import annotations

import contextlib
import io
import logging
import math
import shutil
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from onnx.external_data_helper import load_external_data_for_tensor

import graphs
from graphs import Graph
from precision import may_be_half

NAME = "model.cuda.onnx"
DOMAIN = "com.microsoft"
# What makes the copy worth its place, in the order in which it is told.
KINDS = ("MultiHeadAttention", "GroupNorm", "SkipGroupNorm", "NhwcConv", "BiasSplitGelu", "SkipLayerNormalization", "BiasAdd")
SWAP = [0, 2, 1, 3]
# Weights up to this are read before fusing: the widest bias is not a tenth of it, bytes.
SMALL = 1 << 20


class Attended(torch.autograd.Function):
    """`softmax(q·kᵀ/√d)·v` of `[B, heads, tokens, d]`, in a traced graph as one operation."""

    @staticmethod
    def forward(_ctx, query, key, value, _heads):
        return PLAIN(query, key, value)

    @staticmethod
    def symbolic(g, query, key, value, heads):
        flat = g.op("Constant", value_t=torch.tensor([0, 0, -1]))
        tokens = [g.op("Reshape", g.op("Transpose", x, perm_i=SWAP), flat) for x in (query, key, value)]
        out = g.op(f"{DOMAIN}::MultiHeadAttention", *tokens, num_heads_i=heads)
        split = g.op("Constant", value_t=torch.tensor([0, 0, heads, -1]))
        return g.op("Transpose", g.op("Reshape", out, split), perm_i=SWAP).setType(query.type())


PLAIN = F.scaled_dot_product_attention


def attended(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_others):
    if attn_mask is not None or is_causal or scale not in (None, query.shape[-1] ** -0.5):
        return PLAIN(query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, scale=scale)
    return Attended.apply(query, key, value, int(query.shape[1]))


def write(graph: Graph, folder: Path, axes: dict[str, dict[int, str]], precision: str, wide: set[str],
          expected: list[torch.Tensor]) -> tuple[Path, dict[str, int]]:
    """Trace the part in float32, fuse it and write `<role>/model.cuda.onnx`; returns it and what was fused.

    - `wide`: names of the attentions that must be computed in float32.
    - `expected`: what it gives for its example inputs, in the order of its outputs.
    """
    raw = folder / graph.role / "raw"
    with mock.patch.object(F, "scaled_dot_product_attention", attended):
        graphs.trace(graph, raw, axes, {DOMAIN: 1})
    # Large weights stay in their files: the optimiser copies the whole model several times.
    model = onnx.load(str(raw / "raw.onnx"), load_external_data=False)
    load_small(model.graph, raw)
    model = fuse(model, "unet" if graph.role == "unet" else "vae")
    turned = channels_last(model)
    if precision == "float16":
        exact = [name for name, value in graph.inputs.items() if not may_be_half(name, value)]
        model = narrow(model, exact, wide)
    shape_outputs(model.graph, [value.shape for value in expected], axes)
    path = folder / graph.role / NAME
    graphs.gather(model, raw, path, lambda tensor, blob: as_wanted(tensor, blob, tensor.name in turned))
    shutil.rmtree(raw)
    onnx.checker.check_model(str(path))
    return path, counts(model)


def load_small(graph, raw: Path) -> None:
    """Read the weights that fusions look at the values of: those of normalisations, biases, shapes."""
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL and size_of(tensor) <= SMALL:
            load_external_data_for_tensor(tensor, str(raw))
            tensor.data_location = TensorProto.DEFAULT
            tensor.ClearField("external_data")


def size_of(tensor) -> int:
    """Bytes of a float32 weight."""
    return 4 * math.prod(tensor.dims)


def as_wanted(tensor, blob: bytes, turn: bool) -> bytes:
    """A weight's bytes as the graph now wants them; it was written in float32 with channels first."""
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16) or len(blob) != size_of(tensor):
        # Small ones were brought to their form in memory.
        return blob
    values = np.frombuffer(blob, np.float32)
    if turn:
        out, height, width, channels = tensor.dims
        values = values.reshape(out, channels, height, width).transpose(0, 2, 3, 1)
    kind = np.float16 if tensor.data_type == TensorProto.FLOAT16 else np.float32
    return np.ascontiguousarray(values, dtype=kind).tobytes()


def channels_last(model: onnx.ModelProto) -> set[str]:
    """Let convolutions work on `[B, H, W, C]`; returns the names of weights that lie in files and have to be turned."""
    from onnxruntime.transformers.onnx_model_unet import UnetOnnxModel
    graph, turned = model.graph, set()
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or len(weight.dims) != 4:
            nodes.append(node)
            continue
        out, channels, height, width = weight.dims
        if weight.name not in turned:
            turned.add(weight.name)
            if weight.data_location != TensorProto.EXTERNAL:
                values = onnx.numpy_helper.to_array(weight).transpose(0, 2, 3, 1)
                weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), weight.name))
            weight.dims[:] = [out, height, width, channels]
        # Adapters are merged by the names of layers, which are those of the operations less their last part.
        layer = node.name.rpartition("/")[0]
        before, after = f"{layer}/to_last", f"{layer}/from_last"
        nodes.append(helper.make_node("Transpose", [node.input[0]], [before], name=before, perm=[0, 2, 3, 1]))
        conv = helper.make_node("NhwcConv", [before, *node.input[1:]], [f"{layer}/NhwcConv_out"], name=f"{layer}/NhwcConv",
                                domain=DOMAIN)
        conv.attribute.extend(node.attribute)
        nodes.append(conv)
        nodes.append(helper.make_node("Transpose", [conv.output[0]], [node.output[0]], name=after, perm=[0, 3, 1, 2]))
    del graph.node[:]
    graph.node.extend(nodes)
    with quiet():
        whole = UnetOnnxModel(model)
        whole.merge_adjacent_transpose()
        whole.prune_graph()
        whole.topological_sort()
    # Those in memory are turned already.
    return {name for name in turned if weights[name].data_location == TensorProto.EXTERNAL}


def shape_outputs(graph, shapes: list, axes: dict[str, dict[int, str]]) -> None:
    """The exporter loses sight of shapes behind an operation that it does not know."""
    for port, shape in zip(graph.output, shapes, strict=True):
        port.type.tensor_type.ClearField("shape")
        for at, side in enumerate(shape):
            name = axes.get(port.name, {}).get(at)
            axis = port.type.tensor_type.shape.dim.add()
            if name:
                axis.dim_param = name
            else:
                axis.dim_value = side


def counts(model: onnx.ModelProto) -> dict[str, int]:
    """How many operations of each kind it has that count."""
    found = Counter(node.op_type for node in model.graph.node if node.domain == DOMAIN)
    return {kind: found[kind] for kind in KINDS if found[kind]}


def fuse(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The same graph with ONNX Runtime's operations for CUDA."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion
    unfold_attention(model.graph)
    casts = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    options = FusionOptions(kind)
    # It is there already; and convolutions are turned later, without their weights.
    options.enable_attention = options.enable_nhwc_conv = False
    with quiet():
        fused = optimize_by_fusion(model, kind, 0, 0, options)
    model = fused.model
    # The optimiser does not see that everything is float32 and casts what it is not sure of.
    drop(model.graph, [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] not in casts
                       and to(node) == TensorProto.FLOAT])
    fused.topological_sort()
    return model


@contextlib.contextmanager
def quiet():
    """Without the optimiser's progress bars and hints."""
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(loud)


def to(node) -> int:
    return next(attribute.i for attribute in node.attribute if attribute.name == "to")


def perm(node) -> list[int]:
    return next(list(attribute.ints) for attribute in node.attribute if attribute.name == "perm")


def drop(graph, nodes: list) -> None:
    """Remove nodes that hand on what they are given."""
    replaced = {node.output[0]: node.input[0] for node in nodes}
    gone = set(replaced)
    for node in graph.node:
        for at, name in enumerate(node.input):
            while name in replaced:
                name = replaced[name]
            node.input[at] = name
    kept = [node for node in graph.node if not (node.output and node.output[0] in gone)]
    del graph.node[:]
    graph.node.extend(kept)


def unfold_attention(graph) -> None:
    """Around attention, heads are split off and put back at once: its operation wants neither."""
    made = {name: node for node in graph.node for name in node.output}
    users: dict[str, list] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def source(name: str) -> str:
        """What a query, key or value was before its heads were split off and put back."""
        first, name = name, behind("Reshape", name)
        for _ in range(2):
            name = behind("Transpose", name) or name
        name = behind("Reshape", name)
        # The output of a linear layer lies as it is wanted, `[B, tokens, heads·d]`.
        linear = name is not None and name in made and made[name].op_type in ("MatMul", "Add")
        return name if linear else first

    def behind(kind: str, name: str | None):
        node = made.get(name)
        fits = node is not None and node.op_type == kind and (kind == "Reshape" or perm(node) == SWAP)
        return node.input[0] if fits else None

    def ahead(kind: str, name: str) -> str | None:
        node, *others = users.get(name, [None])
        fits = node is not None and not others and node.op_type == kind and (kind == "Reshape" or perm(node) == SWAP)
        return node.output[0] if fits else None

    for node in graph.node:
        if node.op_type != "MultiHeadAttention":
            continue
        for at, name in enumerate(node.input):
            node.input[at] = source(name)
        name = ahead("Reshape", node.output[0])
        for _ in range(2):
            name = name and (ahead("Transpose", name) or name)
        last = name and ahead("Reshape", name)
        for user in users.get(last, []):
            for at, name in enumerate(user.input):
                if name == last:
                    user.input[at] = node.output[0]
    attention = {node.output[0] for node in graph.node if node.op_type == "MultiHeadAttention"}
    drop(graph, [node for node in graph.node if node.op_type == "Cast" and node.input[0] in attention
                 and to(node) == TensorProto.FLOAT])


def narrow(model: onnx.ModelProto, exact: list[str], wide: set[str]) -> onnx.ModelProto:
    """The same graph in half precision.

    - `exact`: inputs that stay in float32.
    """
    from onnxruntime.transformers.onnx_model import OnnxModel
    # As the optimiser itself imports it: by its bare name.
    import float16
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    constants_as_weights(model.graph)
    whole = OnnxModel(model)
    # Of a weight in a file it asks for the values to see the shape.
    with quiet(), mock.patch.object(float16, "make_value_info_from_tensor", shape_of):
        whole.convert_float_to_float16(keep_io_types=exact, op_block_list=[],
                                       node_block_list=sorted(before_layers(model.graph)))
    model = whole.model
    repair(model.graph, exact)
    widen(model.graph, wide)
    whole.topological_sort()
    return model


def shape_of(tensor):
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def constants_as_weights(graph) -> None:
    """The conversion narrows every constant, but of weights only those that nobody needs in float32."""
    for node in list(graph.node):
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None and value.data_type == TensorProto.FLOAT:
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def widen(graph, wide: set[str]) -> None:
    """Let the attentions of these names compute in float32."""
    def of(node) -> str:
        return node.name.rpartition("/")[0].replace("/", ".")

    for node in list(graph.node):
        if node.op_type != "MultiHeadAttention" or not of(node).endswith(tuple(wide)):
            continue
        for at, name in enumerate(node.input):
            node.input[at] = f"{node.name}_wide_{at}"
            graph.node.append(helper.make_node("Cast", [name], [node.input[at]], name=node.input[at], to=TensorProto.FLOAT))
        narrow_out, node.output[0] = node.output[0], f"{node.name}_wide"
        graph.node.append(helper.make_node("Cast", [node.output[0]], [narrow_out], name=f"{node.name}_narrow",
                                           to=TensorProto.FLOAT16))


def before_layers(graph) -> set[str]:
    """Names of the operations that make waves of the timestep and of sizes: all before the first layer."""
    reached, names = {"timestep", "time_ids"}, set()
    for node in graph.node:
        if node.op_type not in ("Gemm", "MatMul") and reached & set(node.input):
            # Their shapes are whole numbers, and what is computed from those has nothing to lose.
            if node.op_type == "Shape":
                continue
            names.add(node.name)
            reached |= set(node.output)
    return names


def repair(graph, exact: list[str]) -> None:
    """What the conversion leaves behind: one cast made twice, names given twice, an input cast down and up again."""
    kept, seen = [], {}
    for node in graph.node:
        # Two users of a constant each get a cast of it with the same output.
        if node.op_type == "Cast" and seen.get(node.output[0]) == node.input[0]:
            continue
        if node.op_type == "Cast":
            seen[node.output[0]] = node.input[0]
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        source = made.get(node.input[0]) if node.op_type == "Cast" and to(node) == TensorProto.FLOAT else None
        if source is not None and source.op_type == "Cast" and source.input[0] in exact:
            node.input[0] = source.input[0]
    # Those casts now change nothing.
    drop(graph, [node for node in graph.node
                 if node.op_type == "Cast" and to(node) == TensorProto.FLOAT and node.input[0] in exact])
    used = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    unused = [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in used]
    for node in unused:
        graph.node.remove(node)
    names: Counter = Counter()
    for node in graph.node:
        names[node.name] += 1
        if names[node.name] > 1:
            node.name += f"_{names[node.name]}"
