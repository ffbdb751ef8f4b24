"""Start a training from a published model folder: the weights are read back from its ONNX files.

A folder whose levels were narrower fits too: its weights take the first channels, the new channels start as the network is made
and are not yet listened to, so that the picture is at first the same.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from network import LATENT_GAIN

EXPECTED_NEW = ("a", "b", "condition.frequency")                     # tables, not weights


def published(path: Path, linear: list[str]) -> dict[str, Tensor]:
    """The weights of one ONNX file by name. The exporter leaves the matrices `linear` nameless, transposed and in this order."""
    named, nameless = {}, []
    for weight in onnx.load(path).graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(weight).astype(np.float32))
        name = weight.name.removesuffix(".f16")
        if name.startswith("onnx::MatMul"):
            nameless.append((int(name.rsplit("_", 1)[1]), value))
        else:
            named[name] = value
    if len(nameless) != len(linear):
        raise SystemExit(f"{path}: {len(nameless)} nameless matrices, but {len(linear)} are expected; it is of another program")
    for name, (_, value) in zip(linear, sorted(nameless, key=lambda pair: pair[0])):
        named[name] = value.T.contiguous()
    return named


def place(old: Tensor, new: Tensor, name: str) -> Tensor:
    """`new` with `old` in its first rows; what those rows would hear from new columns is silenced."""
    if old.shape == new.shape:
        return old
    if old.ndim != new.ndim or any(a > b for a, b in zip(old.shape, new.shape)):
        raise SystemExit(f"{name}: the published shape {tuple(old.shape)} does not fit into {tuple(new.shape)}")
    if "film" in name:                                               # scales, then shifts
        halves = zip(old.chunk(2), new.chunk(2))
        return torch.cat([torch.cat([a, b[len(a):]]) for a, b in halves])
    out = new.clone()
    rows = old.shape[0]
    out[:rows] = 0
    out[tuple(slice(n) for n in old.shape)] = old
    return out


def gain_of(folder: Path) -> float:
    """What the folder's autoencoder multiplies pictures by."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(folder / "vae_encoder" / "model.onnx"), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"sample": np.ones((1, 3, 16, 16), "f4")})[0].max())


def load(folder: Path, text: nn.Module, net: nn.Module) -> list[str]:
    """Fill both modules from the folder; returns what it did not hold."""
    blocks = [f"blocks.{i}.{part}.weight" for i in range(len(text.blocks)) for part in ("qkv", "out", "up", "down")]
    missing = []
    for module, part, linear in ((text, "text_encoder", blocks), (net, "unet", ["condition.key_value.weight"])):
        saved, state = published(folder / part / "model.onnx", linear), module.state_dict()
        for name, value in state.items():
            if name in saved:
                state[name] = place(saved[name], value, name)
            elif name not in EXPECTED_NEW:
                missing.append(name)
        if part == "unet":
            state["head.weight"] = state["head.weight"] * (gain_of(folder) / LATENT_GAIN)
        module.load_state_dict(state)
    return missing
