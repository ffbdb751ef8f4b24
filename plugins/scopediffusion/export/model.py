"""The export itself: part after part is loaded, run in torch, written, and compared."""
from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import shutil
import warnings
from pathlib import Path

import torch
from torch import nn

import adapters
import fused
import graphs
import source as sources
import step
import verify
from draft import Draft
from graphs import Graph
from live import LORA, SCALE, TOKENS, Live
from precision import Range, halve
from trouble import Trouble

PROMPTS = ("a photograph of a lighthouse in the rain, detailed", "")
# What the reference runs at: neither nothing nor everything.
IP_SCALE = 0.6
LORA_SCALES = (0.8, -0.5, 1.2, 0.3)


def export(wish: argparse.Namespace) -> None:
    """Write the folder that `wish` asks for, or raise Trouble and leave nothing behind."""
    warnings.simplefilter("ignore")
    for name in ("diffusers", "transformers", "torch.onnx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    source = sources.find(wish.source)
    with Draft(wish.out) as draft:
        Export(wish, source, draft.path).run()
        draft.keep()
    print(f"wrote {wish.out}", flush=True)


class Export:
    """One export on its way; results of the reference are kept from part to part for the whole step."""

    def __init__(self, wish: argparse.Namespace, source: sources.Source, folder: Path) -> None:
        self.wish, self.source, self.folder = wish, source, folder
        self.figures: list[verify.Figure] = []
        self.notes: list[str] = []
        # What was fused in each part's copy for CUDA.
        self.fused: dict[str, dict[str, int]] = {}
        self.lora_names = adapters.lora_names(wish.lora_inputs)
        self.scales = dict(zip(self.lora_names, LORA_SCALES * len(self.lora_names)))
        self.ip = adapters.find_ip_adapter(wish.ip_adapter, wish.image_encoder) if wish.ip_adapter else None

    def run(self) -> None:
        print(f"loading {self.source.folder.name}", flush=True)
        unet, encoders = self.load_networks()
        vae = self.load_vae()
        # A small autoencoder has nothing to fuse: convolutions alone are as fast from the plain file.
        self.fusable = {"unet", *(("vae_encoder", "vae_decoder") if type(vae).__name__ == "AutoencoderKL" else ())}
        self.trial = step.Trial(self.source, unet, vae, self.wish)
        context = self.text_encoders(encoders)
        tokens = self.image_encoder(unet) if self.ip else None
        del encoders
        gc.collect()
        self.vae_encoder(vae)
        self.unet(unet, context, tokens)
        del unet
        gc.collect()
        self.vae_decoder(vae)
        whole = self.trial.whole(self.folder)
        name = "float16" if any(figure.precision == "float16" for figure in self.figures) else "float32"
        self.figures.append(verify.compare("whole step", name, [whole], [self.trial.picture_out], None))
        if self.fused:
            self.note("of the copies for CUDA their graphs and weights were compared on the CPU, with the operations that "
                      "only CUDA has written out in others; its kernels themselves have not run")
        self.copy_texts(vae)
        self.record()

    # Parts, in the order that the reference needs them.

    def load_networks(self) -> tuple[nn.Module, list[nn.Module]]:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection
        unet = self.load(UNet2DConditionModel, "unet")
        encoders = []
        for part in self.source.text_encoders:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            encoder = self.load(kind, part)
            encoder.config._attn_implementation = "eager"
            encoders.append(encoder)
        if self.wish.lora_inputs:
            adapters.load_loras(unet, encoders, self.wish.lora_inputs, self.source.xl)
        if self.ip:
            adapters.load_ip_adapter(unet, self.ip[0])
        return unet, encoders

    def load(self, kind, part: str, folder: Path | None = None):
        folder = folder or self.source.folder / part
        try:
            model = kind.from_pretrained(str(folder), torch_dtype=torch.float32, variant=sources.variant(folder),
                                         local_files_only=True)
        except (Trouble, MemoryError):
            raise
        except Exception as error:  # missing keys, wrong shapes, damaged files: each library has kinds of its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise Trouble(f"`{folder}` cannot be loaded: {reason}", "fetch the model again") from error
        return model.eval()

    def load_vae(self) -> nn.Module:
        from diffusers import AutoencoderKL, AutoencoderTiny
        folder = self.wish.taesd or self.source.folder / "vae"
        name = sources.read_json(folder / "config.json").get("_class_name", "")
        kinds = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
        if name not in kinds or (self.wish.taesd and name != "AutoencoderTiny"):
            raise Trouble(f"the autoencoder of `{folder}` is a {name or 'thing without a name'}",
                          "use an AutoencoderKL or, with --taesd, an AutoencoderTiny in diffusers' layout")
        return self.load(kinds[name], "vae", folder)

    def text_encoders(self, encoders: list[nn.Module]) -> list[torch.Tensor]:
        """Exports the text encoders; returns the embeddings of tokens and, for XL, of the whole prompt."""
        hidden, pooled = [], []
        for part, encoder in zip(self.source.text_encoders, encoders):
            names = adapters.adapters_of(encoder)
            inputs = {"input_ids": self.trial.token_ids(part, PROMPTS), **self.lora_inputs(names)}
            live = Live()
            wrapper = graphs.TextEncoder(encoder, list(inputs), live, self.source.xl)
            adapters.set_scales(encoder, self.scales)
            # The reference is diffusers' own way of applying adapters; the wrapper has no use for the inputs yet.
            expected, precision, inputs_now = self.reference(wrapper, inputs, encoder)
            adapters.free_scales(encoder, live)
            outputs = wrapper.outputs()
            axes = {name: {0: "batch_size"} for name in ("input_ids", *outputs)}
            graph = Graph(part, wrapper, inputs_now, outputs, axes)
            self.finish(graph, inputs, expected, precision, graphs.free_axes(graph, False, False))
            hidden.append(expected[1] if self.source.xl else expected[0])
            pooled.append(expected[0])
        return [torch.cat(hidden, dim=-1), pooled[-1]] if self.source.xl else hidden

    def image_encoder(self, unet: nn.Module) -> torch.Tensor:
        """Exports the image encoder with the adapter's projection; returns the tokens of two pictures, `[2, T, D]`."""
        from transformers import CLIPVisionModelWithProjection
        folder = self.ip[1]
        vision = self.load(CLIPVisionModelWithProjection, "image_encoder", folder)
        vision.config._attn_implementation = "eager"
        projection = unet.encoder_hid_proj.image_projection_layers[0]
        if type(projection).__name__ not in ("ImageProjection", "IPAdapterPlusImageProjection", "IPAdapterFullImageProjection"):
            raise Trouble(f"`{self.ip[0]}` projects pictures by a {type(projection).__name__}", "use a plain or plus IP-Adapter")
        try:
            wrapper = graphs.ImageEncoder(vision, projection, *step.normalisation(folder)).eval()
        except RuntimeError as error:
            raise Trouble(f"the image encoder `{folder}` is not that of `{self.ip[0]}`: {str(error).splitlines()[0]}",
                          "name the encoder that the adapter was trained with by --image-encoder") from error
        side = vision.config.image_size
        inputs = {"sample": torch.cat([step.picture(side, side), -step.picture(side, side).flip(2)])}
        expected, precision, inputs_now = self.reference(wrapper, inputs, wrapper)
        axes = {name: {0: "batch_size"} for name in ("sample", TOKENS, f"negative_{TOKENS}")}
        graph = Graph("image_encoder", wrapper, inputs_now, [TOKENS, f"negative_{TOKENS}"], axes)
        self.finish(graph, inputs, expected, precision, axes)
        return expected[0]

    def vae_encoder(self, vae: nn.Module) -> None:
        inputs = {"sample": self.trial.picture}
        axes = {"sample": {0: "batch_size", 2: "height", 3: "width"},
                "latent_sample": {0: "batch_size", 2: "latent_height", 3: "latent_width"}}
        self.trial.latent = self.autoencoder_half("vae_encoder", graphs.Encoder(copy.deepcopy(vae)), inputs, "latent_sample", axes)

    def vae_decoder(self, vae: nn.Module) -> None:
        inputs = {"latent_sample": self.trial.clean / self.trial.scaling}
        axes = {"latent_sample": {0: "batch_size", 2: "latent_height", 3: "latent_width"},
                "sample": {0: "batch_size", 2: "height", 3: "width"}}
        self.trial.picture_out = self.autoencoder_half("vae_decoder", graphs.Decoder(vae), inputs, "sample", axes)

    def autoencoder_half(self, role: str, wrapper: nn.Module, inputs: dict, output: str, axes: dict) -> torch.Tensor:
        vae = wrapper.vae
        # Diffusers writes this into every autoencoder's config, but means those of Stable Diffusion XL.
        upcast = self.source.xl and getattr(vae.config, "force_upcast", False)
        narrow = not upcast or self.wish.precision == "float32"
        if not narrow:
            self.note(f"{role}: its maker says that it overflows in half precision; left in float32")
        expected, precision, inputs_now = self.reference(wrapper, inputs, wrapper, narrow)
        graph = Graph(role, wrapper, inputs_now, [output], axes)
        self.finish(graph, inputs, expected, precision, graphs.free_axes(graph, False, self.wish.size is not None))
        return expected[0]

    def unet(self, unet: nn.Module, context: list[torch.Tensor], tokens: torch.Tensor | None) -> None:
        live, inputs = Live(), self.trial.network_inputs(unet, context)
        if tokens is not None:
            two = torch.cat([tokens[:1], tokens[1:]], dim=1)
            several = two if self.wish.rows is None else tokens[:1]
            inputs[TOKENS] = several.repeat(len(inputs["timestep"]), 1, 1)
            inputs[SCALE] = torch.tensor([IP_SCALE])
        inputs |= self.lora_inputs(adapters.adapters_of(unet))
        wrapper = graphs.Unet(unet, list(inputs), live)
        official = step.Official(unet, IP_SCALE)
        adapters.set_scales(unet, self.scales)
        self.trial.clean = self.trial.clean_latent(official, inputs)
        expected, precision, inputs_now = self.reference(official.bound(list(inputs)), inputs, unet)
        adapters.free_scales(unet, live)
        adapters.free_attention(unet, live, self.range.wide if precision == "float16" else set())
        if precision == "float16" and self.range.wide:
            self.note(f"unet: scores of {len(self.range.wide)} attentions could leave half precision; computed in float32")
        axes = {name: graphs.rows(name) for name in (*inputs, "out_sample")}
        if self.wish.rows is not None:
            axes.get(TOKENS, {}).pop(1, None)
        graph = Graph("unet", wrapper, inputs_now, ["out_sample"], axes)
        free = graphs.free_axes(graph, self.wish.rows is not None, self.wish.size is not None)
        self.finish(graph, inputs, expected, precision, free)
        self.trial.network_extras = {name: value for name, value in inputs.items()
                                     if name not in ("sample", "timestep", "encoder_hidden_states")}

    # What every part goes through.

    def lora_inputs(self, names: list[str]) -> dict[str, torch.Tensor]:
        return {LORA + name: torch.tensor([self.scales[name]]) for name in names}

    def reference(self, call, inputs: dict, module: nn.Module, narrow: bool = True):
        """What torch computes in float32; the precision that the part can have; its inputs in that precision."""
        with Range(module) as self.range:
            expected = call(*inputs.values())
        expected = list(expected) if isinstance(expected, tuple) else [expected]
        if any(not bool(torch.isfinite(value).all()) for value in expected):
            raise Trouble("the model computes values that are no numbers in torch already: its weights are damaged",
                          "fetch the model again")
        precision = self.wish.precision if narrow else "float32"
        if precision == "float16" and not self.range.fits:
            self.note(f"{type(module).__name__}: values up to {self.range.largest:.0f} do not fit half precision; left in float32")
            precision = "float32"
        return expected, precision, inputs

    def finish(self, graph: Graph, inputs: dict, expected: list, precision: str, axes: dict) -> None:
        """Writes the part and compares what the file computes with the reference."""
        graph.inputs = dict(inputs)
        if self.wish.cuda and graph.role in self.fusable:
            self.fuse(graph, expected, precision, axes)
        if precision == "float16":
            graph.inputs = halve(graph.module, graph.inputs)
        path = graphs.write(graph, self.folder, axes)
        got = verify.run(path, inputs)
        self.figures.append(verify.compare(graph.role, precision, got, expected, path))
        gc.collect()

    def fuse(self, graph: Graph, expected: list, precision: str, axes: dict) -> None:
        """Writes the part's copy for CUDA and compares what can be compared without one."""
        wide = self.range.wide if precision == "float16" else set()
        path, counts = fused.write(graph, self.folder, axes, precision, wide, expected)
        got = verify.run_written_out(path, graph.inputs, precision == "float16")
        self.figures.append(verify.compare(f"{graph.role}, CUDA", precision, got, expected, path))
        said = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        print(f"{'':>17}  in one operation each: {said or 'nothing'}", flush=True)
        self.fused[graph.role] = counts
        gc.collect()

    def note(self, text: str) -> None:
        print(f"note: {text}", flush=True)
        self.notes.append(text)

    # Texts.

    def copy_texts(self, vae: nn.Module) -> None:
        """The files beside the graphs: tokenizers, scheduler, configs."""
        folder = self.source.folder
        for name in ("tokenizer", "tokenizer_2"):
            if (folder / name).is_dir():
                shutil.copytree(folder / name, self.folder / name)
        (self.folder / "scheduler").mkdir()
        shutil.copy(folder / "scheduler" / "scheduler_config.json", self.folder / "scheduler")
        shutil.copy(folder / "model_index.json", self.folder)
        for part in ("unet", *self.source.text_encoders):
            shutil.copy(folder / part / "config.json", self.folder / part)
        if self.ip:
            shutil.copy(self.ip[1] / "config.json", self.folder / "image_encoder")
        config = {key: value for key, value in dict(vae.config).items() if not key.startswith("_")}
        config |= {"_class_name": type(vae).__name__, "scaling_factor": self.trial.scaling}
        for part in ("vae_encoder", "vae_decoder"):
            (self.folder / part / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def record(self) -> None:
        """What was done and how exact it is, for people and for `gst-scope model inspect`."""
        import diffusers
        loras = {name: {"bytes": path.stat().st_size} for name, path in zip(self.lora_names, self.wish.lora_inputs)}
        said = {
            "exported_by": "gst-scope model export",
            "torch": torch.__version__.partition("+")[0], "diffusers": diffusers.__version__,
            "precision": self.wish.precision,
            "size": list(self.wish.size) if self.wish.size else None, "rows": self.wish.rows,
            "loras": loras, "cuda": self.fused, "notes": self.notes,
            "errors": [figure.record() for figure in self.figures],
        }
        (self.folder / "export.json").write_text(json.dumps(said, indent=2) + "\n")


