#!/usr/bin/env python3
"""Turn a training checkpoint into the model folder (ONNX, opset 17, diffusers layout).

    python export.py run/checkpoint.pt --out model
"""
from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from network import CHANNELS, FACTOR, SAMPLE_MULTIPLE, SCHEDULE, WIDTH, Decoder, Denoiser, Encoder, TextEncoder
from tokenizer import MAX_TOKENS, Prompts, write_tokenizer
from vocabulary import write_styles_json

OPSET = 17
TOLERANCE = 2e-3


def halve(path: Path) -> None:
    """Store the weight matrices as float16 with a cast to float32, which runtimes fold when they load the file."""
    model = onnx.load(path)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name + ".f16")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [name + ".f16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def export_part(module, inputs: tuple, path: Path, axes: dict[str, dict[int, str]], input_names: list[str], output: str) -> None:
    """Export one part, halve its weights and compare it with torch at another size than it was traced with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, str(path), input_names=input_names, output_names=[output], dynamic_axes=axes,
                          opset_version=OPSET, dynamo=False)
    halve(path)


def difference(module, path: Path, inputs: dict[str, torch.Tensor]) -> float:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]
    with torch.no_grad():
        wanted = module(*inputs.values()).numpy()
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max()))


def write_json(path: Path, **content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_configs(out: Path) -> None:
    write_json(out / "unet" / "config.json", _class_name="UNet2DConditionModel", in_channels=CHANNELS, out_channels=CHANNELS,
               cross_attention_dim=WIDTH, sample_size=64, sample_multiple_of=SAMPLE_MULTIPLE)
    for part in ("vae_encoder", "vae_decoder"):
        write_json(out / part / "config.json", _class_name="AutoencoderTiny", latent_channels=CHANNELS, scaling_factor=1.0,
                   spatial_scale_factor=FACTOR)
    write_json(out / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler", prediction_type="epsilon", **SCHEDULE)
    write_json(out / "model_index.json", _class_name="StableDiffusionPipeline", _name_or_path="scope-tiny",
               scheduler=["diffusers", "LCMScheduler"], text_encoder=["diffusers", "OnnxRuntimeModel"],
               tokenizer=["transformers", "CLIPTokenizer"], unet=["diffusers", "OnnxRuntimeModel"],
               vae_decoder=["diffusers", "OnnxRuntimeModel"], vae_encoder=["diffusers", "OnnxRuntimeModel"],
               # One step is all it was trained for: a second would paint the style on top of the style.
               default_video_timesteps=[359], default_text_timesteps=[999])


def export(checkpoint: Path, out: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    tokens = write_tokenizer(out / "tokenizer")
    prompts = Prompts(out / "tokenizer")
    text, net = TextEncoder(tokens, pad=prompts.pad), Denoiser()
    for prefix, module in (("text.", text), ("net.", net)):
        module.load_state_dict({k[len(prefix):]: v for k, v in saved["model"].items() if k.startswith(prefix)}, strict=True)
        module.eval()
    batch, space = {0: "batch"}, {0: "batch", 2: "height", 3: "width"}
    ids = torch.tensor([prompts.ids("a red comic of a cat, dark"), prompts.ids("night")])
    noisy, steps = torch.randn(2, CHANNELS, 32, 32), torch.tensor([359.0, 99.0])
    with torch.no_grad():
        features = text(ids)
    parts = {
        "text_encoder": (text, (ids,), ["input_ids"], "last_hidden_state", {"input_ids": batch, "last_hidden_state": batch}),
        "unet": (net, (noisy, steps, features), ["sample", "timestep", "encoder_hidden_states"], "out_sample",
                 {"sample": space, "timestep": batch, "encoder_hidden_states": batch, "out_sample": space}),
        "vae_encoder": (Encoder(), (torch.rand(1, 3, 64, 64),), ["sample"], "latent_sample", {"sample": space, "latent_sample": space}),
        "vae_decoder": (Decoder(), (torch.rand(1, CHANNELS, 16, 16),), ["latent_sample"], "sample", {"latent_sample": space, "sample": space}),
    }
    for name, (module, inputs, names, output, axes) in parts.items():
        export_part(module, inputs, out / name / "model.onnx", axes, names, output)
    other_size = {
        "text_encoder": {"input_ids": ids[:1]},
        "unet": {"sample": torch.randn(3, CHANNELS, 20, 28) * 2, "timestep": torch.tensor([999.0, 500.0, 20.0]),
                 "encoder_hidden_states": features[[0, 1, 0]]},
        "vae_encoder": {"sample": torch.rand(2, 3, 32, 48)}, "vae_decoder": {"latent_sample": torch.rand(2, CHANNELS, 8, 12)},
    }
    assert ids.shape[1] == MAX_TOKENS
    for name, inputs in other_size.items():
        path = out / name / "model.onnx"
        worst = difference(parts[name][0], path, inputs)
        print(f"{name:13} {path.stat().st_size / 1e6:6.2f} MB, differs from torch by {worst:.1e}")
        if worst > TOLERANCE:
            raise SystemExit(f"{name}: the exported file differs too much")
    write_configs(out)
    write_styles_json(out / "styles.json")
    print(f"step {saved['step']}, {saved['samples']} samples")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
