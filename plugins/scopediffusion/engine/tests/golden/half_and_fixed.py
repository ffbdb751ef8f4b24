#!/usr/bin/env python3
"""Makes of an exported folder one as a GPU wants it: 16-bit floats, 32-bit token ids, one size, weights in a file beside.

    half_and_fixed.py MODEL OUT [--latent 16]

Same weights, rounded. Needs onnx and onnxruntime.
"""
import argparse
import pathlib
import shutil

import onnx
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16


def fix(port, sizes):
    for axis, size in zip(port.type.tensor_type.shape.dim, sizes):
        axis.ClearField("dim_param")
        axis.dim_value = size


def whole_as_int32(model):
    """The ids come as int32; a Cast in front gives the graph what it had."""
    port = model.graph.input[0]
    port.type.tensor_type.elem_type = TensorProto.INT32
    inside = f"{port.name}_inside"
    for node in model.graph.node:
        node.input[:] = [inside if name == port.name else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [port.name], [inside], to=TensorProto.INT64))


def scales_as_weights(model):
    """Scales of a Resize stay 32-bit floats, which the converter sees to where they are weights."""
    graph = model.graph
    wanted = {name for node in graph.node if node.op_type == "Resize" for name in node.input}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] in wanted]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--latent", type=int, default=16)
    args = parser.parse_args()
    shutil.copytree(args.model, args.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx"))
    side = args.latent
    latent = [1, 4, side, side]
    for role in ("text_encoder", "unet", "vae_encoder", "vae_decoder"):
        model = onnx.load(args.model / role / "model.onnx")
        if role == "text_encoder":
            whole_as_int32(model)
            fix(model.graph.input[0], [1, 77])
        else:
            scales_as_weights(model)
            model = convert_float_to_float16(model, keep_io_types=False)
            # Sizes that were noted for values inside may contradict the fixed ones.
            del model.graph.value_info[:]
        if role == "unet":
            width = model.graph.input[2].type.tensor_type.shape.dim[2].dim_value
            for port, sizes in zip(model.graph.input, [latent, [1], [1, 77, width]]):
                fix(port, sizes)
            fix(model.graph.output[0], latent)
        if role == "vae_decoder":
            fix(model.graph.input[0], latent)
        target = args.out / role / "model.onnx"
        if role == "unet":
            onnx.save(model, target, save_as_external_data=True, location="weights.bin", size_threshold=256)
        else:
            onnx.save(model, target)
        onnx.checker.check_model(str(target))


if __name__ == "__main__":
    main()
