"""The parts of a model as modules with fixed inputs and outputs, and their way into ONNX files.

One file `model.onnx` and one `model.onnx_data` with all weights. The TorchScript exporter is used on purpose: plain
operators of opset 17, which every runtime and optimiser knows.
"""
from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import nn

from live import LORA, SCALE, TOKENS, Live

OPSET = 17
# Large weights begin on a page, so that they can be mapped; small ones would only leave gaps. Bytes.
PAGE, PAGED, ALIGNMENT = 4096, 1 << 16, 64
# Tensors below this stay in the graph: shapes and constants that graph optimisers want to see, bytes.
SMALL = 1024


@dataclass
class Graph:
    """A part ready to be traced: module, example inputs by name, names of outputs, and which axes are free."""

    role: str
    module: nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: list[str]
    axes: dict[str, dict[int, str]] = field(default_factory=dict)


class Unet(nn.Module):
    """The denoising network with every input by name, in the order of `names`."""

    def __init__(self, unet: nn.Module, names: list[str], live: Live) -> None:
        super().__init__()
        self.unet, self.names, self.live = unet, names, live

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self.names, values))
        self.live.take(given)
        extra = {name: given.pop(name) for name in ("text_embeds", "time_ids") if name in given}
        return self.unet(**given, added_cond_kwargs=extra or None, return_dict=False)[0]


class TextEncoder(nn.Module):
    """`last_hidden_state` and `pooler_output`; for Stable Diffusion XL the last two hidden states and what was pooled."""

    def __init__(self, encoder: nn.Module, names: list[str], live: Live, xl: bool) -> None:
        super().__init__()
        self.encoder, self.names, self.live, self.xl = encoder, names, live, xl

    def outputs(self) -> list[str]:
        if not self.xl:
            return ["last_hidden_state", "pooler_output"]
        last = self.encoder.config.num_hidden_layers
        pooled = "text_embeds" if hasattr(self.encoder, "text_projection") else "pooler_output"
        return [pooled, f"hidden_states.{last - 1}", f"hidden_states.{last}"]

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(self.names, values))
        self.live.take(given)
        out = self.encoder(**given, output_hidden_states=self.xl)
        if not self.xl:
            return out.last_hidden_state, out.pooler_output
        pooled = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
        return pooled, out.hidden_states[-2], out.hidden_states[-1]


class Encoder(nn.Module):
    """A picture in −1…1 as a latent, without scaling; of a distribution the mean, because sampling flickers."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        coded = self.vae.encode(sample, return_dict=False)[0]
        return coded.mean if hasattr(coded, "mean") and not torch.is_tensor(coded) else coded


class Decoder(nn.Module):
    """An unscaled latent as a picture in −1…1."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(latent_sample, return_dict=False)[0]


class ImageEncoder(nn.Module):
    """Reference pictures in −1…1 as tokens for the network, and the tokens that stand for no picture.

    The normalisation of the encoder's training and the adapter's projection are inside.
    """

    def __init__(self, vision: nn.Module, projection: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.vision, self.projection = vision, projection
        self.pooled = type(projection).__name__ == "ImageProjection"
        shape = (1, 3, 1, 1)
        # Both directions at once: −1…1 → 0…1 → as in training.
        self.register_buffer("gain", 0.5 / torch.tensor(std).view(shape))
        self.register_buffer("shift", (0.5 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape))
        side = vision.config.image_size
        nothing = self.seen(torch.zeros(1, 3, side, side))
        self.register_buffer("nothing", projection(torch.zeros_like(nothing) if self.pooled else nothing))

    @property
    def tokens(self) -> int:
        return self.nothing.shape[1]

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.pooled:
            return self.vision(pixels).image_embeds
        return self.vision(pixels, output_hidden_states=True).hidden_states[-2]

    def forward(self, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.projection(self.seen(sample * self.gain + self.shift))
        return tokens, self.nothing.expand_as(tokens)


def free_axes(graph: Graph, fixed_rows: bool, fixed_size: bool) -> dict[str, dict[int, str]]:
    """The axes of a graph that keep their names, given which kinds are fixed."""
    sides = {"height", "width", "latent_height", "latent_width"}
    free = {}
    for name, axes in graph.axes.items():
        kept = {at: axis for at, axis in axes.items()
                if not (fixed_size and axis in sides) and not (fixed_rows and axis == "batch_size")}
        if kept:
            free[name] = kept
    return free


def write(graph: Graph, folder: Path, axes: dict[str, dict[int, str]]) -> Path:
    """Trace the part and write `<role>/model.onnx` and `<role>/model.onnx_data`; returns the former."""
    raw = folder / graph.role / "raw"
    trace(graph, raw, axes)
    path = folder / graph.role / "model.onnx"
    gather(onnx.load(str(raw / "raw.onnx"), load_external_data=False), raw, path)
    shutil.rmtree(raw)
    return path


def trace(graph: Graph, raw: Path, axes: dict[str, dict[int, str]], opsets: dict[str, int] | None = None) -> None:
    """Trace the part into `raw/raw.onnx`, its weights wherever the exporter puts them in that folder.

    - `opsets`: further domains of operations, with their versions.
    """
    raw.mkdir(parents=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(graph.module, tuple(graph.inputs.values()), str(raw / "raw.onnx"), input_names=list(graph.inputs),
                          output_names=graph.outputs, dynamic_axes=axes, opset_version=OPSET, custom_opsets=opsets,
                          do_constant_folding=True, dynamo=False)


def gather(model: onnx.ModelProto, raw: Path, path: Path, change=None) -> None:
    """Write a graph with all larger weights in one file beside it, one tensor in memory at a time.

    - `raw`: folder of the files that its weights lie in, where they are not in memory.
    - `change`: what becomes of a weight and its bytes out of such a file.
    """
    # Where in somebody's installation the nodes were traced is nobody's business, and larger than the graph.
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    data = path.with_name(path.name + "_data")
    with open(data, "wb") as out:
        for tensor in model.graph.initializer:
            blob = content(tensor, raw)
            if blob is None:
                continue
            if change and tensor.data_location == onnx.TensorProto.EXTERNAL:
                blob = change(tensor, blob)
            grid = PAGE if len(blob) >= PAGED else ALIGNMENT
            out.seek(-(-out.tell() // grid) * grid)
            place = {"location": data.name, "offset": str(out.tell()), "length": str(len(blob))}
            out.write(blob)
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    if data.stat().st_size == 0:
        data.unlink()
    onnx.save_model(model, str(path))


def content(tensor, folder: Path) -> bytes | None:
    """The bytes of a weight that shall lie outside the graph; `None` for one that shall not."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        place = {entry.key: entry.value for entry in tensor.external_data}
        with open(folder / place["location"], "rb") as file:
            file.seek(int(place.get("offset", 0)))
            return file.read(int(place["length"]) if "length" in place else -1)
    return tensor.raw_data if len(tensor.raw_data) >= SMALL else None


def rows(name: str) -> dict[int, str]:
    """Free axes of an input of the network, by its name; scales are one number for all rows."""
    if name == SCALE or name.startswith(LORA):
        return {}
    if name in ("sample", "out_sample"):
        return {0: "batch_size", 2: "latent_height", 3: "latent_width"}
    return {0: "batch_size", 1: "ip_tokens"} if name == TOKENS else {0: "batch_size"}
